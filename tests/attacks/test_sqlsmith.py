"""SQLsmith's statements through the gate, on two databases that differ in what is hidden: nothing tells them apart.

SQLsmith (Debian's package) writes them for an empty database with what the caller sees, and only prints them; so it
knows the names that pass, and every function and operator of the server. A short run belongs to the suite where the
program is installed; the long one is `pytest -m slow tests/attacks/test_sqlsmith.py -s`, and prints what was refused.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import DatagateError
from datagate.frontends import driver
from tests.attacks.arena import Bank, canaries
from tests.attacks.test_writes import shops

__all__ = ["shops"]

Lines = tuple[driver.Connection[Any], driver.Connection[Any]]
SHORT, PART, PARTS = 60, 1_000, 10
LIMIT = "1500ms"
_BY_CHANCE = re.compile(
    r"random|uuid|clock|timeofday|now\(|_timestamp|localtime|current_|txid|xact|pg_backend|tablesample|limit \d+",
    re.IGNORECASE,
)
"""What may give another answer the second time, or any rows of many."""
_PLAIN = re.compile(r"[a-z]{3}.* [a-z]", re.DOTALL)
"""Some words, at least: what every refusal has."""


@pytest.fixture(scope="module")
def program() -> str:
    """The program's path."""
    found = shutil.which("sqlsmith")
    if found is None:
        pytest.skip("sqlsmith is not installed (on Debian: apt install sqlsmith)")
    return found


def generated(
    program: str, postgres: EmbeddedPostgres, line: driver.Connection[Any], count: int, seed: int
) -> list[str]:
    """So many statements over what the caller sees."""
    name = f"smith_{seed}"
    dsn = postgres.create_database(name)
    try:
        with psycopg.connect(dsn, autocommit=True) as scratch:
            for relation, is_view in _relations(line):
                _imitate(scratch, line, relation, is_view=is_view)
            _forget_functions(scratch)
        found = subprocess.run(
            [program, f"--target={dsn}", "--dry-run", "--exclude-catalog", f"--seed={seed}", f"--max-queries={count}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
    finally:
        postgres.drop_database(name)
    return [text for text in found.stdout.split(";\n") if text.strip()]


def _relations(line: driver.Connection[Any]) -> list[tuple[str, bool]]:
    query = "SELECT n.nspname || '.' || c.relname, c.relkind = 'v' FROM pg_class c JOIN pg_namespace n"
    query += " ON n.oid = c.relnamespace WHERE n.nspname IN ('bank', 'shop') AND c.relkind IN ('r', 'p', 'v', 'm')"
    return [(str(name), is_view) for name, is_view in line.execute(query).fetchall() if str(name).islower()]


def _imitate(scratch: psycopg.Connection[Any], line: driver.Connection[Any], relation: str, *, is_view: bool) -> None:
    """A table or a view with the columns that the caller sees."""
    cursor = line.execute(f"SELECT * FROM {relation} LIMIT 0")
    columns = [(f'"{column.name}"', column.type_display) for column in cursor.description or ()]
    scratch.execute(f"CREATE SCHEMA IF NOT EXISTS {relation.partition('.')[0]}".encode())
    if is_view:
        items = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in columns)
        scratch.execute(f"CREATE VIEW {relation} AS SELECT {items}".encode())
    else:
        scratch.execute(f"CREATE TABLE {relation} ({', '.join(map(' '.join, columns))})".encode())


def _forget_functions(scratch: psycopg.Connection[Any]) -> None:
    """Leave it the functions and operators that the gate passes: else nearly all of its statements are refused.

    It passes over functions that give a trigger, and the server, over those, still finds what it needs itself.
    """
    allowed = sorted(read_catalog(scratch).functions)
    odd = "('any', 'anyelement', 'anyarray', 'anynonarray', 'anyenum', 'anyrange', 'anymultirange', 'anycompatible', "
    odd += "'anycompatiblearray', 'anycompatiblenonarray', 'anycompatiblerange', 'internal', 'cstring', 'record', "
    odd += "'_record', '_cstring', 'regclass', 'regproc', 'regtype', 'regrole', 'regnamespace', 'regconfig', "
    odd += "'regdictionary', 'regoper', 'regoperator', 'regprocedure', 'regcollation', 'pg_lsn', 'aclitem', 'xid8')"
    types = f"(SELECT oid FROM pg_type WHERE typname IN {odd} OR typname ^@ 'pg_')"
    scratch.execute(
        f"UPDATE pg_proc SET prorettype = 'trigger'::regtype WHERE (proname <> ALL (%s) OR prorettype IN {types}"
        f" OR EXISTS (SELECT FROM unnest(proargtypes) AS a (a) WHERE a IN {types}))"
        " AND proname NOT IN ('unnest', 'format', 'format_type', 'quote_ident', 'array_agg')".encode(),
        (allowed,),
    )
    scratch.execute(
        "DELETE FROM pg_operator WHERE oprcode::oid IN (SELECT oid FROM pg_proc WHERE prorettype = 'trigger'::regtype)"
    )


def told(line: driver.Connection[Any], text: str) -> tuple[str, str]:
    """How it went (empty, or the SQLSTATE), and all that the caller learns."""
    try:
        with line.transaction(force_rollback=True):
            line.execute(f"SET LOCAL statement_timeout = '{LIMIT}'")
            cursor = line.execute(text)
            rows = sorted(map(repr, cursor.fetchall())) if cursor.description else []
            return "", repr((cursor.rowcount, [column.name for column in cursor.description or ()], rows))
    except DatagateError as error:
        return error.sqlstate, str(error)


def _past_the_gate(line: driver.Connection[Any], text: str) -> str:
    """The SQLSTATE of the caller's own text where nothing holds it: PostgreSQL has faults of its own."""
    with psycopg.connect(line.info.dsn) as past:
        try:
            past.execute(f"SET statement_timeout = '{LIMIT}'")
            past.execute(text.encode())
        except psycopg.Error as error:
            return error.sqlstate or ""
        finally:
            past.rollback()
    return ""


def _wrong(lines: Lines, text: str, who: str) -> tuple[str, str]:
    """How a statement went, and what is wrong with it; empty where nothing is."""
    state, one = told(lines[0], text)
    went = state or "ran"
    if canaries(who, one) or ("canary" in one and who != "adviser"):
        return went, "a canary"
    if state and not _PLAIN.search(one):
        return went, f"no plain answer: {one!r}"
    if state.startswith("XX") and state != _past_the_gate(lines[0], text):
        return went, f"a fault that is not the server's: {one!r}"
    if state != "57014":
        other = told(lines[1], text)
        if other != (state, one) and other[0] != "57014" and not _BY_CHANCE.search(text):
            return went, f"another answer where what is hidden differs: {one} / {other}"
    return went, ""


def _hold(lines: Lines, statements: list[str], who: str) -> Counter[str]:
    went: Counter[str] = Counter()
    wrong: list[str] = []
    for text in statements:
        how, what = _wrong(lines, text, who)
        went[how] += 1
        if what:
            wrong.append(f"{how}, {what}:\n{text}")
    assert not wrong, "\n\n".join([f"{len(wrong)} of {went.total()}:", *wrong])
    return went


@pytest.fixture
def bank_lines(banks: tuple[Bank, Bank]) -> Iterator[Lines]:
    """An adviser's connections to the two banks."""
    with (
        banks[0].connected("adviser", least_privileged=False) as one,
        banks[1].connected("adviser", least_privileged=False) as other,
    ):
        one.rollback()
        other.rollback()
        yield one, other


def _report(who: str, went: Counter[str]) -> None:
    total = sum(went.values())
    refused = total - went["ran"]
    sys.stdout.write(f"\n{who}: {total} statements, {refused / total:.1%} refused or failed: {dict(went)}\n")


def test_reads(program: str, postgres: EmbeddedPostgres, bank_lines: Lines) -> None:
    """An adviser of the bank."""
    went = _hold(bank_lines, generated(program, postgres, bank_lines[0], SHORT, 1), "adviser")
    assert went["ran"], went


def test_writes(program: str, postgres: EmbeddedPostgres, shops: Lines) -> None:
    """The clerk of the shop, whose tables may be written to."""
    went = _hold(shops, generated(program, postgres, shops[0], SHORT, 2), "clerk")
    assert went["ran"], went


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 100 + PARTS))
def test_many_reads(program: str, postgres: EmbeddedPostgres, bank_lines: Lines, seed: int) -> None:
    """As above, at length."""
    _report("adviser", _hold(bank_lines, generated(program, postgres, bank_lines[0], PART, seed), "adviser"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 200 + PARTS))
def test_many_writes(program: str, postgres: EmbeddedPostgres, shops: Lines, seed: int) -> None:
    """As above, at length."""
    _report("clerk", _hold(shops, generated(program, postgres, shops[0], PART, seed), "clerk"))
