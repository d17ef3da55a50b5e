"""How soon rights end: ``python -m benchmarks.revocation [--json FILE] [--check] [--quick]``.

Fifty callers each run statements without pause on a connection of their own, through one gate. In rounds, each
caller's role is deleted by plain SQL, each in a transaction of its own, and given back when all have felt it.

First figure: rows served by statements that began after the deletion had committed (by the clock of this process, which
reads it before it sends a statement and after COMMIT has answered). Second: for callers in the middle of a long result,
which they read row by row, the time from COMMIT's answer to the last row that the program got.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy

import datagate
from benchmarks.harness import POLICIES, Nowhere, arguments, begin, finish, milli, server
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import Gate
from datagate.model.caller import Caller
from datagate.stores.store import StateStore

CONNECTIONS = 50
TRIALS = 10_000
FLIGHTS = 1_000
LATENCY_BAR = 50.0
PATIENCE = 60.0

POINT = "SELECT count(*) FROM bench.people WHERE person_id < 20"
LONG = "SELECT a.person_id FROM bench.people AS a, bench.people AS b, bench.people AS c"

_SCHEMA = """
CREATE SCHEMA bench;
CREATE TABLE bench.people AS
SELECT i AS person_id, 'u' || i AS username, 1 + i % 3 AS region, i::numeric(9, 5) AS score,
       inet '10.0.0.0' + i AS address, timestamp '2025-01-01' + i * interval '1 minute' AS seen_at,
       '+49 30 ' || (1000000 + i) AS phone
  FROM generate_series(1::bigint, 2000) AS i;
ALTER TABLE bench.people ADD PRIMARY KEY (person_id);
"""
_TAKE = "DELETE FROM datagate.entitlements WHERE principal = %s AND kind = 'role'"
_GIVE = (
    "INSERT INTO datagate.entitlements (principal, kind, name, valid_from)"
    " VALUES (%s, 'role', 'operator', statement_timestamp())"
)


@dataclass(slots=True)
class Busy:
    """One caller who never rests. ``log``: when each statement began, and whether it gave rows."""

    name: str
    dsn: str
    gate: Gate
    log: list[tuple[float, bool]] = field(default_factory=list)
    stopped: bool = False
    thread: threading.Thread | None = None
    failed: BaseException | None = None

    def start(self, run: Callable[[datagate.Connection[Any]], None]) -> None:
        """Run it again and again, until stopped."""
        self.thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self.thread.start()

    def _run(self, run: Callable[[datagate.Connection[Any]], None]) -> None:
        caller = Caller.of(self.name, purpose="operations")
        with datagate.connect(self.dsn, caller=caller, gate=self.gate, autocommit=True) as connection:
            while not self.stopped:
                run(connection)

    def point(self, connection: datagate.Connection[Any]) -> None:
        """One short statement."""
        begun = time.perf_counter()
        try:
            served = connection.execute(POINT).fetchone() is not None
        except datagate.Error:
            served = False
        self.log.append((begun, served))
        if not served:
            # A program that is refused does not ask again in the same breath.
            time.sleep(0.02)

    def began_after(self, instant: float) -> list[bool]:
        """What the statements that began after an instant gave; waits until there is one."""
        deadline = time.perf_counter() + PATIENCE
        while not (self.log and self.log[-1][0] > instant):
            time.sleep(0.001)
            if time.perf_counter() > deadline:
                raise SystemExit(f"{self.name} ran nothing for {PATIENCE} s")
        return [served for begun, served in self.log if begun > instant]

    def end(self) -> None:
        """Let the statement under way end, and the thread with it."""
        self.stopped = True
        if self.thread is not None:
            self.thread.join(PATIENCE)


@dataclass(slots=True)
class Flight:
    """One long result, read row by row, until it is cut short."""

    busy: Busy
    first: threading.Event = field(default_factory=threading.Event)
    last_row: float = 0.0
    rows: int = 0

    def read(self) -> None:
        """Read to the end that the gate makes."""
        caller = Caller.of(self.busy.name, purpose="operations")
        with datagate.connect(self.busy.dsn, caller=caller, gate=self.busy.gate, autocommit=True) as connection:
            try:
                for _ in connection.cursor().stream(LONG, size=100):
                    self.last_row = time.perf_counter()
                    self.rows += 1
                    self.first.set()
            except datagate.Error:
                self.first.set()


def create(running: EmbeddedPostgres) -> tuple[str, StateStore]:
    """People, and fifty who may see them all; two more for long results."""
    dsn = running.create_database("revocation")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SCHEMA)
        connection.execute("ANALYZE")
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), pool_size=CONNECTIONS
    )
    store = StateStore(engine)
    store.create()
    for number in range(CONNECTIONS + 1):
        store.grant_role(f"caller-{number}", "operator")
        store.grant_attribute(f"caller-{number}", "regions", (1, 2, 3))
    return dsn, store


def trials(owner: psycopg.Connection[Any], callers: list[Busy], count: int) -> tuple[int, int]:
    """How many deletions were made, and how many rows statements that began after them got."""
    made = served = 0
    while made < count:
        instants = []
        for busy in callers:
            owner.execute(_TAKE, (busy.name,))
            instants.append(time.perf_counter())
        for busy, instant in zip(callers, instants, strict=True):
            served += sum(busy.began_after(instant))
            made += 1
        for busy in callers:
            owner.execute(_GIVE, (busy.name,))
            busy.log.clear()
        for busy in callers:
            _until_served(busy)
    return made, served


def _until_served(busy: Busy) -> None:
    deadline = time.perf_counter() + PATIENCE
    while not (busy.log and busy.log[-1][1]):
        time.sleep(0.001)
        if time.perf_counter() > deadline:
            raise SystemExit(f"{busy.name} did not get its rights back")


def flights(owner: psycopg.Connection[Any], busy: Busy, count: int) -> list[float]:
    """Milliseconds from the commit to the last row, for each of so many long results."""
    found = []
    for _ in range(count):
        flight = Flight(busy)
        thread = threading.Thread(target=flight.read, daemon=True)
        thread.start()
        if not flight.first.wait(PATIENCE) or not flight.rows:
            raise SystemExit("the long result did not begin")
        owner.execute(_TAKE, (busy.name,))
        committed = time.perf_counter()
        thread.join(PATIENCE)
        if thread.is_alive():
            raise SystemExit("the long result did not end")
        found.append(max(milli(flight.last_row - committed), 0.0))
        owner.execute(_GIVE, (busy.name,))
    return found


def measure(dsn: str, store: StateStore, *, connections: int, count: int, long: int) -> tuple[int, int, list[float]]:
    """Deletions, rows served after them, and the milliseconds of each long result."""
    gate = Gate.open(dsn, policies=POLICIES / "people", state=store, audit=Nowhere())
    callers = [Busy(f"caller-{number}", dsn, gate) for number in range(connections)]
    for busy in callers:
        busy.start(busy.point)
    for busy in callers:
        _until_served(busy)
    with psycopg.connect(dsn, autocommit=True) as owner:
        made, served = trials(owner, callers, count)
        # One of the fifty reads a long result while the others go on.
        callers[-1].end()
        latencies = flights(owner, Busy(f"caller-{CONNECTIONS}", dsn, gate), long)
    for busy in callers:
        busy.end()
    return made, served, latencies


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    report = begin("revocation")
    sys.setswitchinterval(0.001)
    with server(options.postgres) as running:
        dsn, store = create(running)
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket; callers are threads of one process"
        count, long = (500, 50) if options.quick else (TRIALS, FLIGHTS)
        made, served, latencies = measure(dsn, store, connections=CONNECTIONS, count=count, long=long)
        store.close()
    table = report.table("revocation", f"{CONNECTIONS} busy connections", "what", "trials", "figure")
    ordered = sorted(latencies)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    table.add("statements begun after the revocation: rows served", made, served)
    table.add("commit to last row in flight, median, ms", len(ordered), statistics.median(ordered))
    table.add("commit to last row in flight, p99, ms", len(ordered), p99)
    table.add("commit to last row in flight, worst, ms", len(ordered), ordered[-1])
    report.bar("rows served by statements begun after", float(served), 0.0, "rows")
    report.bar("commit to last row in flight, p99", p99, LATENCY_BAR, "ms")
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
