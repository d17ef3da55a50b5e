"""Random SELECTs give each caller what they give on the caller's twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datagate.backends.postgres.embedded import EmbeddedPostgres
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.property.selects import Columns, Writer, relations
from tests.twin.chance import alike, settled
from tests.twin.compare import Answered, Failed, Outcome, answer_of, both_missing, difference, gated, same_answer
from tests.twin.pairs import Pair, Pairs

POLICIES = Path(__file__).parents[2] / "policies"
CUSTOMERS = 40
WHO = ("analyst", "adviser", "customer", "accountant", "assistant", "reviewer")


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller's pair, and what the caller can name."""

    pair: Pair
    known: dict[str, Columns]


@pytest.fixture(scope="module")
def asked(postgres: EmbeddedPostgres) -> Iterator[dict[str, Asked]]:
    """A small bank, with a pair for each caller."""
    dsn = postgres.create_database("selects")
    with psycopg.connect(dsn) as connection:
        load(connection, CUSTOMERS)
    with Pairs(postgres, dsn, POLICIES, world(CUSTOMERS)) as pairs:
        found = {who: pairs.pair(CALLERS[who]) for who in WHO}
        yield {who: Asked(pair, relations(pair.twin)) for who, pair in found.items()}
    postgres.drop_database("selects")


FEW = settings(max_examples=150, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=4000)


# PostgreSQL's own planner gives up on some statements, on the one side or the other.
_GIVEN_UP = ("variable not found in subplan target list", "could not find pathkey item to sort")


def _given_up(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.sqlstate == "XX000" and outcome.message.startswith(_GIVEN_UP)


def _holds(asked: Asked, seed: int) -> bool:
    """Hold one statement to the twin; whether it gave rows."""
    text = Writer(Random(seed), asked.known).statement()
    through_gate, on_twin = gated(asked.pair.session, asked.pair.real, text), answer_of(asked.pair.twin, text)
    if _given_up(through_gate) or _given_up(on_twin):
        return False
    if not same_answer(through_gate, on_twin) and not both_missing(asked.pair.twin, through_gate, on_twin):
        by_chance = alike(through_gate, on_twin) and not settled(asked.pair.twin, asked.pair.backwards, text, on_twin)
        assert by_chance, f"seed {seed}: {difference(text, through_gate, on_twin)}"
    return isinstance(on_twin, Answered) and bool(on_twin.rows)


@FEW
@given(st.sampled_from(WHO), st.integers(0, 2**32))
def test_selects(asked: dict[str, Asked], who: str, seed: int) -> None:
    """A random statement answers as on the twin, or fails as it does."""
    _holds(asked[who], seed)


@pytest.mark.slow
@MANY
@given(st.sampled_from(WHO), st.integers(0, 2**32))
def test_many_selects(asked: dict[str, Asked], who: str, seed: int) -> None:
    """As above, at length."""
    _holds(asked[who], seed)


def test_most_selects_answer(asked: dict[str, Asked]) -> None:
    """Agreement on errors shows little: most random statements run, and many give rows."""
    gave = [_holds(asked["adviser"], seed) for seed in range(60)]
    assert sum(gave) > 20
