"""Class 57: conditions that fail, computed for hidden rows only; also such as fail by their size alone.

What: over a hundred kinds of expressions behind a CASE that no visible row passes; a regular expression too long to be
compiled, thousands of wildcards on a long text, a text that doubles.
Why: a plain pattern never fails, and neither does joining two texts; but for what is longer than they are made for.
Defence: leak-proof are short patterns and texts of few pieces (``sql/leakproof``, ``sql/patterns``); else a fence.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.arena import Bank, observe

CONDITIONS = [
    line for line in (Path(__file__).parent / "conditions.sql").read_text("utf-8").splitlines() if line[:2] != "--"
]
LONG = "a" * 300_000
WILD = "%a" * 150_000 + "b"


def doubled(times: int) -> str:
    """A text of that many doublings, none of which the planner can see through."""
    text = f"(select c.region || '{LONG}' as a offset 0)"
    for number in range(times):
        text = f"(select q{number}.a || q{number}.a as a from {text} as q{number} offset 0)"
    return f"exists (select 1 from {text} as q where q.a > '')"


FAILING = {
    "a long regular expression": f"c.region ~ '{'ab' * 200_000}'",
    "many wildcards": f"c.region || '{LONG}' like '{WILD}'",
    "many wildcards, in any case": f"c.region || '{LONG}' ilike '{WILD}'",
    "wildcards in pieces": f"c.region || '{LONG}' like '{WILD[:-1]}' || c.region || 'b'",
    "a text that doubles": doubled(13),
}


@pytest.mark.parametrize("name", FAILING)
def test_by_size(banks: tuple[Bank, Bank], name: str) -> None:
    """The same on both banks, only one of which has a row that it would be computed for; on visible rows it fails."""
    for value, fails in ((777_000, False), (1_000, True)):
        text = f"select count(*) from bank.customers c where case when c.balance = {value} then {FAILING[name]} end"
        told = []
        for bank in banks:
            with bank.connected("analyst", least_privileged=False) as connection:
                told.append(observe(connection, text))
        assert told[0] == told[1]
        assert bool(told[0].sqlstate) is fails


def test_conditions(banks: tuple[Bank, Bank]) -> None:
    """Each tells the same on both banks, only one of which has a row that it would be computed for."""
    with (
        banks[0].connected("analyst", least_privileged=False) as one,
        banks[1].connected("analyst", least_privileged=False) as other,
    ):
        for condition in CONDITIONS:
            case = f"case when c.balance = 777000 then {condition} else true end"
            text = f"select count(*) from bank.customers c where {case}"
            assert observe(one, text) == observe(other, text), condition
    assert len(CONDITIONS) > 100


def test_wildcards_in_a_parameter(banks: tuple[Bank, Bank]) -> None:
    """Whatever a parameter holds, it is the same on both; a tame one answers without a fence's work."""
    condition = f"case when c.balance = 777000 then c.region || '{LONG}' like %s end"
    text = f"select count(*) from bank.customers c where {condition}"
    for pattern in (WILD, "%a\\", "E%"):
        told = []
        for bank in banks:
            with bank.connected("analyst", least_privileged=False) as connection:
                told.append(observe(connection, text, [pattern]))
        assert told[0] == told[1]
        assert not told[0].sqlstate
