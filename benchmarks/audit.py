"""What the audit costs: ``python -m benchmarks.audit [--json FILE] [--check] [--quick]``.

A point SELECT by primary key over eight connections, a thread each, through ``datagate.connect``: without an audit
that is kept, and with JSON lines (group commit, HMAC) and with a table. By turns, so that what else the machine does
falls on all; the figure is the median over the rounds of statements a second against those without. Beside it stands
the processor time that this process takes for a statement, which other load disturbs less.

``fsync``: the record is on the disk before a row leaves. The statement runs meanwhile, and eight share an fsync, but
eight connections cannot do more than eight statements in the time of one fsync; the line "the disk" is that ceiling, of
eight writers that do nothing else. ``os``: before a row leaves, the record is in memory that survives the process, and
on the disk within some hundredths of a second.

Tried, by processor time a statement on two busy cores, and let go: each thread writing for all (the first version:
100 µs and 0.15 to 0.3 times the throughput, nearly all of it in handing the turn from thread to thread); chaining each
entry as it comes (a lock, a hash and a write for each: 14 µs); the spool in a file of /dev/shm (as dear as one on the
disk). What is left for ``os`` is some 9 µs of 35: making the entry 2, the spool 1, the hash chain 2, the rest in calls
and cold caches. A bar of 5 % would leave 1.3 of them.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import datagate
from benchmarks.driver import CALLER, POINT, ROWS, create
from benchmarks.harness import POLICIES, Nowhere, arguments, begin, collector_resting, finish, micro, server
from datagate.audit import HmacKey, JsonLinesSink, Sink, TableSink, create_audit
from datagate.audit.verify import verify_files
from datagate.gate import Gate

CONNECTIONS = 8
BAR = 0.95
SYNCS = 200


class Contestant:
    """Eight connections through a gate with one sink."""

    def __init__(self, dsn: str, sink: Sink) -> None:
        self.sink = sink
        gate = Gate.open(dsn, policies=POLICIES / "readings", audit=sink)
        self.connections: list[Any] = [
            datagate.connect(dsn, caller=CALLER, gate=gate, autocommit=True) for _ in range(CONNECTIONS)
        ]

    def run(self, each: int) -> tuple[float, float]:
        """Statements a second, over all connections, and the processor time of each in microseconds."""
        ready = threading.Barrier(CONNECTIONS + 1)
        threads = [
            threading.Thread(target=self._work, args=(connection, number, each, ready))
            for number, connection in enumerate(self.connections)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        begun, used = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.join()
        count = CONNECTIONS * each
        return count / (time.perf_counter() - begun), micro((time.process_time() - used) / count)

    @staticmethod
    def _work(connection: Any, number: int, each: int, ready: threading.Barrier) -> None:
        keys = cycle(range(1 + number, ROWS, 1009))
        cursor = connection.cursor()
        ready.wait()
        for _ in range(each):
            cursor.execute(POINT, [next(keys)])
            assert cursor.fetchone() is not None

    def close(self) -> None:
        """End the connections, and the sink."""
        for connection in self.connections:
            connection.close()
        if isinstance(self.sink, (JsonLinesSink, TableSink)):
            self.sink.close()


def disk(directory: Path) -> float:
    """How many entries a second eight writers could keep that share each fsync and do nothing else."""
    with (directory / "disk").open("ab", buffering=0) as file:
        begun = time.perf_counter()
        for _ in range(SYNCS):
            file.write(b"x" * 800 * CONNECTIONS)
            os.fdatasync(file.fileno())
        return CONNECTIONS * SYNCS / (time.perf_counter() - begun)


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    rounds, each = (7, 250) if options.quick else (25, 500)
    report = begin("audit")
    key = HmacKey(b"k" * 32)
    with server(options.postgres) as running, tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        dsn = create(running)
        create_audit(dsn)
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket"
        path = Path(directory) / "audit.jsonl"
        contestants = {
            "without": Contestant(dsn, Nowhere()),
            "JSON lines, fsync": Contestant(dsn, JsonLinesSink(path, signer=key)),
            "JSON lines, os": Contestant(dsn, JsonLinesSink(f"{path}-os", signer=key, durability="os")),
            "table": Contestant(dsn, TableSink(dsn, signer=key)),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        found["the disk"] = []
        with collector_resting():
            for turn in range(rounds + 1):
                order = list(contestants.items())
                for name, contestant in order if turn % 2 else reversed(order):
                    measured = contestant.run(each)
                    if turn:
                        found[name].append(measured)
                if turn:
                    found["the disk"].append((disk(Path(directory)), 0.0))
        for contestant in contestants.values():
            contestant.close()
        assert verify_files(path, key).intact
    table = report.table(
        "throughput", f"Point SELECT over {CONNECTIONS} connections, median of {rounds} rounds by turns",
        "audit", "statements a second", "against without", "processor, us",
    )  # fmt: skip
    bases = [base for base, _ in found["without"]]
    for name, runs in found.items():
        rates = [rate for rate, _ in runs]
        against = statistics.median(rate / base for rate, base in zip(rates, bases, strict=True))
        table.add(name, statistics.median(rates), against, statistics.median(used for _, used in runs))
        if name.startswith("JSON lines"):
            report.bar(f"throughput with {name}", against, BAR, floor=True)
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
