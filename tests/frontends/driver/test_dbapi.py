"""PEP 249, on a gated connection."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from psycopg.rows import dict_row

from datagate import errors
from datagate.frontends import driver
from tests.frontends.driver.conftest import CALLER
from tests.frontends.driver.standin import StandInGate


def test_module_globals() -> None:
    """The module's globals are PEP 249's."""
    assert (driver.apilevel, driver.threadsafety, driver.paramstyle) == ("2.0", 2, "pyformat")
    for name in ("Warning", "Error", "InterfaceError", "DatabaseError", "DataError", "OperationalError"):
        assert getattr(driver, name) is getattr(errors, name)
        assert getattr(driver.Connection, name) is getattr(errors, name)
        assert getattr(driver.AsyncConnection, name) is getattr(errors, name)
    for name in driver.__all__:
        assert hasattr(driver, name)


def test_guards_every_statement(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """The caller sees what the gate's text gives, and the gate saw the caller's text."""
    assert conn.execute("select count(*) from customers").fetchone() == (501,)
    assert gate.seen == ["select count(*) from customers"]
    with pytest.raises(errors.Refused, match="secrets is not permitted"):
        conn.execute("select * from secrets")


def test_policy_values_follow_the_callers(conn: driver.Connection[Any]) -> None:
    """Own parameters in any style and the policy's values meet in one statement."""
    cursor = conn.cursor()
    assert cursor.execute("select id from customers where id < %s order by 1", (5,)).fetchall() == [(2,), (4,)]
    cursor.execute("select id from customers where id between %(a)s and %(b)b and id > %(a)s", {"a": 2, "b": 6})
    assert sorted(cursor.fetchall()) == [(4,), (6,)]
    assert cursor.execute("select count(*) from customers where id %% 4 = %s", (0,)).fetchone() == (251,)
    assert cursor.execute("select count(*) from customers where id % 4 = 0").fetchone() == (251,)
    assert cursor.execute("select name from customers where id = any(%s)", ([1, 2],)).fetchall() == [("name 2",)]


def test_description_and_types(conn: driver.Connection[Any]) -> None:
    """Columns are described, and values arrive as Python's types, in text and binary format."""
    query = """select 1::int4 as n, 'x'::text as t, 1.5::numeric as d, date '2024-02-29' as day,
               '00000000-0000-0000-0000-000000000001'::uuid as u, array[1,2] as a, '\\x00ff'::bytea as b, null as z"""
    row = (1, "x", Decimal("1.5"), dt.date(2024, 2, 29), UUID(int=1), [1, 2], b"\x00\xff", None)
    for binary in (False, True):
        cursor = conn.execute(query, binary=binary)
        assert cursor.fetchone() == row
    assert cursor.description is not None
    assert [column.name for column in cursor.description] == ["n", "t", "d", "day", "u", "a", "b", "z"]
    assert cursor.description[0].type_code == driver.NUMBER
    assert cursor.description[1].type_code == driver.STRING
    assert cursor.description[3].type_code == driver.DATETIME
    assert cursor.rowcount == 1


def test_fetching(conn: driver.Connection[Any]) -> None:
    """All ways to fetch give the same rows."""
    query = "select id from customers where id <= 12 order by id"
    rows = [(2,), (4,), (6,), (8,), (10,), (12,)]
    cursor = conn.execute(query)
    assert cursor.fetchone() == (2,)
    assert cursor.fetchmany(2) == [(4,), (6,)]
    assert list(cursor) == [(8,), (10,), (12,)]
    assert cursor.fetchone() is None
    cursor.scroll(0, "absolute")
    assert cursor.fetchall() == rows
    assert list(conn.cursor().stream(query)) == rows
    assert conn.cursor(row_factory=dict_row).execute(query).fetchone() == {"id": 2}
    assert cursor.nextset() is None


def test_executemany(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """Executemany is admitted once, and each set of parameters meets the policy's values."""
    cursor = conn.cursor()
    cursor.executemany("select id from customers where id = %s", [(1,), (2,), (4,)], returning=True)
    assert [result.fetchall() for result in cursor.results()] == [[], [(2,)], [(4,)]]
    assert gate.seen == ["select id from customers where id = $1"]
    cursor.executemany("select %(a)s::int", ({"a": n} for n in range(3)), returning=True)
    assert cursor.fetchone() == (0,)
    assert cursor.nextset()
    with pytest.raises(errors.ProgrammingError):
        cursor.executemany("select %s::int", [(1,), (1, 2)])


def _undo(conn: driver.Connection[Any]) -> None:
    with conn.transaction():
        conn.execute("select 1")
        raise driver.Rollback


def status(conn: driver.Connection[Any]) -> str:
    return conn.info.transaction_status.name


def test_transactions(conn: driver.Connection[Any]) -> None:
    """commit, rollback, blocks and savepoints work, and so do their SQL spellings."""
    assert conn.execute("select 1").fetchone() == (1,)
    assert status(conn) == "INTRANS"
    conn.commit()
    with conn.transaction(), conn.transaction("inner"):
        conn.execute("select 1")
        with conn.transaction(force_rollback=True):
            conn.execute("select 2")
    assert status(conn) == "IDLE"
    _undo(conn)
    conn.autocommit = True
    conn.execute("begin")
    conn.execute("savepoint a")
    conn.execute("rollback")
    conn.isolation_level = driver.IsolationLevel.SERIALIZABLE
    conn.read_only = True
    conn.deferrable = True
    conn.autocommit = False
    assert conn.execute("show transaction_read_only").fetchone() == ("on",)
    conn.rollback()


def test_two_phase_commands_pass_the_gate(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """PREPARE TRANSACTION and what finishes it are the gate's to admit."""
    xid = conn.xid(1, "it's", "b")
    conn.tpc_begin(xid)
    conn.execute("select 1")
    conn.tpc_prepare()
    assert any(text.startswith("PREPARE TRANSACTION '1_") for text in gate.seen)
    conn.tpc_rollback()
    assert gate.seen[-1].startswith("ROLLBACK PREPARED '1_")
    conn.tpc_begin("of-secrets")
    conn.execute("select 1")
    with pytest.raises(errors.Refused):
        conn.tpc_prepare()


def test_misuse_is_an_error_of_ours(conn: driver.Connection[Any]) -> None:
    """Whatever psycopg raises by itself arrives as datagate's, with no psycopg error hanging on it."""
    cursor = conn.cursor()
    misuses: list[Callable[[], object]] = [cursor.fetchone, cursor.fetchall, cursor.fetchmany]
    misuses += [lambda: next(cursor), lambda: cursor.scroll(1)]
    for misuse in misuses:
        with pytest.raises(errors.ProgrammingError) as caught:
            misuse()
        assert caught.value.__context__ is None
    cursor.close()
    with pytest.raises(errors.InterfaceError):
        cursor.execute("select 1")
    with pytest.raises(errors.InterfaceError):
        list(cursor.stream("select 1"))
    conn.close()
    for method in (conn.cursor, conn.commit, conn.rollback, lambda: conn.execute("select 1")):
        with pytest.raises(errors.OperationalError):
            method()


def test_connecting(dsn: str, gate: StandInGate) -> None:
    """A server that is not there, a bad string, and arguments that do not go together are errors of ours."""
    with pytest.raises(errors.OperationalError) as caught:
        driver.connect("host=127.0.0.1 port=1", caller=CALLER, gate=gate)
    assert caught.value.__context__ is None
    with pytest.raises(errors.ProgrammingError):
        driver.connect("no string of libpq's", caller=CALLER, gate=gate)
    with pytest.raises(errors.InterfaceError, match="policies"):
        driver.connect(dsn, caller=CALLER)
    with pytest.raises(errors.InterfaceError):
        driver.connect(dsn, caller=CALLER, gate=gate, policies="policies")


def test_blank_statements_need_no_gate(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """Pools and engines send an empty statement to see whether the server lives."""
    for query in ("", ";", " ; \n"):
        conn.execute(query)
        conn.execute(query, ())
    assert gate.seen == []


def test_text_beyond_ascii_needs_utf8(dsn: str, gate: StandInGate) -> None:
    """In another client encoding the server could read other characters than the gate did."""
    with driver.connect(dsn, caller=CALLER, gate=gate, client_encoding="latin1") as connection:
        assert connection.execute("select 'plain', %s::text", ("é",)).fetchone() == ("plain", "é")
        with pytest.raises(errors.NotSupportedError):
            connection.execute("select 'é'")


def test_refuses_a_server_that_reads_literals_otherwise(dsn: str, gate: StandInGate) -> None:
    """With standard_conforming_strings off, a backslash would end literals elsewhere than the gate's parser thinks."""
    with pytest.raises(errors.OperationalError, match="standard_conforming_strings"):
        driver.connect(dsn, caller=CALLER, gate=gate, options="-c standard_conforming_strings=off")
