"""Whether a statement leaves something of its answer to chance: the order of rows, the planner, the clock, dice.

Such a statement (``LIMIT`` without a total order, ``random()``) can be held to its columns only.
"""

from __future__ import annotations

from typing import Any

import psycopg

from tests.twin.compare import Answered, Outcome, answer_of, same_answer

_PLANS = (
    ("enable_hashjoin", "enable_hashagg", "enable_seqscan"),
    ("enable_nestloop", "enable_mergejoin", "enable_indexscan", "enable_bitmapscan"),
)


def settled(twin: psycopg.Connection[Any], backwards: psycopg.Connection[Any], text: str, answer: Outcome) -> bool:
    """Whether the twin answers the same again, with its rows stored backwards, and by other plans."""
    if not all(same_answer(answer, answer_of(one, text)) for one in (twin, backwards)):
        return False
    return all(same_answer(answer, _planned(one, text, off)) for off in _PLANS for one in (twin, backwards))


def _planned(connection: psycopg.Connection[Any], text: str, off: tuple[str, ...]) -> Outcome:
    with connection.transaction(force_rollback=True):
        for setting in off:
            connection.execute(f"SET LOCAL {setting} = off".encode())
        return answer_of(connection, text)


def alike(one: Outcome, other: Outcome) -> bool:
    """Whether two answers to a statement that leaves something to chance have the same columns."""
    return isinstance(one, Answered) and isinstance(other, Answered) and one.columns == other.columns
