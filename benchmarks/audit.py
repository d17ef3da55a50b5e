"""What the audit costs: ``python -m benchmarks.audit [--json FILE] [--check] [--quick]``.

A point SELECT by primary key over eight connections, a thread each, through ``datagate.connect``: without an audit
that is kept, with JSON lines (fsynced, group commit, HMAC), with the same left to the operating system, and with a
table. By turns, so that what else the machine does falls on all; the figure is the median over the rounds of
statements a second against those without.
"""

from __future__ import annotations

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
from benchmarks.harness import POLICIES, Nowhere, arguments, begin, collector_resting, finish, server
from datagate.audit import HmacKey, JsonLinesSink, Sink, TableSink, create_audit
from datagate.audit.verify import verify_files
from datagate.gate import Gate

CONNECTIONS = 8
BAR = 0.95


class Contestant:
    """Eight connections through a gate with one sink."""

    def __init__(self, dsn: str, sink: Sink) -> None:
        self.sink = sink
        gate = Gate.open(dsn, policies=POLICIES / "readings", audit=sink)
        self.connections: list[Any] = [
            datagate.connect(dsn, caller=CALLER, gate=gate, autocommit=True) for _ in range(CONNECTIONS)
        ]

    def run(self, each: int) -> float:
        """Statements a second, over all connections."""
        ready = threading.Barrier(CONNECTIONS + 1)
        threads = [
            threading.Thread(target=self._work, args=(connection, number, each, ready))
            for number, connection in enumerate(self.connections)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        begun = time.perf_counter()
        for thread in threads:
            thread.join()
        return CONNECTIONS * each / (time.perf_counter() - begun)

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
        found: dict[str, list[float]] = {name: [] for name in contestants}
        with collector_resting():
            for turn in range(rounds + 1):
                order = list(contestants.items())
                for name, contestant in order if turn % 2 else reversed(order):
                    rate = contestant.run(each)
                    if turn:
                        found[name].append(rate)
        for contestant in contestants.values():
            contestant.close()
        assert verify_files(path, key).intact
    table = report.table(
        "throughput", f"Point SELECT over {CONNECTIONS} connections, median of {rounds} rounds by turns",
        "audit", "statements a second", "against without",
    )  # fmt: skip
    for name, rates in found.items():
        against = statistics.median(rate / base for rate, base in zip(rates, found["without"], strict=True))
        table.add(name, statistics.median(rates), against)
        if name == "JSON lines, fsync":
            report.bar(f"throughput with {name}", against, BAR, floor=True)
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
