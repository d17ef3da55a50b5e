"""Run the compliance suite twice, and say where the sides differ: ``python -m tests.compliance``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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
        command += [f"--confcutdir={SUITE}", f"--junitxml={report}", "--dburi", url, "-W", "ignore", *selected]
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


def main() -> int:
    """Run both, print figures and differences; 1 where there are any."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    with EmbeddedPostgres(find_binaries()[0]) as server:
        for side, driver in SIDES.items():
            dsn = server.create_database(f"suite_{side}")
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("CREATE SCHEMA test_schema")
            found[side] = run(driver, dsn, sys.argv[1:])
    for side, outcomes in found.items():
        print(side, dict(sorted(Counter(word for word, _ in outcomes.values()).items())))
    plain, gated = found.values()
    differences = [name for name in plain if gated.get(name, ("missing", ""))[0] != plain[name][0]]
    differences += [name for name in gated if name not in plain]
    for name in sorted(differences):
        word, message = gated.get(name, ("missing", ""))
        print(f"{name}: {plain.get(name, ('missing', ''))[0]} / {word}: {message}")
    print(f"{len(differences)} differences")
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
