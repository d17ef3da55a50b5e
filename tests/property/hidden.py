"""A bank whose hidden rows and cells can be changed, asked under many plans: what a caller observes must not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg

from datagate.backends.postgres.embedded import EmbeddedPostgres
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.twin.compare import Failed, Outcome, gated, same_answer
from tests.twin.pairs import Pairs
from tests.twin.rows import Connection

POLICIES = Path(__file__).parents[2] / "policies"
CUSTOMERS = 80

_EAGER_WORKERS = {
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
    "min_parallel_index_scan_size": "0",
}
_NESTED_LOOPS = {"enable_hashjoin": "off", "enable_mergejoin": "off"}

PLANS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "chosen": {},
        "nested loops": _NESTED_LOOPS,
        "nested scans": {
            **_NESTED_LOOPS,
            "enable_indexscan": "off",
            "enable_indexonlyscan": "off",
            "enable_bitmapscan": "off",
            "enable_material": "off",
            "enable_memoize": "off",
        },
        "hashes": {"enable_nestloop": "off", "enable_mergejoin": "off", "enable_sort": "off"},
        "merges": {"enable_nestloop": "off", "enable_hashjoin": "off", "enable_hashagg": "off"},
        "workers": _EAGER_WORKERS,
        "workers, nested loops": {**_EAGER_WORKERS, **_NESTED_LOOPS, "enable_material": "off"},
    }
)
"""What to forbid the planner, since its order of evaluation is what leaks."""

_CONSENTS = (
    "EXISTS (SELECT FROM datagate.consents k WHERE k.purpose = 'analytics' AND k.granted"
    " AND k.data_subject = c.customer_id::text AND coalesce(k.valid_until > now(), true))"
)

HIDDEN: Mapping[str, str] = MappingProxyType(
    {
        "analyst": f"(coalesce(c.region NOT IN ('EU', 'US'), true) OR NOT {_CONSENTS})",
        "adviser": "coalesce(c.region NOT IN ('EU', 'APAC'), true)",
        "customer": "c.customer_id <> 7",
        "assistant": "c.customer_id <> 7",
        "stranger": "true",
    }
)
"""Which rows of ``bank.customers AS c`` a caller does not see, written down without the gate."""

SEEN_COLUMNS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "analyst": frozenset("full_name email birth_date region zip balance ip signup_at".split()),
        "adviser": frozenset("full_name email birth_date region phone balance signup_at".split()),
        "customer": frozenset("full_name email ssn birth_date region street zip phone balance ip signup_at".split()),
        "assistant": frozenset({"full_name", "region"}),
        "stranger": frozenset[str](),
    }
)
"""The columns, but for the key, of which a caller is told something."""

COLUMNS = SEEN_COLUMNS["customer"] - {"region"}
"""What is changed: the region and the key decide what is hidden."""


@dataclass(frozen=True, slots=True)
class Bank:
    """The bank, and its gate."""

    pairs: Pairs
    real: Connection

    @contextmanager
    def changed(self, changes: Sequence[str]) -> Iterator[None]:
        """The bank with some changes, until the end; statistics are of what has changed."""
        with self.real.transaction(force_rollback=True):
            for change in changes:
                self.real.execute(change.encode())
            self.real.execute("ANALYZE bank.customers, bank.accounts")
            yield

    def observe(
        self, who: str, texts: Sequence[str], plans: Sequence[str] = tuple(PLANS)
    ) -> dict[tuple[str, str], Outcome]:
        """What a caller gets for each statement under each plan."""
        session = self.pairs.gate.session(CALLERS[who], frontend="test")
        seen: dict[tuple[str, str], Outcome] = {}
        for plan, settings in ((plan, PLANS[plan]) for plan in plans):
            with self.real.transaction(force_rollback=True):
                for name, value in settings.items():
                    self.real.execute(f"SET LOCAL {name} = {value}".encode())
                seen.update({(text, plan): gated(session, self.real, text) for text in texts})
        return seen


def open_bank(postgres: EmbeddedPostgres) -> Iterator[Bank]:
    """A small bank with its example policies, removed at the end."""
    dsn = postgres.create_database("hidden")
    with psycopg.connect(dsn) as connection:
        load(connection, CUSTOMERS)
    with Pairs(postgres, dsn, POLICIES, world(CUSTOMERS)) as pairs, psycopg.connect(dsn, autocommit=True) as real:
        for name, value in pairs.gate.session_settings:
            real.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield Bank(pairs, real)
    postgres.drop_database("hidden")


def told(one: Mapping[tuple[str, str], Outcome], other: Mapping[tuple[str, str], Outcome]) -> list[str]:
    """The statements observed twice that answered otherwise, each with the plan and both answers."""
    return [
        f"{plan}: {text}\n  {str(one[text, plan])[:300]}\n  {str(second)[:300]}"
        for (text, plan), second in other.items()
        if not _same(one[text, plan], second)
    ]


def _same(one: Outcome, other: Outcome) -> bool:
    """Whether two answers tell the same; which of several visible rows that fail is met first is chance."""
    if isinstance(one, Failed) and isinstance(other, Failed):
        both_data = one.sqlstate.startswith("22") and other.sqlstate.startswith("22")
        return both_data or (one.sqlstate == other.sqlstate and _plainly(one.message) == _plainly(other.message))
    return same_answer(one, other)


def _plainly(message: str) -> str:
    """A message without the line that says whether a worker or the leader met the error."""
    return message.partition("\nCONTEXT:")[0]


def mentions(outcome: Outcome, secret: str) -> bool:
    """Whether an answer, or the first line of an error (the next shows the statement), holds a text."""
    shown = outcome.message.partition("\n")[0] if isinstance(outcome, Failed) else str(outcome)
    return secret in shown
