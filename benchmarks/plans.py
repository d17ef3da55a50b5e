"""What guards cost where the statement runs: ``python -m benchmarks.plans [--json FILE] [--check] [--quick]``.

TPC-H with row filters and masks, rewritten, against the fastest of several ways to write the same policy into the query
by hand (``by_hand``), and against PostgreSQL's own row-level security behind masking views. Two policies: rows filtered
by their own columns (``direct``), and rows visible through what they belong to (``through``). Times are the client's,
from sending the text (never prepared, so planned each time) to the last row; all ways must give the same rows.

Then look-ups by LIKE and by range on 500,000 rows, where row-level security does not trust the operator to keep quiet
and reads all rows, and the gate proves that it does.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors

from benchmarks import by_hand, people
from benchmarks import tpch as database
from benchmarks.harness import (
    POLICIES,
    Nowhere,
    Report,
    Table,
    Timing,
    arguments,
    begin,
    by_turns,
    finish,
    milli,
    server,
)
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends.driver.opening import with_settings
from datagate.gate import Gate, GateSession
from datagate.model.caller import Caller
from fixtures import tpch
from fixtures.personas import World, entitled

SCALE = Decimal("0.1")
MEAN_BAR, WORST_BAR, NATIVE_BAR, LOOK_UP_BAR = 1.02, 1.10, 1.0, 10.0
CALLER = Caller.of("ann", purpose="operations")
# A form that takes as many times the rewritten statement's time is out of the race after one run.
HOPELESS = 5.0
SLOWEST_MS = 20_000
# Above so many seconds fewer rounds will do.
LONG = 1.0

Rows = list[tuple[Any, ...]]
Run = Callable[[], Rows]


def world() -> World:
    """One analyst."""
    from datetime import date

    own = entitled("analyst", nations=by_hand.NATIONS, since=date.fromisoformat(by_hand.SINCE))
    return World({"ann": own}, (), ())


class Connections:
    """One for what the gate sends, set as it sets them, one for what is written by hand, one for row-level security."""

    def __init__(self, dsn: str, gate: Gate, native_path: str) -> None:
        timeout = f"-c statement_timeout={SLOWEST_MS}"
        self.gated = psycopg.connect(with_settings(dsn, gate), autocommit=True, prepare_threshold=None)
        self.own = psycopg.connect(dsn, autocommit=True, prepare_threshold=None, options=timeout)
        self.native = psycopg.connect(
            dsn, autocommit=True, prepare_threshold=None, user=by_hand.NATIVE,
            options=f"{timeout} -c search_path={native_path}",
        )  # fmt: skip

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self.gated.close()
        self.own.close()
        self.native.close()


def runner(connection: psycopg.Connection[Any], text: str, parameters: Iterable[object] = ()) -> Run:
    """Sends the text and fetches all rows."""
    values = [list(value) if isinstance(value, tuple) else value for value in parameters]

    def run() -> Rows:
        return psycopg.RawCursor(connection).execute(text, values).fetchall()

    return run


def first_run(run: Run) -> tuple[Rows | None, float]:
    """The rows and the seconds; None where the time ran out."""
    begun = time.perf_counter()
    try:
        rows = run()
    except errors.QueryCanceled:
        return None, math.inf
    return rows, time.perf_counter() - begun


def same(one: Rows, other: Rows) -> bool:
    """The same rows in any order; numbers by value."""
    return sorted(map(_plain, one)) == sorted(map(_plain, other))


def _plain(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{float(cell):.6g}" if isinstance(cell, Decimal | float) else str(cell) for cell in row)


def race(rewritten: Run, rivals: dict[str, Run], rounds: int) -> tuple[Timing, str, Timing]:
    """The rewritten statement's time, and the fastest rival with its own; chosen first, then measured anew."""
    rewritten()
    answer, mine = first_run(rewritten)
    assert answer is not None
    rounds = rounds if mine < LONG else max(3, rounds // 3)
    heats: dict[str, Run] = {}
    slowest: dict[str, float] = {}
    for name, run in rivals.items():
        rows, seconds = first_run(run)
        assert rows is None or same(rows, answer), f"{name} gives other rows"
        slowest[name] = seconds
        if seconds < min(HOPELESS * mine + 0.05, SLOWEST_MS / 2e3):
            heats[name] = run
    if not heats:
        name, seconds = min(slowest.items(), key=lambda item: item[1])
        seconds = min(seconds, SLOWEST_MS / 1e3)
        timing = by_turns({"rewritten": rewritten}, rounds=rounds)
        return timing["rewritten"], name, Timing(seconds, seconds, seconds, seconds, 0.0, 1)
    if len(heats) > 1:
        timings = by_turns(heats, rounds=max(3, rounds // 3), warm_up=0)
        name = min(timings, key=lambda each: timings[each].best)
    else:
        (name,) = heats
    final = by_turns({"rewritten": rewritten, name: heats[name]}, rounds=rounds)
    return final["rewritten"], name, final[name]


def geometric_mean(figures: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, figures)) / len(figures))


class Benchmark:
    """TPC-H under one policy."""

    def __init__(self, gate: Gate, policy: str, report: Report, options: argparse.Namespace) -> None:
        self.policy = policy
        self.report = report
        self.rounds = 5 if options.quick else 15
        self.only: set[int] = set(options.query or range(1, 23))
        self.explain: Path | None = options.explain
        self.session: GateSession = gate.session(CALLER, frontend="benchmark")
        self.columns = {table.name: tuple(name for name, _ in table.columns) for table in tpch.tables()}

    def run(self, connections: Connections) -> None:
        """All queries, then the bars."""
        table = self.report.table(
            f"tpch_{self.policy}", f"TPC-H, rows filtered {self.policy}, ms",
            "query", "rewritten", "quartiles", "by hand", "way", "ratio", "ratio of best", "native", "to native",
        )  # fmt: skip
        by_hand_ratios: dict[int, float] = {}
        native_ratios: dict[int, float] = {}
        for number, text in tpch.queries().items():
            if number in self.only:
                by_hand_ratios[number], native_ratios[number] = self._query(number, text, connections, table)
                print(f"{self.policy} Q{number}: {by_hand_ratios[number]:.2f}", file=sys.stderr)
        mean, worst = geometric_mean(list(by_hand_ratios.values())), max(by_hand_ratios, key=by_hand_ratios.__getitem__)
        name = f"{self.policy}: rewritten to by hand"
        self.report.bar(f"{name}, geometric mean", mean, MEAN_BAR)
        self.report.bar(f"{name}, worst (Q{worst})", by_hand_ratios[worst], WORST_BAR)
        self.report.bar(
            f"{self.policy}: rewritten to native, geometric mean",
            geometric_mean(list(native_ratios.values())),
            NATIVE_BAR,
        )

    def _query(self, number: int, text: str, connections: Connections, table: Table) -> tuple[float, float]:
        admitted = self.session.admit(text)
        rewritten = runner(connections.gated, admitted.text, admitted.parameters)
        texts = by_hand.forms(self.policy, text, self.columns)
        hand = {way: runner(connections.own, form) for way, form in texts.items()}
        mine, way, best = race(rewritten, hand, self.rounds)
        again, _, native = race(rewritten, {"native": runner(connections.native, text)}, max(3, self.rounds // 3))
        ratio, to_native = mine.median / best.median, again.median / native.median
        table.add(
            f"Q{number}", milli(mine.median), f"{milli(mine.low):.1f}-{milli(mine.high):.1f}", milli(best.median), way,
            ratio, mine.best / best.best, milli(native.median), to_native,
        )  # fmt: skip
        if self.explain is not None:
            self._explain(number, connections, (admitted.text, admitted.parameters), way, texts[way])
        return ratio, to_native

    def _explain(
        self,
        number: int,
        connections: Connections,
        admitted: tuple[str, tuple[object, ...]],
        way: str,
        form: str,
    ) -> None:
        """Both plans, for whoever wants to know why."""
        assert self.explain is not None
        out = []
        for title, connection, text, parameters in (
            ("rewritten", connections.gated, *admitted),
            (f"by hand, {way}", connections.own, form, ()),
        ):
            lines = runner(connection, f"EXPLAIN (ANALYZE, BUFFERS) {text}", parameters)()
            out.append("\n".join([f"-- Q{number}, {self.policy}: {title}", text, *(line for (line,) in lines)]))
        self.explain.mkdir(exist_ok=True)
        path = self.explain / f"{self.policy}-{number:02}.txt"
        path.write_text("\n\n".join(out) + "\n", encoding="utf-8")


def measure_tpch(running: EmbeddedPostgres, report: Report, options: argparse.Namespace) -> None:
    """Both policies on one database."""
    dsn = database.create(running, Decimal(options.scale), world())
    columns = {table.name: tuple(name for name, _ in table.columns) for table in tpch.tables()}
    for policy in options.policy or ("direct", "through"):
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in by_hand.native(policy, columns):
                connection.execute(statement.encode())
        gate = Gate.open(dsn, policies=POLICIES / f"tpch_{policy}", audit=Nowhere())
        with Connections(dsn, gate, by_hand.NATIVE) as connections:
            Benchmark(gate, policy, report, options).run(connections)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in by_hand.drop_native(columns):
                connection.execute(statement.encode())


def measure_look_ups(running: EmbeddedPostgres, report: Report, options: argparse.Namespace) -> None:
    """Leak-proof conditions on indexed columns."""
    dsn = people.create(running)
    gate = Gate.open(dsn, policies=POLICIES / "people", audit=Nowhere())
    session = gate.session(people.CALLER, frontend="benchmark")
    table = report.table(
        "look_ups", f"Look-ups among {people.ROWS:,} rows, ms",
        "condition", "rows", "rewritten", "by hand", "native", "to hand", "native to rewritten",
    )  # fmt: skip
    with Connections(dsn, gate, by_hand.NATIVE) as connections:
        for condition in people.CONDITIONS:
            admitted = session.admit(people.query(condition))
            rewritten = runner(connections.gated, admitted.text, admitted.parameters)
            hand = runner(connections.own, people.by_hand(condition))
            native = runner(connections.native, people.query(condition))
            answer = rewritten()
            assert same(answer, hand())
            assert same(answer, native())
            timings = by_turns(
                {"rewritten": rewritten, "by hand": hand, "native": native},
                rounds=7 if options.quick else 31,
                warm_up=2,
            )
            mine, by_hand_timing, native_timing = timings.values()
            factor = native_timing.median / mine.median
            table.add(
                condition, len(answer), milli(mine.median), milli(by_hand_timing.median), milli(native_timing.median),
                mine.median / by_hand_timing.median, factor,
            )  # fmt: skip
            report.bar(f"native to rewritten: {condition}", factor, LOOK_UP_BAR, floor=True)


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    parser.add_argument("--scale", default=str(SCALE), help="TPC-H's scale factor (default: %(default)s)")
    parser.add_argument("--policy", action="append", choices=["direct", "through"], help="only this policy")
    parser.add_argument("--query", action="append", type=int, help="only this TPC-H query")
    parser.add_argument("--explain", type=Path, metavar="DIRECTORY", help="write both plans of each query there")
    parser.add_argument("--part", choices=["tpch", "look-ups"], help="only this part")
    options = parser.parse_args()
    report = begin("plans")
    with server(options.postgres) as running:
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket, TPC-H at scale {options.scale}"
        if options.part != "tpch":
            measure_look_ups(running, report, options)
            _forget_role(running)
        if options.part != "look-ups":
            measure_tpch(running, report, options)
    return finish(report, options)


def _forget_role(running: EmbeddedPostgres) -> None:
    """Roles belong to the server, not to a database: the next part makes its own."""
    running.drop_database(people.DATABASE)
    with psycopg.connect(running.dsn, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {by_hand.NATIVE}".encode())


if __name__ == "__main__":
    sys.exit(main())
