"""How soon rights end: ``python -m benchmarks.revocation [--json FILE] [--check] [--quick]``.

Fifty callers each run statements without pause on a connection of their own, in five processes with a gate each. In
rounds, each caller's role is deleted by plain SQL, each in a transaction of its own, and given back to all at once when
all have felt it. What is measured is what a gate does, not how threads of one Python process take turns.

First figure: rows served by statements that began after the deletion had committed (by the system's monotonic clock,
which is read before a statement is sent and after COMMIT has answered). Second: for one more caller in the middle of a
long result, which it reads row by row while the fifty go on, the time from COMMIT's answer to the last row that the
program got; and the same with the fifty at rest, which tells the gate from the waiting for a processor.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
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
OFFICES = 5
TRIALS = 10_000
FLIGHTS = 300
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
    " SELECT p, 'role', 'operator', statement_timestamp() FROM unnest(%s::text[]) AS p"
)


@dataclass(slots=True)
class Busy:
    """One caller who never rests. ``log``: when each statement began, and whether it gave rows."""

    name: str
    dsn: str
    gate: Gate
    log: list[tuple[float, bool]] = field(default_factory=list)
    stopped: bool = False
    resting: bool = False
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
                if self.resting:
                    time.sleep(0.01)
                else:
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

    def await_rights(self, instant: float) -> None:
        """Wait until a statement that began after an instant gave rows; what came before is forgotten."""
        deadline = time.perf_counter() + PATIENCE
        while not (self.log and self.log[-1][0] > instant and self.log[-1][1]):
            time.sleep(0.001)
            if time.perf_counter() > deadline:
                raise SystemExit(f"{self.name} did not get its rights back")
        self.log.clear()

    def end(self) -> None:
        """Let the statement under way end, and the thread with it."""
        self.stopped = True
        if self.thread is not None:
            self.thread.join(PATIENCE)


class Office:
    """Some of the callers, in a process of their own with a gate; it does what it is told through a pipe."""

    def __init__(self, dsn: str, names: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.names = names
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(dsn, names, theirs), daemon=True)
        self._process.start()

    def tell(self, order: str, about: object = None) -> None:
        """Have something done; `answer` waits for it."""
        self._pipe.send((order, about))

    def answer(self) -> int:
        """What came of it."""
        if not self._pipe.poll(2 * PATIENCE):
            raise SystemExit("a process of callers does not answer")
        answer = self._pipe.recv()
        if not isinstance(answer, int):
            raise SystemExit(str(answer))
        return answer

    def close(self) -> None:
        """End it."""
        self.tell("end")
        self._process.join(PATIENCE)


def _work(dsn: str, names: list[str], pipe: Connection) -> None:
    sys.setswitchinterval(0.001)
    store = state(dsn)
    gate = Gate.open(dsn, policies=POLICIES / "people", state=store, audit=Nowhere())
    callers = {name: Busy(name, dsn, gate) for name in names}
    for busy in callers.values():
        busy.start(busy.point)
    while True:
        try:
            order, about = pipe.recv()
        except EOFError:
            return
        try:
            answer = 0
            match order:
                case "served":
                    answer = sum(sum(callers[name].began_after(instant)) for name, instant in about)
                case "await rights":
                    for busy in callers.values():
                        busy.await_rights(about)
                case "rest":
                    for busy in callers.values():
                        busy.resting = about
                        busy.log.clear()
                case "end":
                    for busy in callers.values():
                        busy.end()
                    store.close()
                    return
            pipe.send(answer)
        except SystemExit as failure:
            pipe.send(str(failure))


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
    store = state(dsn)
    store.create()
    for number in range(CONNECTIONS + 1):
        store.grant_role(f"caller-{number}", "operator")
        store.grant_attribute(f"caller-{number}", "regions", (1, 2, 3))
    return dsn, store


def state(dsn: str) -> StateStore:
    """The state, through few connections."""
    return StateStore(
        sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), pool_size=2, max_overflow=0
        )
    )


def trials(dsn: str, offices: list[Office], count: int) -> tuple[int, int]:
    """How many deletions were made, and how many rows statements that began after them got.

    Each office's callers lose their roles one after the other, those of all offices at the same time.
    """
    made = served = 0
    with ExitStack() as opened, ThreadPoolExecutor(len(offices)) as pool:
        owners = [opened.enter_context(psycopg.connect(dsn, autocommit=True)) for _ in offices]
        while made < count:
            served += sum(pool.map(_take_all, owners, offices))
            made += sum(len(office.names) for office in offices)
            owners[0].execute(_GIVE, ([name for office in offices for name in office.names],))
            given = time.perf_counter()
            for office in offices:
                office.tell("await rights", given)
            for office in offices:
                office.answer()
    return made, served


def _take_all(owner: psycopg.Connection[Any], office: Office) -> int:
    instants = []
    for name in office.names:
        owner.execute(_TAKE, (name,))
        instants.append((name, time.perf_counter()))
    office.tell("served", instants)
    return office.answer()


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
        owner.execute(_GIVE, ([busy.name],))
    return found


def measure(
    dsn: str, store: StateStore, *, connections: int, count: int, long: int
) -> tuple[int, int, dict[str, list[float]]]:
    """Deletions, rows served after them, and the milliseconds of each long result while the others are busy or rest."""
    names = [f"caller-{number}" for number in range(connections)]
    offices = [Office(dsn, names[number::OFFICES]) for number in range(OFFICES)]
    latencies = {}
    gate = Gate.open(dsn, policies=POLICIES / "people", state=store, audit=Nowhere())
    with psycopg.connect(dsn, autocommit=True) as owner:
        made, served = trials(dsn, offices, count)
        for how, resting in (("busy", False), ("at rest", True)):
            for office in offices:
                office.tell("rest", resting)
                office.answer()
            latencies[how] = flights(owner, Busy(f"caller-{CONNECTIONS}", dsn, gate), long)
    for office in offices:
        office.close()
    return made, served, latencies


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    report = begin("revocation")
    sys.setswitchinterval(0.001)
    with server(options.postgres) as running:
        dsn, store = create(running)
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket; callers in {OFFICES} processes"
        count, long = (500, 50) if options.quick else (TRIALS, FLIGHTS)
        made, served, latencies = measure(dsn, store, connections=CONNECTIONS, count=count, long=long)
        store.close()
    table = report.table("revocation", f"{CONNECTIONS} busy connections", "what", "trials", "figure")
    table.add("statements begun after the revocation: rows served", made, served)
    for how, found in latencies.items():
        ordered = sorted(found)
        p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        what = f"commit to last row in flight, the others {how}"
        table.add(f"{what}: median, ms", len(ordered), statistics.median(ordered))
        table.add(f"{what}: p99, ms", len(ordered), p99)
        table.add(f"{what}: worst, ms", len(ordered), ordered[-1])
        if how == "busy":
            report.bar("commit to last row in flight, p99", p99, LATENCY_BAR, "ms")
    report.bar("rows served by statements begun after", float(served), 0.0, "rows")
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
