"""The converter agrees with psycopg's own in text, order, values, types and formats."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from datagate.errors import InterfaceError, ProgrammingError
from datagate.frontends import driver
from datagate.frontends.driver.admission import Admission, GatedQuery
from datagate.frontends.driver.placeholders import convert
from tests.frontends.driver.standin import StandInSession

CASES: list[tuple[str, Any]] = [
    ("select 1", None),
    ("select '%', 5 % 2", None),
    ("select '%%', 5 %% 2", ()),
    ("select %s", (1,)),
    ("select %s, %s", ["a", None]),
    ("select %b, %t, %s", (1, 2, 3)),
    ("select %(a)s, %(b)s, %(a)s", {"b": 2, "a": 1, "unused": 3}),
    ("select %(a)b", {"a": b"x"}),
    ("select 'it''s 100%%', %s", (Decimal("1.5"),)),
    ("select %(odd name!)s", {"odd name!": dt.date(2024, 2, 29)}),
    ("select %s = any(%s)", (1, [1, 2])),
    ("select 'ünïcode', %s", ("ß",)),
    ("select %s -- %s", (1, 2)),
    ("", ()),
]
MALFORMED: list[tuple[str, Any]] = [
    ("select %s, %(a)s", (1,)),
    ("select %x", (1,)),
    ("select 5 % 2", ()),
    ("select %(a", (1,)),
    ("select %(a)s, %(a)b", {"a": 1}),
    ("select %s", (1, 2)),
    ("select %s, %s", (1,)),
    ("select %(a)s", {"b": 1}),
    ("select %s", {"a": 1}),
    ("select %(a)s", (1,)),
]


def theirs(query: str, parameters: Any) -> PostgresQuery:
    """What psycopg itself sends."""
    out = PostgresQuery(Transformer(None))
    out.convert(query, parameters)
    return out


def ours(query: str, parameters: Any) -> GatedQuery:
    """What the driver sends, through a gate that changes nothing."""
    session = StandInSession(())
    connection: Any = None
    statement: Any = Admission(session).admit(query, parameters, connection)
    out = GatedQuery(Transformer(None))
    out.convert(statement, parameters)
    return out


@pytest.mark.parametrize(("query", "parameters"), [case for case in CASES if "-- %s" not in case[0]])
def test_sends_what_psycopg_sends(query: str, parameters: Any) -> None:
    """Text, values, types and formats on the wire are psycopg's, where the gate changes nothing."""
    expected, got = theirs(query, parameters), ours(query, parameters)
    assert got.query == expected.query
    assert list(got.params or ()) == list(expected.params or ())
    assert got.types == expected.types
    assert list(got.formats or ()) == list(expected.formats or ())


@pytest.mark.parametrize(("query", "parameters"), CASES)
def test_converts_as_psycopg(query: str, parameters: Any) -> None:
    """The converted text is psycopg's, also where a placeholder stands in a comment."""
    if parameters is not None:
        assert convert(query, len(parameters)).text.encode() == theirs(query, parameters).query


@pytest.mark.parametrize(("query", "parameters"), MALFORMED)
def test_refuses_what_psycopg_refuses(query: str, parameters: Any) -> None:
    """Malformed placeholders and wrong counts are a ProgrammingError that says what psycopg says."""
    with pytest.raises((psycopg.ProgrammingError, TypeError)) as expected:
        theirs(query, parameters)
    with pytest.raises(ProgrammingError) as got:
        ours(query, parameters)
    assert str(got.value) == str(expected.value)
    assert got.value.__context__ is None


PIECES = st.lists(st.sampled_from(["%s", "%b", "%t", "%%", "%(a)s", "%(b)t", "%", "%x", "'", " select ", "ä"]))


@given(pieces=PIECES)
def test_agrees_on_any_text(pieces: list[str]) -> None:
    """Whatever the text, both convert it alike or both refuse it."""
    query = "".join(pieces)
    parameters: Any = (
        {"a": 1, "b": "x"} if "%(" in query else (1,) * sum(piece in {"%s", "%b", "%t"} for piece in pieces)
    )
    try:
        expected = theirs(query, parameters)
    except (psycopg.ProgrammingError, TypeError, UnicodeError):
        with pytest.raises(ProgrammingError):
            ours(query, parameters)
    else:
        assert convert(query, len(parameters)).text.encode() == expected.query


def test_rejects_parameters_of_no_kind(conn: driver.Connection[Any]) -> None:
    """Parameters that are neither a sequence nor a mapping are a ProgrammingError."""
    for parameters in (5, "text", {1, 2}):
        with pytest.raises(ProgrammingError):
            conn.execute("select %s", parameters)  # type: ignore[arg-type]


def test_numbered_parameters_of_the_caller_never_meet_policy_values(conn: driver.Connection[Any]) -> None:
    """A ``$1`` written by the caller is refused, since the policy's value would stand there; so is one out of range."""
    with pytest.raises(ProgrammingError) as caught:
        conn.execute("select $1::text[] from customers")
    assert caught.value.sqlstate == "42P02"
    with pytest.raises(ProgrammingError):
        conn.execute("select %s, $2::text[] from customers", (1,))


def test_reads_bytes_and_compositions(conn: driver.Connection[Any]) -> None:
    """Bytes and psycopg.sql compositions are read as text, and pass the gate as such."""
    query = sql.SQL("select {}, {} from customers where id = {}").format(
        sql.Literal("it's %% literal"), sql.Identifier("id"), sql.Placeholder()
    )
    assert conn.execute(query, (2,)).fetchall() == [("it's % literal", 2)]
    assert conn.execute("select 'ü'".encode()).fetchone() == ("ü",)
    with pytest.raises(ProgrammingError):
        conn.execute(b"select '\xff'")
    with pytest.raises(InterfaceError):
        conn.execute(7)  # type: ignore[call-overload]


def test_refuses_text_that_is_no_text(conn: driver.Connection[Any]) -> None:
    """NUL ends a C string early, and a lone surrogate is no character: neither is sent."""
    for query, parameters in (("select 1\0, 2", None), ("select '\ud800'", None), ("select '\ud800', %s", (1,))):
        with pytest.raises(ProgrammingError):
            conn.execute(query, parameters)
