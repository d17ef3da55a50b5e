"""All of SELECT's grammar over the bank: the statements of ``fixtures/statements``, each held to a caller's twin."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from fixtures.statements import corpus
from fixtures.statements.corpus import Statement
from tests.twin.chance import alike, settled
from tests.twin.compare import Answered, Failed, Outcome, answer_of, both_missing, difference, gated, same_answer
from tests.twin.pairs import Pair, Pairs

POLICIES = Path(__file__).parents[2] / "policies"
CUSTOMERS = 80

_BY_DESIGN = re.compile(
    r"function (pg_catalog\.)?(query_to_xml|current_setting|has_table_privilege|format_type)\(\) is not allowed"
    # A relation's row type.
    r"|type (bank\.\w+|reg\w+) is not allowed"
    # A row of a guard is an anonymous record: outside of the query that made it, its fields have no names.
    r"|could not identify column \"\w+\" in record data type"
    # On the twin everybody may lock.
    r"|locking rows of \S+ needs"
)
"""Messages of failures that datagate accepts where PostgreSQL itself would answer."""

_NOT_THE_TWINS = re.compile(
    # What the twin's own catalogs, name and storage say is not what the real database's say.
    r"\bpg_(class|attribute|settings|namespace|type|proc)\b|\binformation_schema\b|\bcurrent_catalog\b"
    r"|\bcurrent_database\b|\btablesample\b|\btableoid\b|\bctid\b"
    # PostgreSQL 17 itself answers this differently from plan to plan: it reads memory that it has not set.
    r"|\breturning json\)",
    re.IGNORECASE,
)

# Any so many rows: the twin can happen to choose the same from both ends.
_ANY_ROWS = re.compile(r"^(?!.*\bORDER BY\b).*\bLIMIT [1-9]", re.DOTALL)


@pytest.fixture(scope="session")
def bank_pairs(postgres: EmbeddedPostgres) -> Iterator[Pairs]:
    """A small bank with its example policies."""
    dsn = postgres.create_database("corpus")
    with psycopg.connect(dsn) as connection:
        load(connection, CUSTOMERS)
    with Pairs(postgres, dsn, POLICIES, world(CUSTOMERS)) as pairs:
        yield pairs
    postgres.drop_database("corpus")


def _fit(statement: Statement, postgres: EmbeddedPostgres) -> bool:
    return (
        statement.since <= postgres.version
        and not statement.parameters
        and _NOT_THE_TWINS.search(statement.text) is None
    )


def _differs(pair: Pair, text: str) -> str | None:
    """How the gate differs from the twin; None if it does not, or chance is to blame, or it fails by design."""
    through_gate, on_twin = gated(pair.session, pair.real, text), answer_of(pair.twin, text)
    if same_answer(through_gate, on_twin) or both_missing(pair.twin, through_gate, on_twin):
        return None
    if isinstance(through_gate, Failed) and _BY_DESIGN.search(through_gate.message):
        return None
    if alike(through_gate, on_twin) and not settled(pair.twin, pair.backwards, text, on_twin):
        return None
    if _as_many(through_gate, on_twin) and _ANY_ROWS.search(text) is not None:
        return None
    return difference(text, through_gate, on_twin)


def _as_many(one: Outcome, other: Outcome) -> bool:
    """Whether two answers have the same columns, and as many rows."""
    if not (isinstance(one, Answered) and isinstance(other, Answered)):
        return False
    return one.columns == other.columns and len(one.rows) == len(other.rows)


def _check(pairs: Pairs, asked: list[tuple[str, Statement]]) -> None:
    found = [
        f"{who}: {differs}"
        for who, statement in asked
        if (differs := _differs(pairs.pair(CALLERS[who]), statement.text)) is not None
    ]
    assert not found, f"{len(found)} of {len(asked)} differ\n" + "\n\n".join(found[:20])


@pytest.mark.parametrize("who", CALLERS)
def test_written_statements(bank_pairs: Pairs, postgres: EmbeddedPostgres, who: str) -> None:
    """Every statement that was written out, for every caller, answers as the twin does, or fails as it does."""
    _check(bank_pairs, [(who, statement) for statement in corpus.written() if _fit(statement, postgres)])


@pytest.mark.parametrize("who", ["analyst", "adviser", "customer", "assistant"])
def test_parts_in_places(bank_pairs: Pairs, postgres: EmbeddedPostgres, who: str) -> None:
    """Every expression and FROM item in every place, for one of four kinds of caller each, answers as the twin does."""
    callers = ["analyst", "adviser", "customer", "assistant"]
    asked = [
        (who, statement)
        for statement in corpus.combined()
        if _fit(statement, postgres) and callers[zlib.crc32(statement.text.encode()) % len(callers)] == who
    ]
    assert len(asked) > 1000
    _check(bank_pairs, asked)


@pytest.mark.slow
@pytest.mark.parametrize("who", CALLERS)
def test_every_part_in_every_place(bank_pairs: Pairs, postgres: EmbeddedPostgres, who: str) -> None:
    """As above, for every caller each."""
    _check(bank_pairs, [(who, statement) for statement in corpus.combined() if _fit(statement, postgres)])
