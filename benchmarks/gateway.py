"""What the gateway costs: ``python -m benchmarks.gateway [--json FILE] [--check] [--quick]``.

One server, reached directly, through pgbouncer (Debian's package, transaction pooling) and through the gateway with one
worker and policies on, side by side in one run, by turns. ``pgbench -S``, simple and prepared, with 1, 8 and 32
clients; the median latency of a client alone; new connections; 400,000 rows streamed, and copied out; memory.

Figures through the gateway are those without an audit that is kept, and beside them those with a chained file that is
on the disk before a row leaves (``--audit``). pgbouncer before 1.21 cannot keep prepared statements in transaction
pooling; it is then measured in session pooling, where it does less. A bare relay in Python, which copies bytes and
governs nothing, shows how much of the difference is the event loop's.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.doors import ROWS, Door, create, doors
from benchmarks.harness import SETTINGS, Report, arguments, begin, by_turns, collector_resting, finish, milli, pick
from benchmarks.raw_client import RawClient
from datagate.backends.postgres.embedded import EmbeddedPostgres

BOUNCER, SESSION, GATEWAY, AUDITED = "pgbouncer, transaction", "pgbouncer, session", "gateway", "gateway, audit"
RELAY = "relay"
CLIENTS = (1, 8, 32)
AGAINST_BOUNCER, ADDED_MICROSECONDS, CONNECTIONS_A_SECOND, AGAINST_DIRECT = 0.8, 80.0, 1000.0, 0.9
IDLE, IDLE_MEBIBYTES, STUCK, STUCK_MEBIBYTES = 1000, 150.0, 16, 1.0
_MEBIBYTE = 1 << 20
_ROWS_TEXT = "SELECT aid, bid, abalance, filler FROM pgbench_accounts"
_COPY_TEXT = f"COPY ({_ROWS_TEXT}) TO STDOUT (FORMAT BINARY)"
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


def pgbench(door: Door, protocol: str, clients: int, seconds: int, *more: str) -> float:
    """Transactions a second."""
    command = ["pgbench", "-S", "-n", "-M", protocol, "-c", str(clients), "-T", str(seconds), *more]
    done = subprocess.run(command, env=door.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pgbench through {door.name}, {protocol}, {clients} clients: {done.stderr}")
    found = _TPS.search(done.stdout)
    # It says nothing where no transaction came to its end in time.
    return float(found[1]) if found is not None else 0.0


def latency(door: Door, protocol: str, seconds: int) -> float:
    """The median transaction of a client alone, in microseconds; the first fifth warms up."""
    with tempfile.TemporaryDirectory(prefix="pgbench-") as folder:
        pgbench(door, protocol, 1, seconds, "-l", "--log-prefix", f"{folder}/log")
        lines = [line for path in Path(folder).iterdir() for line in path.read_text("ascii").splitlines()]
    return statistics.median(int(line.split()[2]) for line in lines[len(lines) // 5 :])


def _turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each gives, by turns."""
    order = list(ways.items())
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, run in order if turn % 2 == 0 else reversed(order):
            found[name].append(run())
    return {name: statistics.median(each) for name, each in found.items()}


def throughput(report: Report, ways: Mapping[str, Door], seconds: int, rounds: int) -> None:
    """``pgbench -S``."""
    table = report.table(
        "pgbench", f"pgbench -S, transactions a second, median of {rounds} rounds of {seconds} s by turns",
        "protocol", "clients", "direct", "pgbouncer", "relay", "gateway", "gateway, audit", "pgbouncer's",
        "relay of pgbouncer", "of relay", "of pgbouncer",
    )  # fmt: skip
    for protocol in ("simple", "prepared"):
        bouncer = BOUNCER if protocol == "simple" else SESSION
        for clients in CLIENTS:
            wanted = [name for name in ("direct", bouncer, RELAY, GATEWAY, AUDITED) if name in ways]

            def run(name: str, protocol: str = protocol, clients: int = clients) -> Callable[[], float]:
                return lambda: pgbench(ways[name], protocol, clients, seconds)

            found = _turns({name: run(name) for name in wanted}, rounds)
            beside = found.get(bouncer)
            ratio = found[GATEWAY] / beside if beside is not None else 0.0
            table.add(
                protocol, clients, found["direct"], beside or "-", found[RELAY], found[GATEWAY], found[AUDITED],
                bouncer.rpartition(" ")[2] if beside is not None else "-",
                found[RELAY] / beside if beside is not None else "-", found[GATEWAY] / found[RELAY], ratio or "-",
            )  # fmt: skip
            if beside is not None:
                name = f"pgbench -S, {protocol}, {clients} clients, of pgbouncer"
                report.bar(name, ratio, AGAINST_BOUNCER, floor=True)


def latencies(report: Report, ways: Mapping[str, Door], seconds: int, rounds: int) -> None:
    """A client alone."""
    table = report.table(
        "latency", "pgbench -S, one client, median latency, µs",
        "protocol", "direct", "pgbouncer", "gateway", "gateway, audit", "pgbouncer adds", "gateway adds",
    )  # fmt: skip
    for protocol in ("simple", "prepared"):
        bouncer = BOUNCER if protocol == "simple" else SESSION
        wanted = [name for name in ("direct", bouncer, GATEWAY, AUDITED) if name in ways]

        def run(name: str, protocol: str = protocol) -> Callable[[], float]:
            return lambda: latency(ways[name], protocol, seconds)

        found = _turns({name: run(name) for name in wanted}, rounds)
        direct, beside = found["direct"], found.get(bouncer)
        added = found[GATEWAY] - direct
        shown = (beside, beside - direct) if beside is not None else ("-", "-")
        table.add(protocol, direct, shown[0], found[GATEWAY], found[AUDITED], shown[1], added)
        report.bar(f"added latency, {protocol}", added, ADDED_MICROSECONDS, "µs")


def logins(report: Report, ways: Mapping[str, Door], number: int, rounds: int) -> None:
    """New connections, each with SCRAM, one after the other from one client."""

    def run(name: str) -> Callable[[], float]:
        def rate() -> float:
            begun = time.perf_counter()
            for _ in range(number):
                RawClient(ways[name]).close()
            return number / (time.perf_counter() - begun)

        return rate

    found = _turns({name: run(name) for name in ("direct", BOUNCER, GATEWAY) if name in ways}, rounds)
    table = report.table("connections", "New connections a second, SCRAM, one at a time", *found)
    table.add(*found.values())
    report.bar("new connections a second", found[GATEWAY], CONNECTIONS_A_SECOND, "/s", floor=True)


def streams(report: Report, ways: Mapping[str, Door], rounds: int) -> None:
    """All accounts, as rows and as COPY BINARY."""
    wanted = [name for name in ("direct", BOUNCER, GATEWAY) if name in ways]
    table = report.table(
        "streams", f"{ROWS:,} rows read to the end, ms, median of {rounds} runs by turns", "what", *wanted, "of direct"
    )
    for what, text in {"rows": _ROWS_TEXT, "COPY BINARY": _COPY_TEXT}.items():
        clients = {name: RawClient(ways[name]) for name in wanted}

        def run(name: str, text: str = text, clients: dict[str, RawClient] = clients) -> Callable[[], object]:
            return lambda: clients[name].drain(text)

        timings = by_turns({name: run(name) for name in wanted}, rounds=rounds)
        ratio = timings["direct"].median / timings[GATEWAY].median
        table.add(what, *(milli(timings[name].median) for name in wanted), ratio)
        report.bar(f"{ROWS:,} rows, {what}, of direct", ratio, AGAINST_DIRECT, floor=True)
        for client in clients.values():
            client.close()


def memory(report: Report, door: Door) -> None:
    """Clients that do nothing, and clients that ask for much and read none of it."""
    before = door.resident
    idle = [RawClient(door) for _ in range(IDLE)]
    with_idle = door.resident
    for client in idle:
        client.close()
    with RawClient(door) as client:
        client.drain(_ROWS_TEXT)
    at_rest = door.resident
    stuck = [RawClient(door) for _ in range(STUCK)]
    for client in stuck:
        client.send(_ROWS_TEXT)
    with_stuck = _at_rest(door)
    for client in stuck:
        client.socket.close()
    each = (with_stuck - at_rest) / STUCK / _MEBIBYTE
    table = report.table(
        "memory", "The gateway's resident memory, MiB",
        "before", f"with {IDLE:,} idle connections", "for each", f"for each of {STUCK} clients that do not read",
    )  # fmt: skip
    table.add(before / _MEBIBYTE, with_idle / _MEBIBYTE, (with_idle - before) / IDLE / _MEBIBYTE, each)
    report.bar(f"{IDLE:,} idle connections", with_idle / _MEBIBYTE, IDLE_MEBIBYTES, "MiB")
    report.bar("a client that does not read", each, STUCK_MEBIBYTES, "MiB")


def _at_rest(door: Door) -> int:
    """The memory of a process once it grows no more."""
    last, same = door.resident, 0
    while same < 10:
        time.sleep(0.1)
        now = door.resident
        same = same + 1 if now <= last else 0
        last = max(last, now)
    return last


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    seconds, rounds = (2, 3) if options.quick else (5, 7)
    report = begin("gateway")
    with EmbeddedPostgres(pick(options.postgres), settings={**SETTINGS, "max_connections": "300"}, tcp=True) as running:
        dsn = create(running)
        with doors(running, dsn) as ways, collector_resting():
            about = f"PostgreSQL {running.version}; the server by its Unix socket, clients by 127.0.0.1"
            report.about["server"] = about
            if BOUNCER not in ways:
                report.notes.append("There is no pgbouncer on PATH (Debian: apt install pgbouncer): nothing beside it.")
            throughput(report, ways, seconds, rounds)
            latencies(report, ways, seconds, rounds)
            logins(report, ways, 200 if options.quick else 1000, rounds)
            streams(report, ways, 5 if options.quick else 15)
            memory(report, ways[GATEWAY])
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
