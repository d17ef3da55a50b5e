"""What a caller binds tells no more of hidden rows than what a caller writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.numeric import Oid

from datagate import errors
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends import driver
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.property.hidden import HIDDEN, POLICIES
from tests.twin.pairs import Pairs

BLAND = "balance = 5000, full_name = NULL"
HOSTILE = "balance = 777000, full_name = 'zzhostile'"


@pytest.fixture(scope="module")
def bank(postgres: EmbeddedPostgres) -> Iterator[tuple[Pairs, str]]:
    """A bank and its owner's connection string."""
    dsn = postgres.create_database("parameters")
    with psycopg.connect(dsn) as connection:
        load(connection, 80)
    with Pairs(postgres, dsn, POLICIES, world(80)) as pairs:
        yield pairs, dsn
    postgres.drop_database("parameters")


_COUNT = "SELECT count(*) FROM bank.customers WHERE "


@pytest.mark.parametrize(
    ("who", "condition", "values"),
    [
        ("analyst", "balance = 777000 AND customer_id = %s", (Oid(5),)),
        ("analyst", "balance = 777000 AND %s = customer_id", (Oid(5),)),
        ("analyst", "balance = 777000 AND customer_id BETWEEN 1 AND %s", (Oid(5),)),
        ("analyst", "balance = 777000 AND customer_id IN (%s, 7)", (Oid(5),)),
        ("analyst", "balance = 777000 AND customer_id = ANY (%s)", ([Oid(5)],)),
        ("analyst", "balance = 777000 AND customer_id = %(a)s AND %(a)s::oid IS NOT NULL", {"a": "5"}),
        ("analyst", "balance = 777000 AND customer_id = %(a)s AND %(a)s::oid IS NULL", {"a": None}),
        ("analyst", "balance = 777000 AND customer_id::oid = %s", (5,)),
        ("adviser", "full_name LIKE %s", ("zz%\\",)),
        ("adviser", "full_name LIKE %s", ("zzhostil\\",)),
        ("adviser", "full_name NOT ILIKE %s", ("ZZ%\\",)),
        ("adviser", "full_name LIKE %s || %s", ("zz", "%\\")),
        ("adviser", "full_name LIKE ANY (%s)", (["zz%\\"],)),
        ("adviser", "full_name LIKE %s ESCAPE %s", ("zz%!", "!")),
        ("adviser", "balance > 1 AND 1 / (balance - %s) > -9", (777000,)),
        ("adviser", "full_name = %s AND %s::int > 0", ("zzhostile", "x")),
    ],
)
def test_parameters(bank: tuple[Pairs, str], who: str, condition: str, values: Any) -> None:
    """A bound value answers the same whether hidden rows are bland or hostile, also once its plan is generic."""
    pairs, dsn = bank
    seen = []
    for hidden in (BLAND, HOSTILE):
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute(f"UPDATE bank.customers AS c SET {hidden} WHERE {HIDDEN[who]}".encode())
            owner.execute("ANALYZE bank.customers")
        with driver.connect(dsn, caller=CALLERS[who], gate=pairs.gate, autocommit=True) as connection:
            connection.prepare_threshold = 0
            seen.append([_answer(connection, _COUNT + condition, values) for _ in range(8)])
    assert seen[0] == seen[1]


def _answer(connection: driver.Connection[Any], text: str, values: Any) -> object:
    try:
        return connection.execute(text, values).fetchall()
    except errors.Error as error:
        return (error.sqlstate, error.message.partition("\n")[0])


@pytest.mark.parametrize(
    ("condition", "value"),
    [("full_name LIKE %s", "A%"), ("customer_id = %s", 7), ("customer_id = ANY (%s)", [7]), ("balance > %s", 1.5)],
)
def test_common_parameters_need_no_fence(bank: tuple[Pairs, str], condition: str, value: object) -> None:
    """What applications bind every day leaves the guard open, so that indexes work."""
    session = bank[0].gate.session(CALLERS["adviser"], frontend="test")
    text = _COUNT + condition.replace("%s", "$1")
    assert "OFFSET 0" not in session.admit(text).text
    strict = session.admit(text, assuming=False)
    assert ("OFFSET 0" in strict.text) is (not condition.startswith("balance"))
    with driver.connect(bank[1], caller=CALLERS["adviser"], gate=bank[0].gate) as connection:
        assert connection.execute(_COUNT + condition, (value,)).fetchone() is not None
