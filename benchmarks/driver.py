"""What the driver costs: ``python -m benchmarks.driver [--json FILE] [--check] [--quick]``.

A point SELECT by primary key, and a fetch of 400,000 rows, through ``datagate.connect`` against plain psycopg with the
same statement. The policy filters rows and masks two columns; the caller's regions are all there are, so that both
sides fetch as many rows; the statement checks the caller's rights inside itself. Between the two stands psycopg with
the rewritten text and its parameters: what lies below it is the server's work, above it the driver's.

Psycopg prepares a statement at its sixth run. Each variant has connections of its own: with autocommit or in one
transaction, prepared as psycopg does it by default or never.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import psycopg

import datagate
from benchmarks.harness import (
    POLICIES,
    Report,
    Timing,
    arguments,
    begin,
    by_turns,
    finish,
    micro,
    milli,
    server,
    settle,
)
from datagate.audit import LoggingSink
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores.store import StateStore

POINT_BAR = 1.15
FETCH_BAR = 1.05
ROWS = 400_000
CALLER = Caller.of("olga", purpose="operations")
REGIONS = ("EU", "US", "APAC", "LATAM")

POINT = "SELECT reading_id, region, meter, phone, email, amount, taken_at FROM bench.readings WHERE reading_id = %s"
FETCHES = {
    "masked": "SELECT reading_id, region, meter, phone, email, amount, taken_at FROM bench.readings",
    "raw": "SELECT reading_id, region, meter, amount, taken_at FROM bench.readings",
}

_SCHEMA = f"""
CREATE SCHEMA bench;
CREATE TABLE bench.readings AS
SELECT i AS reading_id, (ARRAY['EU', 'US', 'APAC', 'LATAM'])[1 + i % 4] AS region, 'meter ' || (i % 5000) AS meter,
       '+49 30 ' || (1000000 + i) AS phone, 'user' || i || '@mail.example' AS email, i * 1.25::float8 AS amount,
       timestamptz '2026-01-01 00:00+00' + i * interval '1 minute' AS taken_at
  FROM generate_series(1, {ROWS}) AS i;
ALTER TABLE bench.readings ADD PRIMARY KEY (reading_id);
"""

Connection = psycopg.Connection[Any]


def create(running: EmbeddedPostgres) -> str:
    """The readings and who may see them."""
    dsn = running.create_database("readings")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SCHEMA)
        store = StateStore(state_engine(dsn))
        store.create()
        store.grant_role("olga", "operator")
        store.grant_attribute("olga", "regions", REGIONS)
    settle(dsn)
    return dsn


def open_gate(dsn: str) -> Gate:
    """A gate with the sink that it has by default."""
    return Gate.open(dsn, policies=POLICIES / "readings", audit=LoggingSink())


class Variant:
    """One way to connect, three times: psycopg, psycopg with the rewritten text, datagate."""

    def __init__(self, dsn: str, gate: Gate, *, autocommit: bool, prepared: bool) -> None:
        threshold = 5 if prepared else None
        self.name = f"{'autocommit' if autocommit else 'transaction'}, {'prepared' if prepared else 'unprepared'}"
        self.plain: Connection = psycopg.connect(dsn, autocommit=autocommit, prepare_threshold=threshold)
        self.by_hand: Connection = psycopg.connect(dsn, autocommit=autocommit, prepare_threshold=threshold)
        self.gated: Connection = datagate.connect(
            dsn, caller=CALLER, gate=gate, autocommit=autocommit, prepare_threshold=threshold
        )
        self._session = gate.session(CALLER, frontend="benchmark")

    def contestants(self, statement: str, *, rows: int, keyed: bool) -> dict[str, Callable[[], object]]:
        """The same statement three times; each gives that many rows."""
        admitted = self._session.admit(statement.replace("%s", "$1"))
        policy = [list(value) if isinstance(value, tuple) else value for value in admitted.parameters]
        raw = psycopg.RawCursor(self.by_hand)
        return {
            "psycopg": _runner(self.plain.cursor(), statement, [], rows, keyed=keyed),
            "psycopg, rewritten text": _runner(raw, admitted.text, policy, rows, keyed=keyed),
            "datagate": _runner(self.gated.cursor(), statement, [], rows, keyed=keyed),
        }

    def close(self) -> None:
        """End the connections."""
        for connection in (self.plain, self.by_hand, self.gated):
            connection.close()


def _runner(cursor: Any, text: str, more: list[object], rows: int, *, keyed: bool) -> Callable[[], object]:
    keys = cycle(range(1, ROWS, 1009))

    def point() -> None:
        cursor.execute(text, [next(keys), *more])
        assert cursor.fetchone() is not None

    def fetch() -> None:
        cursor.execute(text, more or None)
        assert len(cursor.fetchall()) == rows

    return point if keyed else fetch


def ratio(timings: dict[str, Timing], name: str) -> float:
    """By how much one is slower than psycopg."""
    return timings[name].median / timings["psycopg"].median


def points(report: Report, dsn: str, gate: Gate, rounds: int) -> None:
    """Point SELECTs, microseconds."""
    table = report.table(
        "points", f"Point SELECT by primary key, µs, median of {rounds} runs by turns",
        "connection", "psycopg", "quartiles", "psycopg, rewritten text", "datagate", "quartiles ",
        "server's share", "driver's share", "ratio",
    )  # fmt: skip
    for autocommit in (True, False):
        for prepared in (True, False):
            variant = Variant(dsn, gate, autocommit=autocommit, prepared=prepared)
            timings = by_turns(variant.contestants(POINT, rows=1, keyed=True), rounds=rounds, warm_up=100)
            plain, by_hand, gated = timings.values()
            table.add(
                variant.name, micro(plain.median), _quartiles(plain), micro(by_hand.median), micro(gated.median),
                _quartiles(gated), (by_hand.median - plain.median) / plain.median,
                (gated.median - by_hand.median) / plain.median, ratio(timings, "datagate"),
            )  # fmt: skip
            variant.close()
            report.bar(f"point SELECT, {variant.name}", ratio(timings, "datagate"), POINT_BAR)


def fetches(report: Report, dsn: str, gate: Gate, rounds: int) -> None:
    """Large fetches, milliseconds."""
    table = report.table(
        "fetches", f"Fetch of {ROWS:,} rows, ms, median of {rounds} runs by turns",
        "columns", "psycopg", "psycopg, rewritten text", "datagate", "server's share", "driver's share", "ratio",
    )  # fmt: skip
    for name, statement in FETCHES.items():
        variant = Variant(dsn, gate, autocommit=True, prepared=False)
        timings = by_turns(variant.contestants(statement, rows=ROWS, keyed=False), rounds=rounds)
        plain, by_hand, gated = timings.values()
        table.add(
            name, milli(plain.median), milli(by_hand.median), milli(gated.median),
            (by_hand.median - plain.median) / plain.median, (gated.median - by_hand.median) / plain.median,
            ratio(timings, "datagate"),
        )  # fmt: skip
        variant.close()
        report.bar(f"{ROWS:,} rows, {name}", ratio(timings, "datagate"), FETCH_BAR)


def _quartiles(timing: Timing) -> str:
    return f"{micro(timing.low):.0f}-{micro(timing.high):.0f}"


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    report = begin("driver")
    with server(options.postgres) as running:
        dsn = create(running)
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket"
        gate = open_gate(dsn)
        points(report, dsn, gate, 300 if options.quick else 3000)
        fetches(report, dsn, gate, 3 if options.quick else 11)
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
