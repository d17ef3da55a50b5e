"""How many statements the dialect carries exactly: ``python -m benchmarks.carried [--json FILE] [--check]``.

Each query is read and written by the dialect, once from the caller's own text and once from libpg_query's canonical
spelling of it; carried means that libpg_query's tree of what came out equals the tree of the caller's text.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datagate.backends.postgres.engine import canonical
from datagate.errors import DatagateError
from datagate.sql.dialect import NotCarried, generate, parse_canonical
from datagate.verify.mismatch import Mismatch
from datagate.verify.tree import Tree, read
from fixtures import tpcds, tpch
from fixtures.statements import corpus

FLOOR = 0.995
"""The share of each source that must be carried, by one road or the other."""

CARRIED = "carried"


@dataclass(slots=True)
class Tally:
    """What became of the statements of one source, by road; ``other`` are no queries."""

    source: str
    queries: int = 0
    other: int = 0
    either: int = 0
    roads: dict[str, Counter[str]] = field(default_factory=lambda: {"text": Counter(), "canonical": Counter()})

    def share(self) -> float:
        """The part that at least one road carries."""
        return self.either / self.queries if self.queries else 1.0


def outcome(text: str, wanted: Tree) -> str:
    """CARRIED, or why not."""
    try:
        out = generate(parse_canonical(text))
    except NotCarried as error:
        return f"not read: {error.construct}"
    try:
        found = read(out)
    except Mismatch as error:
        return f"written as what is no query: {error}"
    return CARRIED if found == wanted else "written with another meaning"


def spelled(text: str, wanted: Tree) -> str:
    """The outcome for the canonical spelling, which itself may be wrong."""
    try:
        spelling = canonical(text)
        same = read(spelling) == wanted
    except (Mismatch, DatagateError):
        return "libpg_query's spelling is no query"
    return outcome(spelling, wanted) if same else "libpg_query's spelling means something else"


def measure(source: str, texts: Iterator[str]) -> Tally:
    """Carry all statements of one source."""
    tally = Tally(source)
    for text in texts:
        try:
            wanted = read(text)
        except Mismatch:
            tally.other += 1
            continue
        tally.queries += 1
        by_text, by_spelling = outcome(text, wanted), spelled(text, wanted)
        tally.roads["text"][by_text] += 1
        tally.roads["canonical"][by_spelling] += 1
        tally.either += CARRIED in (by_text, by_spelling)
    return tally


def sources() -> Mapping[str, Iterator[str]]:
    """The statements by source."""
    return {
        "own, written": (statement.text for statement in corpus.written()),
        "own, combined": (statement.text for statement in corpus.combined()),
        "clients": (statement.text for statement in corpus.clients()),
        "TPC-H": iter(tpch.queries().values()),
        "TPC-DS": iter(tpcds.statements().values()),
    }


def main() -> int:
    """Print the table and the reasons; 1 where a source is below the floor and ``--check`` was given."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--check", action="store_true")
    options = arguments.parse_args()
    tallies = [measure(source, texts) for source, texts in sources().items()]
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"{'source':16}{'queries':>9}{'text':>9}{'canonical':>11}{'either':>9}{'no query':>10}")
    for tally in tallies:
        by_text, by_spelling = (tally.roads[road][CARRIED] for road in ("text", "canonical"))
        print(f"{tally.source:16}{tally.queries:>9}{by_text:>9}{by_spelling:>11}{tally.share():>9.2%}{tally.other:>10}")
    for road in ("text", "canonical"):
        reasons: Counter[str] = sum((tally.roads[road] for tally in tallies), Counter())
        for reason, count in reasons.most_common():
            if reason != CARRIED:
                print(f"{road:10}{count:>6}  {reason}")
    if options.json is not None:
        figures = {tally.source: {**tally.roads, "queries": tally.queries, "either": tally.either} for tally in tallies}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(options.check and any(tally.share() < FLOOR for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
