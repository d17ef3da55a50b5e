"""Writes that try to learn or change what is hidden, on two shops that differ in nothing but that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import DatagateError
from datagate.frontends import driver
from datagate.gate import Gate, state_engine
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures import shop

CLASSES = yaml.safe_load((Path(__file__).parent / "writes.yaml").read_text("utf-8"))
OTHERWISE = """
UPDATE shop.orders SET secret = 'canary-other-' || id, touched = 5 + id;
UPDATE shop.orders SET note = 'canary\\', owner = 'canary', amount = 77, stars = 3
 WHERE region = 'APAC' OR amount = 13.5;
UPDATE shop.orders SET amount = 13.5 WHERE id = 9;
UPDATE shop.orders SET owner = 'own' || 'x' WHERE region <> 'APAC' AND length(owner) = 4;
"""
"""What the clerk does not see: other secrets, other notes in other regions, other owners behind the same mask."""


@dataclass(frozen=True, slots=True)
class Told:
    """All that the caller learns of one statement."""

    sqlstate: str
    message: str
    count: int
    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


_NO_STATISTICS = """
DO $$ DECLARE t regclass; BEGIN
    FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'shop'::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
    END LOOP;
END $$
"""


@pytest.fixture(scope="module")
def shops(postgres: EmbeddedPostgres) -> Iterator[tuple[driver.Connection[Any], driver.Connection[Any]]]:
    """The clerk's connections to two shops."""
    made: list[driver.Connection[Any]] = []
    names = ("attacked_shop", "attacked_shop_otherwise")
    for name in names:
        dsn = postgres.create_database(name)
        with psycopg.connect(dsn) as connection:
            shop.load(connection)
            if name == names[1]:
                connection.execute(OTHERWISE.encode())
            # The shape of a plan follows from statistics, which must not be gathered of one shop before the other.
            connection.execute(_NO_STATISTICS.encode())
        store = StateStore(state_engine(dsn))
        store.create()
        shop.WORLD.record(store)
        gate = Gate.open(dsn, policies=shop.POLICIES, state=store, keyring=Keyring({}))
        made.append(driver.connect(dsn, caller=shop.CALLERS["clerk"], gate=gate))
    yield made[0], made[1]
    for connection_, name in zip(made, names, strict=True):
        connection_.close()
        postgres.drop_database(name)


def told(connection: driver.Connection[Any], text: str) -> Told:
    """What the caller learns of a statement, which leaves nothing behind."""
    try:
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(text)
            columns = cursor.description or ()
            rows = tuple(sorted(map(tuple, cursor.fetchall()), key=repr)) if columns else ()
            return Told("", "", cursor.rowcount, tuple(column.name for column in columns), rows)
    except DatagateError as error:
        return Told(error.sqlstate, str(error), -1, (), ())


@pytest.mark.parametrize("attack", CLASSES, ids=lambda attack: attack["what"])
def test_attack(attack: dict[str, Any], shops: tuple[driver.Connection[Any], driver.Connection[Any]]) -> None:
    """Refused as it should be, or the same on both; and nothing of what is hidden in any of it."""
    for statement in attack["statements"]:
        text = statement["text"]
        one, other = (told(connection, text) for connection in shops)
        assert "canary" not in repr(one), text
        assert one == other, text
        assert one.sqlstate == statement.get("refused", ""), (text, one)


def test_the_shops_differ_behind_the_gate(shops: tuple[driver.Connection[Any], driver.Connection[Any]]) -> None:
    """The comparison has an aim, and it is not seen by a SELECT either."""
    seen = [told(connection, "SELECT * FROM shop.orders") for connection in shops]
    assert seen[0] == seen[1]
    behind = []
    for connection in shops:
        with psycopg.connect(connection.info.dsn) as past:
            behind.append(past.execute("SELECT * FROM shop.orders ORDER BY id").fetchall())
    assert sum(one != other for one, other in zip(*behind, strict=True)) == len(behind[0])
