"""The same statement and caller through session and driver: rows, masks, refusals and audit are the same."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from datagate import errors
from datagate.audit import AuditRecord
from datagate.frontends import driver
from fixtures.market.callers import CALLERS
from tests.frontends.orm.conftest import Market

STATEMENTS = (
    "SELECT * FROM market.people ORDER BY id",
    "SELECT id, email FROM market.people WHERE email LIKE '***%' ORDER BY id",
    "SELECT ssn FROM market.people ORDER BY id",
    "SELECT region, count(*), min(email) FROM market.people GROUP BY region ORDER BY region",
    "SELECT p.name, sum(o.amount) FROM market.people p JOIN market.orders o ON o.person_id = p.id GROUP BY p.id",
    "SELECT p.id, e.salary FROM market.people p LEFT JOIN market.employees e USING (id) ORDER BY 1",
    "WITH x AS (SELECT person_id, max(amount) AS most FROM market.orders GROUP BY 1) SELECT * FROM x ORDER BY 1",
    "SELECT id, row_number() OVER (ORDER BY amount) FROM market.orders ORDER BY id",
    "SELECT id FROM market.people WHERE id IN (SELECT person_id FROM market.orders WHERE secrecy = 2) ORDER BY id",
    "SELECT 1 / (id - 3) FROM market.people ORDER BY id",
    "SELECT word FROM market.tags ORDER BY id",
    "SELECT count(*) FROM market.nowhere",
    "SELECT count(*) FROM datagate.mandates",
    "SELECT nothing FROM market.people",
    "SELEC 1",
    "UPDATE market.orders SET amount = amount + 1 WHERE id < 10 RETURNING id, amount",
    "UPDATE market.people SET email = 'x' WHERE id = 2",
    "UPDATE market.people SET region = 'US' WHERE id = 2",
    "INSERT INTO market.orders (person_id, amount, secrecy) VALUES (2, 1, 0) RETURNING amount, secrecy",
    "INSERT INTO market.orders (person_id, amount, secrecy) VALUES (2, 1, 2)",
    "DELETE FROM market.order_tags WHERE order_id < 10",
    "CREATE TABLE market.mine (id int)",
)

Outcome = tuple[object, ...]


def by_driver(market: Market, caller: str, statement: str) -> Outcome:
    """Through a driver's connection; rolled back."""
    with driver.connect(market.dsn, caller=CALLERS[caller], gate=market.gate) as connection:
        market.sink.records.clear()
        try:
            cursor = connection.execute(statement.encode())
        except errors.Error as error:
            return (type(error), error.sqlstate, str(error))
        rows = sorted(map(repr, cursor.fetchall())) if cursor.description else []
        names = tuple(column.name for column in cursor.description or ())
        outcome = ("rows", names, rows, cursor.rowcount)
        connection.rollback()
        return outcome


def by_session(market: Market, caller: str, statement: str) -> Outcome:
    """Through a session; rolled back."""
    with market.Session(caller=CALLERS[caller]) as session:
        session.connection()
        market.sink.records.clear()
        counted = {"preserve_rowcount": True}
        try:
            found: Any = session.execute(sa.text(statement), execution_options=counted)
        except sa.exc.DBAPIError as error:
            own: Any = error.orig
            return (type(own), own.sqlstate, str(own))
        rows = sorted(repr(tuple(row)) for row in found.all()) if found.returns_rows else []
        return ("rows", tuple(found.keys()) if found.returns_rows else (), rows, found.rowcount)


def recorded(market: Market) -> list[tuple[object, ...]]:
    """What the audit says, but for the frontend's name."""
    return [_record(each) for each in market.sink.records]


def _record(each: AuditRecord) -> tuple[object, ...]:
    return (each.caller, each.text, each.permitted, each.relations, each.rules, each.policy_version, each.reason)


@pytest.mark.parametrize("caller", list(CALLERS))
def test_session_and_driver_agree(market: Market, caller: str) -> None:
    """Rows, names, counts, refusals and records of each statement are the same both ways."""
    kinds = set()
    for statement in STATEMENTS:
        driven = by_driver(market, caller, statement)
        audited = recorded(market)
        frontends = {each.frontend for each in market.sink.records}
        held = by_session(market, caller, statement)
        assert held == driven, statement
        assert recorded(market) == audited, statement
        assert (frontends, {each.frontend for each in market.sink.records}) == ({"driver"}, {"session"}), statement
        kinds.add(driven[0])
    assert len(kinds) > 2
