"""Nothing that the server says reaches the caller but what he could have said himself."""

from __future__ import annotations

import traceback
from typing import Any

import psycopg
import pytest
from psycopg import errors as theirs

from datagate import errors
from datagate.backends.postgres.faults import Said, tell
from datagate.frontends import driver
from tests.frontends.driver.conftest import CANARY

# Statement, class, SQLSTATE. Each of them makes PostgreSQL say the canary, which stands in a row or in a function.
LEAKS: list[tuple[str, type[errors.Error], str]] = [
    ("select ssn::int from customers where id = 5000", errors.DataError, "22P02"),
    ("select ssn::date from customers where id = 5000", errors.DataError, "22007"),
    ("select ssn::json from customers where id = 5000", errors.DataError, "22P02"),
    ("insert into public.customers select 1, 'x', 'EU', 'y'", errors.IntegrityError, "23505"),
    (f"select shout('23505')  -- {CANARY}", errors.IntegrityError, "23505"),
    ("select shout('P0001')", errors.ProgrammingError, "P0001"),
    ("select shout('42703')", errors.UndefinedColumn, "42703"),
    ("select shout('42P01')", errors.UndefinedRelation, "42P01"),
    ("select shout('42501')", errors.Refused, "42501"),
    ("select shout('57014')", errors.OperationalError, "57014"),
    ("select shout('22012')", errors.DataError, "22012"),
    ("select shout('XX000')", errors.InternalError, "XX000"),
    ("select shout('0A000')", errors.NotSupportedError, "0A000"),
    ("select shout('08006')", errors.OperationalError, "08006"),
    ("select shout('ZZ123')", errors.DatabaseError, "ZZ123"),
]


def everything(error: BaseException) -> str:
    """All that a program, a log or a debugger could print of an error and what hangs on it."""
    seen = [str(error), repr(error), repr(error.__dict__), repr(error.args)]
    seen += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert error.__cause__ is None
    assert error.__context__ is None
    return "\n".join(seen)


@pytest.mark.parametrize(("query", "kind", "state"), LEAKS)
def test_hidden_values_stay_hidden(
    conn: driver.Connection[Any], query: str, kind: type[errors.Error], state: str
) -> None:
    """Message, DETAIL, HINT and CONTEXT with a row's value are replaced; class and SQLSTATE stay."""
    query = query.split("--", maxsplit=1)[0]
    with pytest.raises(kind) as caught:
        conn.execute(query)
    assert type(caught.value) is kind
    assert caught.value.sqlstate == state
    assert CANARY not in everything(caught.value)
    assert conn.info.error_message == ""


def test_hidden_values_stay_hidden_on_every_way_to_fetch(conn: driver.Connection[Any]) -> None:
    """The same holds where the error comes while rows are fetched."""
    query = "select ssn::int from customers order by id desc"

    def named() -> None:
        with conn.cursor("c") as cursor:
            cursor.execute(query)
            cursor.fetchall()

    def piped() -> None:
        with conn.pipeline():
            conn.execute(query).fetchall()

    ways = [
        lambda: list(conn.cursor().stream(query)),
        lambda: conn.cursor().executemany("select ssn::int from customers where id >= %s", [(5000,)], returning=True),
        lambda: conn.execute(query, prepare=True),
        lambda: conn.execute(query, binary=True),
        named,
        piped,
    ]
    for way in ways:
        with pytest.raises(errors.DataError) as caught:
            way()
        assert CANARY not in everything(caught.value)
        conn.rollback()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select nope from customers", 'column "nope" does not exist'),
        ("select c.nope from customers c", "column c.nope does not exist"),
        ("select nope(1)", "function nope(integer) does not exist"),
        ("select 'a'::text = 1", "operator does not exist: text = integer"),
        ("select 1/0", "division by zero"),
        ("select 2147483647 + 1", "integer out of range"),
        ("select id, count(*) from customers", 'column "customers.id" must appear in the GROUP BY clause or be used'),
        ("select (select id from customers)", "more than one row returned by a subquery used as an expression"),
        ("select 1 union select 'a'::text", "UNION types integer and text cannot be matched"),
        ("select 1 from customers where 1", "argument of WHERE must be type boolean, not type integer"),
        ("select * from nowhere", 'relation "nowhere" does not exist'),
    ],
)
def test_the_statements_own_faults_are_told(conn: driver.Connection[Any], query: str, message: str) -> None:
    """Where the server only repeats the caller's own words, he may read it."""
    with pytest.raises(errors.DatabaseError) as caught:
        conn.execute(query)
    assert message in str(caught.value)


def told(state: str, message: str, asked: str) -> bool:
    """Whether a message that came with a position passes as it is."""
    return tell(Said(state, message, at_text=True, within=False), asked).message == message


def test_names_that_the_caller_did_not_write_are_withheld() -> None:
    """A policy's own columns and functions may be wrong too; their names are hidden ones."""
    asked = "select id from customers"
    assert told("42703", 'column "id" does not exist', asked)
    assert told("42703", "column customers.id does not exist", asked)
    for state, message in (
        ("42703", 'column "risk" does not exist'),
        ("42703", 'column "reference" does not exist'),
        ("42703", "column g.id does not exist"),
        ("42883", "function hmac(text, text) does not exist"),
        ("42P01", 'relation "consents" does not exist'),
        ("42501", "permission denied for table customers"),
        ("22003", 'value "99999" is out of range for type integer'),
        ("22003", "value 99999 is out of range for type integer"),
        ("42P01", ""),
        ("99999", "division by zero"),
        ("42703", "Spalte id existiert nicht"),
    ):
        assert not told(state, message, asked), message


def test_notices_are_neutral(conn: driver.Connection[Any]) -> None:
    """A notice handler learns that there was a notice, not what a row made it say."""
    told: list[theirs.Diagnostic] = []
    conn.add_notice_handler(told.append)
    conn.execute("select shout('notice')")
    conn.execute("begin")
    assert [notice.sqlstate for notice in told] == ["00000", "25001"]
    assert told[0].severity == "NOTICE"
    assert told[1].message_primary == "there is already a transaction in progress"
    for notice in told:
        seen = [getattr(notice, name) for name in dir(notice) if not name.startswith("_")]
        assert CANARY not in repr(seen)
    conn.remove_notice_handler(told.append)
    conn.execute("select shout('notice')")
    assert len(told) == 2


def test_a_lost_connection_is_told_without_the_servers_words(conn: driver.Connection[Any], dsn: str) -> None:
    """A terminated session is an OperationalError, and the connection knows that it is closed."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", (conn.info.backend_pid,))
    with pytest.raises(errors.OperationalError):
        conn.execute("select 1")
    assert conn.closed
    assert conn.broken


def test_every_class_of_psycopgs_has_ours() -> None:
    """Each SQLSTATE that psycopg knows is translated to PEP 249's class of the same name, with its own SQLSTATE."""
    from datagate.backends.postgres.faults import from_server

    bases = [
        "DataError",
        "IntegrityError",
        "InternalError",
        "NotSupportedError",
        "ProgrammingError",
        "OperationalError",
    ]
    for name in dir(theirs):
        kind = getattr(theirs, name)
        if isinstance(kind, type) and issubclass(kind, psycopg.Error) and kind.sqlstate is not None:
            fault = from_server(kind(CANARY), "select 1")
            assert fault.sqlstate == kind.sqlstate
            assert CANARY not in str(fault)
            for base in bases:
                assert isinstance(fault, getattr(errors, base)) == issubclass(kind, getattr(psycopg, base)), name
