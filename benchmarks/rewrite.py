"""What the road costs before a statement is sent: ``python -m benchmarks.rewrite [--json FILE] [--check] [--quick]``.

Cold: a text that the gate has not seen, from ``GateSession.admit`` to verified text and parameters: parse, inventory,
guard, render, verify, record. The caller's decisions and compiled guards are warm, as they are from a session's
second statement on; nothing that belongs to the text is (each run sends the query with some white space more). Warm:
``admit`` on a text that the session has sent before. Over TPC-H's 22 queries as the regional analyst of
``fixtures/tpch``, who has row filters through two relations, masks, and consent.

The road waits for nothing, so that the bars are held to processor time: what else the machine does is not in it. The
table has the time on the wall too.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from typing import Any
from unittest.mock import patch

from benchmarks import tpch as database
from benchmarks.harness import (
    Nowhere,
    Report,
    Timing,
    arguments,
    begin,
    by_turns,
    collector_resting,
    finish,
    micro,
    milli,
    server,
)
from datagate.gate import Gate, GateSession
from datagate.stores.keyring import Keyring
from fixtures import tpch
from fixtures.tpch.callers import CALLERS, WORLD

CALLER = "regional-analyst"
COLD_MEDIAN_MS = 3.0
COLD_Q21_MS = 5.0
WARM_US = 20.0
SCALE = Decimal("0.01")

STAGES = {
    "engine parse": "datagate.gate.shared.read_statement",
    "dialect parse": "datagate.sql.rewrite.parse_canonical",
    "inventory, views": "datagate.sql.rewrite.expand_views",
    "leaks": "datagate.sql.rewrite.find_fences",
    "place guards": "datagate.sql.rewrite.place_guards",
    "generate": "datagate.sql.rewrite.generate",
    "graft": "datagate.backends.postgres.backend.graft",
    "verify": "datagate.backends.postgres.backend.verify",
}
"""Functions of the road by stage. What is in none of them is the rest: narrowing, numbering, caches, the record."""


def cold(session: GateSession, text: str) -> Callable[[], object]:
    """Admits the text as one that the gate has never seen."""
    spaces = count(1)
    return lambda: session.admit(text + " " * next(spaces))


def warm(session: GateSession, text: str) -> Callable[[], object]:
    """Admits the text that has been admitted before."""
    return lambda: session.admit(text)


class Stages:
    """Adds up how long each stage takes while it is watched."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Clocks around the functions of the road; leaves' own time only, as no stage calls another."""
        patches = [patch(target, self._clocked(stage, _named(target))) for stage, target in STAGES.items()]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()

    def _clocked(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            begun = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += time.thread_time() - begun

        return run


def _named(target: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(".")
    function: Callable[..., Any] = getattr(sys.modules[module], name)
    return function


def by_stage(session: GateSession, text: str, runs: int) -> dict[str, float]:
    """Median seconds of each stage and of the rest."""
    seen: dict[str, list[float]] = {name: [] for name in (*STAGES, "rest")}
    run = cold(session, text + "\t")
    for _ in range(runs):
        stages = Stages()
        with stages.watched(), collector_resting():
            begun = time.thread_time()
            run()
            whole = time.thread_time() - begun
        for name, seconds in stages.seconds.items():
            seen[name].append(seconds)
        seen["rest"].append(whole - sum(stages.seconds.values()))
    return {name: statistics.median(values) for name, values in seen.items()}


def measure(report: Report, session: GateSession, rounds: int) -> None:
    """Fill the report."""
    queries = tpch.queries()
    contestants = {f"Q{number}": cold(session, text) for number, text in queries.items()}
    colds = by_turns(contestants, rounds=rounds, warm_up=3)
    contestants = {f"Q{number}": warm(session, text) for number, text in queries.items()}
    warms = by_turns(contestants, rounds=rounds, warm_up=3, each=100)
    table = report.table(
        "queries",
        "Milliseconds before anything is sent; warm in microseconds",
        "query", "cold ms", "wall ms", "quartiles", "warm µs", *STAGES, "rest",
    )  # fmt: skip
    totals: dict[str, list[float]] = {}
    for number, text in queries.items():
        taken = colds[f"Q{number}"]
        stages = by_stage(session, text, max(5, rounds // 4))
        for name, seconds in stages.items():
            totals.setdefault(name, []).append(seconds)
        table.add(
            f"Q{number}", milli(taken.processor), milli(taken.median), _quartiles(taken),
            micro(warms[f"Q{number}"].processor), *(milli(seconds) for seconds in stages.values()),
        )  # fmt: skip
    cold_median = statistics.median(taken.processor for taken in colds.values())
    warm_median = statistics.median(taken.processor for taken in warms.values())
    table.add(
        "median", milli(cold_median), milli(statistics.median(taken.median for taken in colds.values())), "",
        micro(warm_median), *(milli(statistics.median(values)) for values in totals.values()),
    )  # fmt: skip
    report.bar("cold, median of the 22 medians", milli(cold_median), COLD_MEDIAN_MS, "ms")
    report.bar("cold, Q21", milli(colds["Q21"].processor), COLD_Q21_MS, "ms")
    report.bar("warm, median of the 22 medians", micro(warm_median), WARM_US, "µs")


def _quartiles(timing: Timing) -> str:
    return f"{milli(timing.low):.2f}-{milli(timing.high):.2f}"


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    report = begin("rewrite")
    with server(options.postgres) as running:
        dsn = database.create(running, SCALE, WORLD)
        report.about["server"] = f"PostgreSQL {running.version}, for its catalog and state only"
        gate = Gate.open(dsn, policies=tpch.POLICIES, keyring=Keyring.ephemeral(os.urandom), audit=Nowhere())
        measure(report, gate.session(CALLERS[CALLER], frontend="benchmark"), 7 if options.quick else 60)
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
