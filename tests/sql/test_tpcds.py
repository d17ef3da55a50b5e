"""All 99 queries of TPC-DS, for each caller: rewritten on the real database as they stand on the twin."""

from __future__ import annotations

import pytest

from fixtures import tpcds
from fixtures.tpc import widened
from fixtures.tpcds.callers import CALLERS
from tests.twin.compare import Answered, answer_of
from tests.twin.pairs import Pairs


@pytest.mark.parametrize("name", tpcds.NAMES)
@pytest.mark.parametrize("who", CALLERS)
def test_a_caller_gets_what_the_twin_answers(tpcds_pairs: Pairs, who: str, name: str) -> None:
    """The rewritten query gives the same rows, names and types, or the same error, as the original on the twin."""
    tpcds_pairs.pair(CALLERS[who]).check(widened(tpcds.statements()[name]))


def test_every_query_is_asked() -> None:
    """The names that are tested are those of all statements of the 99 queries."""
    assert sorted(tpcds.NAMES) == sorted(tpcds.statements())
    assert {int(name[:2]) for name in tpcds.NAMES} == set(range(1, 100))


def test_most_queries_have_an_answer(tpcds_pairs: Pairs) -> None:
    """Agreement on nothing shows nothing: for those who see sales, most queries give rows that hold values."""
    for who in ("regional-analyst", "national-analyst", "auditor"):
        twin = tpcds_pairs.pair(CALLERS[who]).twin
        outcomes = [answer_of(twin, widened(text)) for text in tpcds.statements().values()]
        full = [one for one in outcomes if isinstance(one, Answered) and any(any(row) for row in one.rows)]
        assert len(full) >= 70
