"""Broken files and their messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.policy.goldens import CASES, ROOT, lay, messages


@pytest.mark.parametrize("case", CASES)
def test_broken_files_give_their_messages(case: str, tmp_path: Path) -> None:
    """All problems of a directory are told at once, sorted, each with its place and how to mend it."""
    lay(case, tmp_path)
    assert messages(tmp_path) == (ROOT / case / "expected.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_messages_have_a_place_and_are_sorted(case: str) -> None:
    """Each line reads ``file:line:column: what``, in the order of the files, lines and columns."""
    lines = (ROOT / case / "expected.txt").read_text(encoding="utf-8").splitlines()
    places = []
    for line in lines:
        match = re.match(r"([^:]+):(\d+):(\d+): \S", line)
        assert match, line
        places.append((match[1], int(match[2]), int(match[3])))
    assert lines
    assert places == sorted(places)


def test_good_files_load(tmp_path: Path) -> None:
    """The files that the broken ones are laid over are right themselves."""
    lay("base", tmp_path)
    assert messages(tmp_path) == ""
