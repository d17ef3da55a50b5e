"""Statements that come again take a short way through the gateway: they give what they gave, to each caller its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg.types.string import TextLoader

import datagate
from datagate.errors import DatagateError
from datagate.frontends.gateway.pool import PoolLimits
from datagate.model.caller import Caller
from fixtures.bank.callers import CALLERS
from tests.frontends.gateway.running import Running
from tests.property.selects import Columns, Writer, relations

ANA, ADA = CALLERS["analyst"], CALLERS["adviser"]
TEXTS = (
    "select customer_id, full_name, email, region from bank.customers where customer_id = {}",
    "select * from bank.customers where customer_id in ({}, {}) order by 1",
    "select region, count(*), 5, '5' from bank.customers where customer_id between {} and {} group by 1 order by 1",
    "select region, kind from bank.customers join bank.accounts using (customer_id) where account_id < {} limit 0",
    "select {} where 1 = {}",
    "select customer_id from bank.customers where customer_id > {} and full_name like 'A%' order by 1 limit {}",
    "select 1/(customer_id - {}) from bank.customers where customer_id = {}",
    "select email::int from bank.customers where customer_id = {}",
    "select nothing from bank.customers where customer_id = {}",
    "select customer_id from bank.customers where email = {}",
    "select -customer_id as {}x from bank.customers where customer_id = {}",
    "select customer_id from bank.customers where customer_id = {} order by {}",
    "select cast(customer_id as varchar({})) from bank.customers where customer_id = {} -- {}",
)

Answer = tuple[object, ...]


def answer(connection: Any, text: str) -> Answer:
    """Columns by name and type, rows, tag; or the SQLSTATE."""
    for name in ("date", "timestamp", "timestamptz"):
        # Infinity has no Python value.
        connection.adapters.register_loader(name, TextLoader)
    try:
        cursor = connection.execute(text)
    except (psycopg.Error, DatagateError) as error:
        return (error.sqlstate,)
    columns = [(each.name, each.type_code) for each in cursor.description or ()]
    return columns, cursor.fetchall() if columns else [], cursor.statusmessage


@pytest.fixture(scope="module")
def driven(gateway: Running) -> Iterator[dict[str, Any]]:
    """The callers' connections by the driver, which knows no short way."""
    found = {
        name: datagate.connect(gateway.owner, caller=caller, gate=gateway.gate, autocommit=True)
        for name, caller in {"ana": ANA, "ada": ADA}.items()
    }
    yield found
    for each in found.values():
        each.close()


@pytest.mark.parametrize("text", TEXTS)
def test_what_comes_again_gives_the_same(gateway: Running, driven: dict[str, Any], text: str) -> None:
    """With other numbers, on a shared pool, for callers with different masks, in and out of a transaction."""
    chance = Random(text)
    rounds = [text.format(*[chance.choice((1, 2, 3, 7, 40, 999_999_999)) for _ in range(3)]) for _ in range(6)]
    with gateway.connect("ana") as ana, gateway.connect("ada") as ada:
        for each in rounds * 2:
            for name, connection in (("ana", ana), ("ada", ada)):
                assert answer(connection, each) == answer(driven[name], each), (name, each)
        for name, connection in (("ana", ana), ("ada", ada)):
            with connection.transaction():
                assert answer(connection, rounds[0]) == answer(driven[name], rounds[0])


def seen(gateway: Running, everything: dict[str, Columns], caller: Caller) -> dict[str, Columns]:
    """What of it a caller can name."""
    session = gateway.gate.session(caller, frontend="test")
    sights = {name: session.sight("bank", name) for name in everything}
    found = {
        name: tuple(each for each in everything[name] if each[0] in sight.columns)
        for name, sight in sights.items()
        if sight
    }
    return {name: columns for name, columns in found.items() if columns}


def test_random_statements_give_the_same(gateway: Running, driven: dict[str, Any]) -> None:
    """Whatever the text: the third time it gives what it gave the first time, and through the driver."""
    with psycopg.connect(gateway.owner) as owner:
        everything = relations(owner)
    ran = 0
    with gateway.connect("ana") as ana, gateway.connect("ada") as ada:
        for name, connection in (("ana", ana), ("ada", ada)):
            known = seen(gateway, everything, ANA if name == "ana" else ADA)
            for seed in range(20):
                text = Writer(Random(seed), known).statement()
                found, wanted = [answer(connection, text) for _ in range(3)], answer(driven[name], text)
                ran += len(wanted) > 1
                if "limit" in text.lower() or "offset" in text.lower():
                    found, wanted = [(each[0],) for each in found], (wanted[0],)
                assert list(map(_sorted, found)) == [_sorted(wanted)] * 3, (seed, text)
    assert ran > 20


def _sorted(found: Answer) -> Answer:
    columns, rows, tag = found if len(found) == 3 else (found[0], [], None)
    assert isinstance(rows, list)
    return columns, sorted(map(repr, rows)), tag


def test_repeated_statements_are_recorded_each(gateway: Running) -> None:
    """Each run has its record with its completion, and the record shows no number."""
    before = len(gateway.sink.records)
    with gateway.connect("ana") as ana:
        for number in range(1, 9):
            ana.execute(f"select region from bank.customers where customer_id = {number}")
    records = gateway.sink.records[before:]
    assert {each.normalized for each in records} == {"select region from bank.customers where customer_id = ?"}
    assert {each.relations for each in records} == {("bank.customers",)}
    ended = [gateway.sink.completions.get(str(number)) for number in range(before, before + len(records))]
    assert len(records) == 8
    assert all(each is not None and each.error is None and each.rows in (0, 1) for each in ended)


def test_more_clients_than_connections(gateway: Running, tmp_path: Path) -> None:
    """Who has to wait for a connection gets its own answer; so does who says more meanwhile, or what is refused."""
    query = "select customer_id, full_name = '***' from bank.customers where region = 'EU' and customer_id >= {}"
    query += " order by 1 limit 1"
    with Running(gateway.owner, tmp_path, gate=gateway.gate, limits=PoolLimits(size=1)) as running:

        def ask(seed: int) -> None:
            chance, user = Random(seed), ("ana", "ada")[seed % 2]
            with running.connect(user) as connection:
                for _ in range(60):
                    number = chance.randint(1, 150)
                    if number % 10 == 0:
                        with connection.pipeline():
                            cursors = [connection.execute(query.format(each)) for each in (number, number + 1)]
                        found = [cursor.fetchone() for cursor in cursors]
                        assert found[0][0] >= number  # type: ignore[index]
                        assert found[1][0] > number  # type: ignore[index]
                        continue
                    if number % 7 == 0:
                        with pytest.raises(psycopg.errors.UndefinedTable):
                            connection.execute("select 1 from bank.nowhere")
                    found_one = connection.execute(query.format(number)).fetchone()
                    assert found_one is not None
                    assert found_one[0] >= number
                    assert found_one[1] is (user == "ana")

        with ThreadPoolExecutor(6) as executor:
            for done in [executor.submit(ask, seed) for seed in range(6)]:
                done.result(120)

        async def left() -> tuple[int, int]:
            return running.worker.pool.queued, running.worker.pool.size

        assert running.do(left) == (0, 1)


def test_rights_are_looked_at_each_time(gateway: Running) -> None:
    """A right that goes is gone for the next run, unnoticed or told within a transaction, and so is one that comes."""
    query = "select count(*) from bank.customers where customer_id > 0"
    with gateway.connect("ada") as ada:
        gateway.store.grant_attribute("ada", "regions", ("EU", "APAC"))
        both = [ada.execute(query).fetchone() for _ in range(4)]
        gateway.store.grant_attribute("ada", "regions", ("EU",))
        one = [ada.execute(query).fetchone() for _ in range(4)]
        assert len(set(both)) == len(set(one)) == 1
        assert both[0] > one[0]  # type: ignore[operator]
        ada.execute("begin")
        ada.execute(query)
        gateway.store.grant_attribute("ada", "regions", ("EU", "APAC"))
        with pytest.raises(psycopg.errors.SerializationFailure):
            ada.execute(query)
        ada.execute("rollback")
        assert ada.execute(query).fetchone() == both[0]


def test_literals_are_read_by_the_settings_of_the_moment(gateway: Running) -> None:
    """A moment without a zone is read in the session's zone, whoever prepared the text before; ROLLBACK counts."""
    query = "select '2026-01-01 12:00'::timestamptz = '2026-01-01 12:00+00'::timestamptz"
    with gateway.connect() as utc, gateway.connect(options="-c timezone=Asia/Tokyo") as tokyo:
        for _ in range(4):
            assert utc.execute(query).fetchone() == (True,)
            assert tokyo.execute(query).fetchone() == (False,)
        utc.execute("begin")
        utc.execute("set local timezone = 'Asia/Tokyo'")
        assert [utc.execute(query).fetchone() for _ in range(3)] == [(False,)] * 3
        utc.execute("rollback")
        assert [utc.execute(query).fetchone() for _ in range(3)] == [(True,)] * 3
        utc.execute("set timezone = 'Asia/Tokyo'")
        assert [utc.execute(query).fetchone() for _ in range(3)] == [(False,)] * 3


def test_a_table_that_changed_is_read_anew(gateway: Running) -> None:
    """What was prepared before a column changed its type is not run any more, and the client notices nothing."""
    query = "select adviser_id, full_name from bank.advisers where adviser_id = 1"
    with psycopg.connect(gateway.owner, autocommit=True) as owner, gateway.connect("cora") as cora:
        before = [cora.execute(query).fetchall() for _ in range(4)]
        owner.execute("alter table bank.advisers alter column full_name type varchar(200)")
        try:
            after = [cora.execute(query).fetchall() for _ in range(4)]
        finally:
            owner.execute("alter table bank.advisers alter column full_name type text")
        assert after == before
