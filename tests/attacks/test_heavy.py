"""Class 55: texts that are long or deep.

What: a hundred thousand parentheses, ten megabytes, thousands of operators, arms or parameters.
Why: parsers recurse; a stack that overflows in C ends the process of everybody, and memory or time can run out.
Defence: the nesting is bounded by the tokens before anything recurses, what is deep is read on a stack of its own
(``backends/postgres/depth``), and more than PostgreSQL itself bears is refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.arena import Bank
from tests.attacks.heavy import DEEP, long_texts
from tests.frontends.gateway.running import make_role
from tests.house.source import ROOT

Answers = dict[str, tuple[str, str]]


def answers(dsn: str, share: int, folder: str) -> Answers:
    """What a process of its own made of all texts: it ended well, within its limits."""
    make_role(dsn).dispose()
    command = [sys.executable, "-m", "tests.attacks.heavy", dsn, str(share), folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=900)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return {name: (state, told) for _, name, state, told in map(json.loads, done.stdout.splitlines())}


def hold(found: Answers) -> None:
    """Long texts answer as with PostgreSQL itself; deep ones are refused in words; then all is as before."""
    for name in long_texts(1):
        assert found[f"long: {name}"] == ("", "[(True,)]"), name
    for name in DEEP:
        state, told = found[f"deep: {name}"]
        assert state in ("54000", "54001", "0A000", "42601", "42712", "42P02"), (name, state, told)
        assert len(told.split()) > 3, (name, told)
    assert found["afterwards"] == ("", "[(True,)]")


def test_through_the_driver(bank: Bank) -> None:
    """Fewer of what is long, all of what is deep."""
    hold(answers(bank.owner, 10, ""))


@pytest.mark.slow
def test_through_the_driver_at_length(bank: Bank) -> None:
    """All of it."""
    hold(answers(bank.owner, 1, ""))


@pytest.mark.slow
def test_through_the_gateway(bank: Bank, tmp_path: Path) -> None:
    """All of it, on the wire."""
    hold(answers(bank.owner, 1, str(tmp_path)))
