"""When the caller's rights changed since the gate read them: run again where nothing can be lost, else say so."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from datagate import errors
from datagate.frontends import driver
from tests.frontends.driver.conftest import CANARY
from tests.frontends.driver.standin import StandInGate


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_first_statement_runs_again(conn: driver.Connection[Any], gate: StandInGate, autocommit: bool) -> None:
    """In autocommit, and as the first statement of a transaction, it is admitted anew and run once more, unnoticed."""
    conn.autocommit = autocommit
    assert conn.execute("select stale(%s)", (1,)).fetchone() == (2,)
    assert gate.seen == ["select stale($1)"] * 2
    assert gate.sessions[0].refreshed == 1
    status = TransactionStatus.IDLE if autocommit else TransactionStatus.INTRANS
    assert conn.info.transaction_status == status


def test_the_first_of_a_block_runs_again(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """Inside of a transaction() block that has done nothing yet, the transaction is begun anew with its settings."""
    conn.read_only = True
    with conn.transaction():
        assert conn.execute("show transaction_read_only").fetchone() == ("on",)
    with conn.transaction() as block:
        with pytest.raises(errors.DatabaseError):
            conn.execute("select stale(0) -- a sequence cannot advance in a read-only transaction")
        block.force_rollback = True
    conn.read_only = None
    with conn.transaction():
        assert conn.execute("select stale(1)").fetchone() == (2,)
        assert conn.execute("select 1").fetchone() == (1,)
    assert gate.sessions[0].refreshed == 1


def test_later_statements_do_not(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """After another statement, or under a savepoint, RightsChanged tells the program to run the transaction again."""
    conn.execute("select 1")
    with pytest.raises(errors.RightsChanged) as caught:
        conn.execute("select stale(1)")
    assert caught.value.sqlstate == "40001"
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None
    assert gate.sessions[0].refreshed == 1
    conn.rollback()
    with conn.transaction("named"), pytest.raises(errors.RightsChanged):
        conn.execute("select stale(10)")
    with conn.transaction():
        conn.execute("select 1")
        with pytest.raises(errors.RightsChanged), conn.transaction():
            conn.execute("select stale(10)")


def test_once_is_enough(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """A statement that fails again for the same reason is not run a third time."""
    with pytest.raises(errors.RightsChanged):
        conn.execute("select stale(5)")
    assert gate.seen == ["select stale(5)"] * 2


def test_streams_and_executemany(conn: driver.Connection[Any]) -> None:
    """stream() starts over before its first row, executemany() where it can read its parameters again."""
    conn.autocommit = True
    assert list(conn.cursor().stream("select stale(1)")) == [(2,)]
    cursor = conn.cursor()
    cursor.executemany("select stale(%s)", [(3,), (3,)], returning=True)
    assert [result.fetchone() for result in cursor.results()] == [(4,), (5,)]
    with pytest.raises(errors.RightsChanged):
        conn.cursor().executemany("select stale(%s)", iter([(9,)]))


def test_a_stream_that_gave_rows_does_not_start_over(conn: driver.Connection[Any]) -> None:
    """Rows that the program has seen cannot be taken back."""
    conn.autocommit = True
    rows = conn.cursor().stream("select case when n < 3 then n else stale(1) end from generate_series(1, 3) n")
    assert next(rows) == (1,)
    assert next(rows) == (2,)
    with pytest.raises(errors.RightsChanged):
        next(rows)


def test_refused_after_the_change(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """What the caller may no longer do is refused when the statement is admitted anew."""
    session = gate.sessions[0]
    admit = session.admit

    def narrowed(text: str, *, ahead: bool) -> Any:
        if session.refreshed:
            raise errors.Refused("no longer permitted")
        return admit(text, ahead=ahead)

    names = {"admit": staticmethod(narrowed), "refresh": session.refresh, "failed": session.failed}
    conn._admission._session = type("Narrowed", (), names)()  # type: ignore[union-attr]
    with pytest.raises(errors.Refused):
        conn.execute("select stale(1)")
