"""Pipeline mode: many statements under way at once, each admitted."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from datagate import errors
from datagate.frontends import driver
from tests.frontends.driver.conftest import CANARY
from tests.frontends.driver.standin import StandInGate


def test_statements_in_flight(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """Results arrive in order, each of its own admitted statement."""
    with conn.pipeline() as pipeline:
        cursors = [conn.execute("select count(*), %s::int from customers where id < %s", (n, n)) for n in range(1, 20)]
        pipeline.sync()
        assert [cursor.fetchone() for cursor in cursors] == [((n - 1) // 2, n) for n in range(1, 20)]
    with conn.pipeline(), conn.transaction():
        conn.cursor().executemany("select id from customers where id = %s", [(1,), (2,)], returning=True)
    assert len(gate.seen) == 20


def _fail(conn: driver.Connection[Any], after: psycopg.Cursor[Any], pipeline: psycopg.Pipeline) -> None:
    """Send a statement that fails and another; the error arrives with any of these calls."""
    conn.execute("select ssn::int from customers where id = 5000")
    after.execute("select 2")
    pipeline.sync()


def test_refusals_and_faults(conn: driver.Connection[Any]) -> None:
    """A refusal comes at once and sends nothing; a server error comes later, neutral, and aborts the rest."""
    with conn.pipeline() as pipeline:
        with pytest.raises(errors.Refused):
            conn.execute("select * from secrets")
        assert conn.execute("select 1").fetchone() == (1,)
        after = conn.cursor()
        with pytest.raises(errors.DataError) as caught:
            _fail(conn, after, pipeline)
        assert CANARY not in str(caught.value)
        assert caught.value.__context__ is None
        with pytest.raises(errors.DatabaseError):
            after.fetchone()
        with pytest.raises(errors.NotSupportedError):
            conn.cursor().copy("copy customers to stdout")
        with pytest.raises(errors.ProgrammingError):
            list(conn.cursor().stream("select 1"))
    conn.rollback()
    assert conn.execute("select 1").fetchone() == (1,)


def test_changed_rights_are_not_run_again(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """In a pipeline other statements may stand behind the one that failed: the program must run them again itself."""
    conn.autocommit = True
    with conn.pipeline():
        cursor = conn.execute("select stale(1)")
        with pytest.raises(errors.RightsChanged):
            cursor.fetchone()
    assert gate.sessions[0].refreshed == 1
