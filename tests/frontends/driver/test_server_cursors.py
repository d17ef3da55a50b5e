"""Server-side cursors: the query is admitted before it is declared."""

from __future__ import annotations

from typing import Any

import pytest

from datagate import errors
from datagate.frontends import driver
from tests.frontends.driver.standin import StandInGate

QUERY = "select id from customers where id <= %s order by id"


def test_fetches_guarded_rows(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """Every way to fetch gives the caller's rows, with own and policy parameters in the DECLARE."""
    with conn.cursor('it\'s "named"', scrollable=True) as cursor:
        cursor.itersize = 2
        cursor.execute(QUERY, (14,))
        assert cursor.fetchone() == (2,)
        assert cursor.fetchmany(2) == [(4,), (6,)]
        assert next(cursor) == (8,)
        assert list(cursor) == [(10,), (12,), (14,)]
        cursor.scroll(0, "absolute")
        assert cursor.fetchall() == [(n,) for n in range(2, 15, 2)]
        cursor.scroll(-3)
        assert cursor.fetchone() == (12,)
    assert gate.seen == [QUERY.replace("%s", "$1")]


def test_reuse_and_binary(conn: driver.Connection[Any]) -> None:
    """A cursor can be executed again, and rows can travel in binary format."""
    with conn.cursor("again") as cursor:
        assert cursor.execute(QUERY, (4,), binary=True).fetchall() == [(2,), (4,)]
        assert cursor.execute(QUERY, (2,)).fetchall() == [(2,)]
        assert cursor.description is not None
        assert cursor.description[0].name == "id"


def test_with_hold(conn: driver.Connection[Any]) -> None:
    """A cursor WITH HOLD outlives its transaction."""
    with conn.cursor("held", withhold=True) as cursor:
        cursor.execute(QUERY, (6,))
        conn.commit()
        assert cursor.fetchall() == [(2,), (4,), (6,)]


def test_refusals(conn: driver.Connection[Any]) -> None:
    """A refused query, a statement that is none, executemany and COPY send nothing."""
    with conn.cursor("c") as cursor:
        with pytest.raises(errors.Refused):
            cursor.execute("select * from secrets")
        with pytest.raises(errors.NotSupportedError):
            cursor.execute("show timezone")
        with pytest.raises(errors.NotSupportedError):
            cursor.executemany(QUERY, [(1,)])
        with pytest.raises(errors.NotSupportedError):
            cursor.copy("copy customers to stdout")
        with pytest.raises(errors.ProgrammingError):
            cursor.execute(QUERY, (1, 2))
        for wrong in ("1 FROM c; select 1", 1.5):
            with pytest.raises(TypeError):
                cursor.fetchmany(wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                cursor.scroll(wrong)  # type: ignore[arg-type]


def test_not_in_pipeline_mode(conn: driver.Connection[Any]) -> None:
    """As in psycopg, server-side cursors do not work in pipeline mode; the error is ours."""
    with conn.pipeline(), conn.cursor("c") as cursor, pytest.raises(errors.NotSupportedError):
        cursor.execute(QUERY, (1,))


def test_a_cursor_of_the_same_session_can_be_taken_over(conn: driver.Connection[Any]) -> None:
    """A second object may read a cursor that was declared through the gate, as in psycopg."""
    first = conn.cursor("c").execute(QUERY, (6,))
    with conn.cursor("c") as second:
        assert second.fetchmany(2) == [(2,), (4,)]
        assert first.fetchone() == (6,)
    conn.rollback()
    first.close()
