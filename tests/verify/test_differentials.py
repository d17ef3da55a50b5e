"""Where another parser reads the same text otherwise than PostgreSQL does, its rendering never passes."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import pytest

from datagate.model.names import RelationName
from datagate.verify.postgres import Mismatch, MismatchKind, Prescription, verify
from datagate.verify.tree import read
from tests.verify.differentials import BROKEN, GIVEN_UP, HIDDEN, MEANING, NOT_POSTGRESQL, STATEMENTS
from tests.verify.world import CATALOG, relation

T = RelationName("public", "t")
U = RelationName("public", "u")
GUARD = "SELECT g.a AS a, g.b AS b, g.s AS s, g.x AS x FROM public.{} AS g WHERE g.a > 0"
FUNCTIONS = frozenset(
    "max date_trunc pg_typeof date_part now myagg to_hex hex concat json_to_record is_normalized extract".split()
)


def held(original: str, final: str) -> None:
    """Verify on lists as wide as they go, with ``t`` and ``u`` guarded."""
    relations = {**CATALOG.relations} | {
        name: dataclasses.replace(relation("public.kyc"), name=name) for name in (T, U)
    }
    verify(
        original,
        final,
        catalog=dataclasses.replace(CATALOG, relations=relations, types=CATALOG.types | {"interval", "tsquery"}),
        prescriptions={T: Prescription(GUARD.format("t"), None), U: Prescription(GUARD.format("u"), None)},
        functions=FUNCTIONS,
    )


def guarded(text: str) -> str:
    """The text with guards for ``t`` and ``u``, so that only the difference in reading is left."""
    for name in ("t", "u"):
        text = text.replace(f"FROM {name}", f"FROM ({GUARD.format(name)}) AS {name}").replace(
            f"JOIN {name}", f"JOIN ({GUARD.format(name)}) AS {name}"
        )
    return text


def test_there_are_sixty_one() -> None:
    """The whole list is here."""
    assert len(HIDDEN + MEANING + STATEMENTS + BROKEN + NOT_POSTGRESQL) + len(GIVEN_UP) == 61


@pytest.mark.parametrize(("original", "other"), HIDDEN + MEANING + STATEMENTS + BROKEN + NOT_POSTGRESQL)
def test_another_reading_is_refused(original: str, other: str) -> None:
    """With guards in their places, too."""
    for final in (other, guarded(other)):
        with pytest.raises(Mismatch):
            held(original, final)


@pytest.mark.parametrize(("original", "other"), MEANING)
def test_another_meaning_is_another_tree(original: str, other: str) -> None:
    """It is the tree that tells, not a list: the original, guarded, passes or fails by its own merits only."""
    with suppress(Mismatch):  # some of the other renderings are no PostgreSQL at all
        assert read(other) != read(original)
    held(original, guarded(original))


@pytest.mark.parametrize(("original", "other"), NOT_POSTGRESQL)
def test_what_postgresql_does_not_read_is_refused(original: str, other: str) -> None:
    """Whatever another parser makes of it."""
    with pytest.raises(Mismatch) as caught:
        held(original, other)
    assert caught.value.kind is MismatchKind.STATEMENT


@pytest.mark.parametrize("original", [text for text in GIVEN_UP if text.startswith("SELECT")])
def test_what_another_parser_gives_up_on_passes_when_guarded(original: str) -> None:
    """The verifier reads as the engine does, so whoever renders such a text rightly may send it."""
    if "ONLY" in original:
        held(original, f"SELECT * FROM ({GUARD.format('t').replace('FROM ', 'FROM ONLY ')}) AS t")
    else:
        held(original, guarded(original))
