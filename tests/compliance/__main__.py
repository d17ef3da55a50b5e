"""Run the compliance suite twice, and say where the sides differ: ``python -m tests.compliance``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import psycopg
from psycopg.conninfo import conninfo_to_dict

from datagate.backends.postgres.embedded import EmbeddedPostgres, find_binaries

SUITE = Path(__file__).parent / "suite"
ROOT = Path(__file__).parents[2]
SIDES = {"psycopg": "postgresql+psycopg", "datagate": "postgresql+datagate"}


def run(driver: str, dsn: str, selected: list[str]) -> dict[str, tuple[str, str]]:
    """The outcome and message of each test on one side."""
    parts = conninfo_to_dict(dsn)
    url = f"{driver}://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(SUITE / "pytest.ini"), f"--rootdir={SUITE}"]
        command += [f"--confcutdir={SUITE}", f"--junitxml={report}", "--tb=native", "--dburi", url]
        command += ["-W", "ignore", *selected]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            [*command, str(SUITE / "test_suite.py")],
            cwd=SUITE,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            raise SystemExit(ended.stdout[-4000:] + ended.stderr[-4000:])
        return dict(map(_outcome, ET.parse(report).iter("testcase")))  # noqa: S314


def _outcome(case: ET.Element) -> tuple[str, tuple[str, str]]:
    name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
    # SQLAlchemy's plugin puts the database into the name.
    name = name.replace("postgresql+datagate", "postgresql+psycopg").replace("_datagate", "_psycopg")
    for kind, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(kind)
        if found is not None:
            return name, (word, (found.get("message") or "").strip().split("\n")[0][:300])
    return name, ("passed", "")


def explained(name: str, message: str) -> str | None:
    """Why a test may end otherwise through the gate."""
    for reason in tomllib.loads((SUITE.parent / "reasons.toml").read_text("utf-8"))["reason"]:
        if re.search(reason.get("test", ""), name) and re.search(reason.get("message", ""), message):
            return str(reason["why"])
    return None


def report(plain: dict[str, tuple[str, str]], gated: dict[str, tuple[str, str]]) -> int:
    """Print figures, differences by their reasons, and those that have none; how many these are."""
    for side, outcomes in zip(SIDES, (plain, gated), strict=True):
        counts = Counter(word for word, _ in outcomes.values())
        print(f"{side:10}", *(f"{counts[word]:5} {word}" for word in ("passed", "failed", "skipped")))
    missing = ("missing", "")
    names = sorted(plain.keys() | gated.keys())
    differing = [name for name in names if plain.get(name, missing)[0] != gated.get(name, missing)[0]]
    reasons: Counter[str] = Counter()
    unexplained = []
    for name in differing:
        (before, _), (after, message) = plain.get(name, missing), gated.get(name, missing)
        why = explained(name, message)
        if why is None:
            unexplained.append(f"{name}: {before} / {after}: {message}")
        else:
            reasons[f"{before} / {after}: {why}"] += 1
    print(f"{len(differing)} of {len(names)} differ")
    for why, count in reasons.most_common():
        print(f"{count:5}  {why}")
    print(f"{len(unexplained)} without an explanation", *unexplained, sep="\n")
    return len(unexplained)


def main() -> int:
    """Run both, print figures and differences; 1 where there are any that nothing explains."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    with EmbeddedPostgres(find_binaries()[0]) as server:
        for side, driver in SIDES.items():
            dsn = server.create_database(f"suite_{side}")
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("CREATE SCHEMA test_schema")
            found[side] = run(driver, dsn, sys.argv[1:])
    return int(bool(report(found["psycopg"], found["datagate"])))


if __name__ == "__main__":
    sys.exit(main())
