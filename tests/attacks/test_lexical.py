"""Class 54: lexical tricks, by the driver and on the wire; each answers as PostgreSQL does on the twin, or is refused.

What: comments in comments, dollar quotes, escapes, folding, cut names, bytes that are no text, other encodings.
Why: a gate that reads another statement than the server guards the wrong one.
Defence: PostgreSQL's own lexer reads the text, in UTF-8 alone and with standard strings; its own spelling goes on.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import DatagateError
from datagate.frontends import driver
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.frontends.gateway.running import Running, make_role
from tests.twin.pairs import Pairs
from tests.twin.rows import Connection

CUSTOMERS = 40
POLICIES = Path(__file__).parents[2] / "policies"
FROM = "from bank.customers"
FIRST_WITH_PREFIXES = 160000
"""The first server version that reads 0x1F and 1_000 as numbers."""


@dataclass(frozen=True, slots=True)
class Doors:
    """An analyst's two ways through the gate, and the twin."""

    driven: driver.Connection[Any]
    wired: psycopg.Connection[Any]
    twin: Connection
    gateway: Running


@pytest.fixture(scope="module")
def doors(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A small bank with both doors."""
    dsn = postgres.create_database("lexical")
    with psycopg.connect(dsn) as connection:
        load(connection, CUSTOMERS)
    ana = CALLERS["analyst"]
    with Pairs(postgres, dsn, POLICIES, world(CUSTOMERS)) as pairs:
        make_role(dsn).dispose()
        with (
            Running(dsn, tmp_path_factory.mktemp("lexical")) as gateway,
            gateway.connect("ana") as wired,
            driver.connect(dsn, caller=ana, gate=pairs.gate, autocommit=True) as driven,
        ):
            yield Doors(driven, wired, pairs.pair(ana).twin, gateway)
    postgres.drop_database("lexical")


ANSWERED = [
    # Comments.
    f"select /* /* ssn */ -- */ 1, count(*) {FROM}",
    "/**/select/**/1/**/;/**/",
    f"select count(*) -- {FROM}\n{FROM}",
    f"select count(*) --\r{FROM}",
    f"select 1 /*'*/ , count(*) {FROM} /*'*/",
    f"select '/*', count(*) {FROM} where '*/' = '*/'",
    f"select '--', count(*) {FROM}",
    f"select 1 +-- {FROM}\n 2",
    f"select 3 -/*+*/- 2, count(*) {FROM}",
    # Dollar quotes.
    f"select $$'$$, $a$$$ $b$ $a$, count(*) {FROM}",
    f"select $é$ $e$ $é$, count(*) {FROM}",
    f"select $_1$ $1$ $_1$, $$$$, count(*) {FROM}",
    "select 1 as a$$b$$",
    f"select region as r$1$ {FROM} group by 1",
    # Strings and their escapes.
    f"select E'\\'', E'''', E'\\\\', '\\', count(*) {FROM}",
    f"select E'\\x41\\102\\u0043\\U00000044', E'\\q', count(*) {FROM}",
    f"select E'\\ud83d\\ude00', U&'\\d83d\\de00', U&'\\+01F600', count(*) {FROM}",
    f"select U&'!0041' uescape '!', U&'\\\\', U&'a''b', count(*) {FROM}",
    f"select n'x', b'101', x'1F', count(*) {FROM}",
    f"select 'a'\n'b', E'a'\n'b', count(*) {FROM}",
    f"select 'é' = U&'\\00e9', length('表'), length('😀'), count(*) {FROM}",
    "select '\ufeff', length('\u202e\u200b')",
    # Numbers.
    f"select 0x1F, 0o17, 0b11, 1_000, .5, 1., 1e3, 1.5e-3, count(*) {FROM}",
    f"select - -1, + +1, 2 ^ -1, -2 ^ 2, 5 %2, count(*) {FROM}",
    f"select 1<2, 1!=2, 1<>2, 1>=-1, @ -5, |/ 25, count(*) {FROM}",
    # Names: ASCII folds, nothing else does; 63 bytes count, cut between characters.
    f'select Region, REGION, "region" {FROM} group by 1',
    "SELECT COUNT(*) FROM BANK.CUSTOMERS",
    'select count(*) from "bank"."customers"',
    f'select U&"r\\0065gion" {FROM} group by 1',
    f'select count(*) as "{"x" * 63}" {FROM}',
    f'select count(*) as "{"x" * 64}" {FROM}',
    f'select "{"x" * 70}" from (select count(*) as "{"x" * 63}" {FROM}) as q',
    f'select {"É" * 40}, "{"É" * 31}" from (select count(*) as "{"É" * 35}" {FROM}) as q',
    f'select count(*) as "{"x" * 62}é" {FROM}',
    f'select count(*) as "a""b", 1 as "", 2 as " " {FROM}'.replace('1 as "", ', ""),
    f'select count(*) as "İ", 2 as İ, 3 as \u0131, 4 as I {FROM}',
    f'select "{"r" * 63}".region from bank.customers as {"r" * 80} group by 1',
    # Operators and casts by other names.
    f"select 1 operator(pg_catalog.+) 2, count(*) {FROM} where region operator(pg_catalog.=) 'EU'",
    f"select '1'::int, int '1', cast('1' as pg_catalog.int4), \"int4\"('1'), count(*) {FROM}",
    "select 'bank.customers'::regclass::text, 'int4'::regtype::text, cast('bank.advisers' as regclass)::text",
    "select convert_from('\\x835c', 'SJIS'), pg_client_encoding()",
    f"select 1::int::text::pg_catalog.varchar, count(*) {FROM}",
    f"select a.r[1], a.r[1:2] from (select array_agg(region order by region) as r {FROM}) as a",
    # Names in texts.
    "select 'bank'::regnamespace",
    "select 'postgres'::regrole",
    "select to_regclass('bank.customers'), to_regclass('datagate.entitlements')",
]
"""What answers as on the twin."""

REFUSED = [
    ("set client_encoding = 'SJIS'", "42501"),
    ("set client_encoding to LATIN1", "42501"),
    ("set names 'GBK'", "42501"),
    ("reset client_encoding; set client_encoding = BIG5", "42501"),
    ("set standard_conforming_strings = off", "42501"),
    ("set backslash_quote = on", "42501"),
    ("set escape_string_warning = off", "42501"),
    ("select set_config('standard_conforming_strings', 'off', false)", "42501"),
    ("select set_config('client_encoding', 'SJIS', false)", "42501"),
    ("select U&'\\d83d'", "42601"),
    ("select U&'x' uescape ''''", "42601"),
    ("select U&'\\+110000'", "42601"),
    ("select E'\\xff'", "42601"),
    ("select E'\\000'", "42601"),
    ("select U&'\\0000'", "42601"),
    ("select 1 /* /* */", "42601"),
    ("select $a$ $A$", "42601"),
    ("select 1a", "42601"),
    ("select 1_", "42601"),
    ("select 'a' 'b'", "42601"),
    (f"select count(*) {FROM}\u00a0", "42P01"),
    ("\ufeffselect 1", "42601"),
    ("select '\u0000'", "22021"),
    (b"select '\xff'", "22021"),
    (b"select '\xc0\x80'", "22021"),
    (b"select '\xed\xa0\x80'", "22021"),
    (b"select '\xf4\x90\x80\x80'", "22021"),
    (b"select '\x95\x5c', ssn from bank.customers --'", "22021"),
    ('select count(*) from bank."Customers"', "42P01"),
    ("select count(*) from bank.cu\u017ftomers", "42P01"),
    (f"select REGİON {FROM}", "42703"),
    (f"select reg\u0131on {FROM}", "42703"),
    ('select "ssn"\u200b ' + FROM, "42703"),
    # PostgreSQL joins these; libpg_query's lexer, which keeps comments as tokens, does not.
    ("select 'a' -- b\n 'c'", "42601"),
    ("select 1 operator(public.+) 2", "42501"),
    (f"select count(*) {FROM} where region operator(pg_temp.=) 'EU'", "42501"),
    ("select regclass 'datagate.entitlements'", "42P01"),
    ("select 'lower(text)'::regprocedure", "42501"),
    ("select '+(int4,int4)'::regoperator", "42501"),
]


def answer(connection: psycopg.Connection[Any], text: str | bytes) -> tuple[Any, Any]:
    """SQLSTATE and message, or names and rows."""
    try:
        cursor = connection.execute(text.encode() if isinstance(text, str) and "\0" not in text else text)
    except DatagateError as error:
        return error.sqlstate, str(error)
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary
    return [column.name for column in cursor.description or ()], sorted(map(repr, cursor.fetchall()))


@pytest.mark.parametrize("text", ANSWERED)
def test_answered(doors: Doors, text: str) -> None:
    """The same by both doors as on the twin."""
    expected = answer(doors.twin, text)
    if "0x1F" in text and doors.twin.info.server_version < FIRST_WITH_PREFIXES:
        assert expected[0] == answer(doors.driven, text)[0] == answer(doors.wired, text)[0] == "42601"
        return
    assert isinstance(expected[0], list), expected
    assert answer(doors.driven, text) == expected
    assert answer(doors.wired, text) == expected


@pytest.mark.parametrize(("text", "sqlstate"), REFUSED)
def test_refused(doors: Doors, text: str | bytes, sqlstate: str) -> None:
    """A plain message by both doors, which then serve on."""
    for door in (doors.driven, doors.wired):
        if isinstance(text, str) and "\0" in text and door is doors.wired:
            continue  # libpq ends the text there; see below
        state, told = answer(door, text)
        assert state == sqlstate, (door, told)
        assert len(str(told).split()) > 2
        assert "Traceback" not in str(told)
        assert door.execute("select 1").fetchone() == (1,)


def _packet(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


@pytest.mark.parametrize("body", [b"select 1\0; select ssn from bank.customers\0", b"select 1", b"", b"\0\0"])
def test_nul_on_the_wire(doors: Doors, body: bytes) -> None:
    """A Query whose text has a NUL inside, or none at its end, is a violation of the protocol, and said to be one."""
    with (
        doors.gateway.connect("ana") as honest,
        socket.fromfd(honest.fileno(), socket.AF_INET, socket.SOCK_STREAM) as wire,
    ):
        wire.settimeout(20)
        wire.sendall(_packet(b"Q", body))
        told = b""
        while chunk := wire.recv(4096):
            told += chunk
            if told.endswith(b"I"):
                break
    assert b"ERROR" in told or b"FATAL" in told
    assert b"08P01" in told or b"22021" in told
