"""All 22 queries of TPC-H, for each caller: rewritten on the real database as they stand on the twin."""

from __future__ import annotations

import pytest

from fixtures import tpch
from fixtures.tpc import widened
from fixtures.tpch.callers import CALLERS
from tests.twin.compare import Answered, answer_of
from tests.twin.pairs import Pairs


@pytest.mark.parametrize("number", range(1, 23))
@pytest.mark.parametrize("who", CALLERS)
def test_a_caller_gets_what_the_twin_answers(tpch_pairs: Pairs, who: str, number: int) -> None:
    """The rewritten query gives the same rows, names and types, or the same error, as the original on the twin."""
    tpch_pairs.pair(CALLERS[who]).check(widened(tpch.queries()[number]))


def test_callers_differ(tpch_pairs: Pairs) -> None:
    """The same question has as many answers as there are kinds of callers: the fixture tells them apart."""
    text = "SELECT count(*), sum(o_totalprice) FROM orders"
    answers = {tpch_pairs.pair(caller).check(text) for caller in CALLERS.values()}
    assert len(answers) == len(CALLERS)


def test_most_queries_have_an_answer(tpch_pairs: Pairs) -> None:
    """Agreement on nothing shows nothing: for those who see customers, most queries give rows that hold values."""
    for who in ("regional-analyst", "national-analyst", "auditor"):
        twin = tpch_pairs.pair(CALLERS[who]).twin
        outcomes = [answer_of(twin, widened(text)) for text in tpch.queries().values()]
        full = [one for one in outcomes if isinstance(one, Answered) and any(any(row) for row in one.rows)]
        assert len(full) >= 12
