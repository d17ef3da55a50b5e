"""Functions that look a catalog object up by OID: only with the OID held to what the caller may see."""

from __future__ import annotations

import pytest

from datagate.model.lookup import Lookup
from datagate.verify.postgres import Mismatch, MismatchKind, verify
from tests.verify.world import FUNCTIONS, GUARDS, PRESCRIPTIONS, body, catalog, expand, plain, relation_name

CLASS = relation_name("pg_catalog.pg_class")
LOOKUPS = {
    "seen": Lookup(0, CLASS, "oid"),
    "second": Lookup(1, CLASS, "oid"),
    "numbered": Lookup(0, CLASS, "oid", (1, "relname")),
    "hidden": Lookup(0, relation_name("bank.x"), "oid"),
}
HELD = (
    f"CASE WHEN ({{oid}} IN (SELECT pg_class.oid FROM ({body('pg_catalog.pg_class')}) AS pg_class)) IS NOT TRUE"
    " THEN NULL ELSE {call} END"
)


def held(oid: str, call: str) -> str:
    return HELD.replace("{oid}", oid).replace("{call}", call)


def outcome(original: str, final: str, operators: frozenset[str] = frozenset()) -> MismatchKind | None:
    """The kind of refusal, or None where the pair passes."""
    try:
        verify(
            original,
            final,
            catalog=catalog(user_operators=operators),
            prescriptions=PRESCRIPTIONS,
            functions=FUNCTIONS,
            lookups=LOOKUPS,
        )
    except Mismatch as mismatch:
        return mismatch.kind
    return None


@pytest.mark.parametrize(
    ("oid", "call"),
    [
        ("1", "seen(1)"),
        ("$1", "seen($1)"),
        ("c.oid", "seen(c.oid)"),
        ("c.oid", "pg_catalog.seen(c.oid, 2)"),
        ("c.oid", "second(5, c.oid)"),
        ("c.x[1]::oid", "seen(c.x[1]::oid)"),
    ],
)
def test_a_look_up_held_to_the_guard_passes(oid: str, call: str) -> None:
    """For columns, constants and parameters, which are the same in the condition and in the call."""
    original = f"SELECT {call} FROM {{kyc AS c}}"
    final = f"SELECT {held(oid, call)} FROM {{kyc AS c}}"
    assert outcome(plain(original), expand(final)) is None


GUARD = GUARDS["pg_catalog.pg_class"]


@pytest.mark.parametrize(
    ("original", "final"),
    [
        ("seen(c.oid)", "seen(c.oid)"),
        ("seen(c.oid)", held("1", "seen(c.oid)")),
        ("seen(c.oid)", held("c.oid", "seen(c.id)")),
        ("seen(c.oid)", held("c.oid", "second(c.oid)")),
        ("seen(c.oid)", held("c.oid", "lower(c.oid)")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("THEN NULL", "THEN seen(c.oid)")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("WHEN", "true WHEN", 1)),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace(" ELSE", " WHEN true THEN seen(c.oid) ELSE")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace(" IN ", " NOT IN ")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace(GUARD, "SELECT oid FROM pg_catalog.pg_class")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("IS NOT TRUE", "IS TRUE")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("IS NOT TRUE", "IS NOT UNKNOWN")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("IS NOT TRUE", "IS FALSE")),
        ("numbered(c.oid, 1)", held("c.oid", "numbered(c.oid, 1)")),
        ("numbered(c.oid)", held("c.oid", "numbered(c.oid)")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace(f"({GUARD}) AS pg_class", "pg_catalog.pg_class")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("g.oid < 100", "g.oid < 101")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace("pg_class.oid FROM", "pg_class.relname FROM")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace(")) IS", " OFFSET 1)) IS")),
        ("seen(c.oid)", held("c.oid", "seen(c.oid)").replace(" THEN", " AND false THEN")),
        ("seen()", held("1", "seen()")),
        ("seen()", held("c.oid", "seen(c.oid)")),
        ("second(c.oid)", held("c.oid", "second(c.oid)")),
        ("seen(random()::oid)", held("random()::oid", "seen(random()::oid)")),
        ("seen((SELECT 1))", held("(SELECT 1)", "seen((SELECT 1))")),
        ("seen(c.x[random()])", held("c.x[random()]", "seen(c.x[random()])")),
        ("second(b => c.oid, a => 1)", held("c.oid", "second(b => c.oid, a => 1)")),
        ("seen(DISTINCT c.oid)", held("c.oid", "seen(DISTINCT c.oid)")),
        ("public.seen(c.oid)", held("c.oid", "public.seen(c.oid)")),
        ("hidden(c.oid)", held("c.oid", "hidden(c.oid)")),
        ("lower(c.oid)", held("c.oid", "lower(c.oid)")),
    ],
)
def test_any_other_look_up_is_refused(original: str, final: str) -> None:
    """Without the condition, with another, or of what could differ between condition and call."""
    before, after = (f"SELECT {text} FROM {{kyc AS c}}" for text in (original, final))
    assert outcome(plain(before), expand(after)) is not None


def test_a_users_equality_could_stand_in_for_the_conditions() -> None:
    """IN implies the operator ``=``."""
    original, final = "SELECT seen(1)", f"SELECT {held('1', 'seen(1)')}"
    assert outcome(original, final) is None
    assert outcome(original, final, frozenset({"="})) is MismatchKind.FORBIDDEN
