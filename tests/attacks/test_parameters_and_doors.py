"""Class 51: what a program can do beside SQL text.

What: parameters of odd types, bytes that are no text, other cursor classes, compositions, names of cursors.
Why: the driver hands them to the server by ways of their own.
Defence: nothing reaches the wire that the gate has not admitted, and no parameter has a type that names things.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql
from psycopg.adapt import Dumper

from datagate.frontends import driver
from tests.attacks.arena import Bank, canaries, observe, observe_call

Connection = driver.Connection[Any]
REGCLASS, REGTYPE, REGPROC, REGROLE, REGNAMESPACE, REGTYPES = 2205, 2206, 24, 4096, 4089, 2211


class Odd:
    """A value that its dumper sends as another type."""

    def __init__(self, text: str) -> None:
        self.text = text


class OddDumper(Dumper):
    def dump(self, obj: Odd) -> bytes:
        return obj.text.encode()


@pytest.mark.parametrize("oid", [REGCLASS, REGTYPE, REGPROC, REGROLE, REGNAMESPACE, REGTYPES])
def test_parameters_that_name_things(bank: Bank, oid: int) -> None:
    """A parameter sent as regclass or its like is refused; the same text sent as text passes."""
    with bank.connected("analyst", least_privileged=True) as connection:
        for type_, sqlstate in ((oid, "42000"), (25, "")):
            dumper = type("D", (OddDumper,), {"oid": type_})
            connection.adapters.register_dumper(Odd, dumper)
            assert observe(connection, "select %s::text", [Odd("16400")]).sqlstate == sqlstate


class Evil(str):
    """A text that says something else whenever it is asked in another way."""

    __slots__ = ()

    def strip(self, *_: object) -> str:
        return ""

    def encode(self, *_: object, **__: object) -> bytes:
        return b"select ssn from bank.customers"


def run_named(connection: Connection, factory: Callable[..., Any], text: str) -> object:
    """Run a text on a cursor of some class that needs a name."""
    with factory(connection, "x") as cursor:
        return cursor.execute(text)


DOORS: list[Callable[[Connection], object]] = [
    lambda c: c.execute(b"select ssn from bank.customers"),
    lambda c: c.execute(b"select '\xff', ssn from bank.customers"),
    lambda c: c.execute(b"select 1\0; select ssn from bank.customers"),
    lambda c: c.execute("select 1\0; select ssn from bank.customers"),
    lambda c: c.execute("select '\ud800', ssn from bank.customers"),
    lambda c: c.execute(cast("Any", Evil("select ssn from bank.customers"))),
    lambda c: c.execute(sql.SQL("select {} from bank.customers").format(sql.Identifier("ssn"))),
    lambda c: c.execute(sql.SQL("select {}, ssn from bank.customers").format(sql.Literal("'; --"))),
    lambda c: psycopg.Cursor(c).execute("select ssn from bank.customers"),
    lambda c: psycopg.ClientCursor(c).execute("select ssn from bank.customers"),
    lambda c: psycopg.RawCursor(c).execute("select ssn from bank.customers"),
    lambda c: run_named(c, psycopg.RawServerCursor, "select ssn from bank.customers"),
    lambda c: c.cursor().copy("copy bank.customers from stdin"),
    lambda c: list(c.cursor().stream("select ssn from bank.customers")),
    lambda c: c.cursor().executemany("select ssn from bank.customers where zip = %s", [("x",)], returning=True),
    lambda c: run_named(c, driver.ServerCursor, "select ssn from bank.customers"),
    lambda c: run_named(c, driver.ServerCursor, "set role postgres"),
    lambda c: psycopg.types.TypeInfo.fetch(c, "bank.canary_vault"),
]


@pytest.mark.parametrize("number", range(len(DOORS)))
def test_doors(bank: Bank, number: int) -> None:
    """Each ends in datagate's own error, without a canary; the connection then serves as before."""
    with bank.connected("analyst", least_privileged=False) as connection:
        told = observe_call(connection, lambda: DOORS[number](connection))
        assert told.sqlstate
        assert not canaries("analyst", told.told)
        assert observe(connection, "select count(*) > 0 from bank.customers").rows == ("(True,)",)


def test_names_of_cursors_and_pipelines(bank: Bank) -> None:
    """A cursor's name is a name, whatever is in it; in a pipeline each statement is admitted by itself."""
    with bank.connected("analyst", least_privileged=False) as connection:
        with connection.transaction(), connection.cursor('x" cursor for select ssn; --') as cursor:
            assert cursor.execute("select 1").fetchall() == [(1,)]
        with connection.pipeline():
            first = connection.execute("select count(*) > 0 from bank.customers")
            assert observe(connection, "select * from bank.canary_vault").sqlstate == "42P01"
            assert first.fetchall() == [(True,)]
