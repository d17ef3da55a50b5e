"""YAML with positions."""

from __future__ import annotations

from decimal import Decimal

import pytest
import yaml

from datagate.model.source import SourceRef
from datagate.policy.document import Node, read_document
from datagate.policy.report import Report


def read(text: str) -> Node:
    """A document without problems."""
    report = Report()
    node = read_document(text.encode(), "f.yaml", report)
    assert report.problems == ()
    assert node is not None
    return node


def problems(text: str) -> list[str]:
    """The problems of a document."""
    report = Report()
    read_document(text.encode(), "f.yaml", report)
    return [str(problem) for problem in report.problems]


def test_values_keep_their_places() -> None:
    """A value knows its own line and column and those of its key."""
    node = read("a: 1\nb:\n  - x\n  - c: yo\n")
    assert node.at("a").source == SourceRef("f.yaml", 1, 4)
    assert node.at("b").key == SourceRef("f.yaml", 2, 1)
    assert node.at("b", 0).source == SourceRef("f.yaml", 3, 5)
    assert node.at("b", 1, "c").key == SourceRef("f.yaml", 4, 5)
    assert node.at("b", 1, "c").source == SourceRef("f.yaml", 4, 8)


def test_scalars_that_all_readers_read_alike() -> None:
    """Null, true, false, whole numbers, decimals and text are taken; decimals stay exact."""
    text = "[null, ~, true, FALSE, 0, -7, +5, 1.10, -0.5, text, 'NO', \"1e3\", v1.2.3, 2024, 1-2, a:b]"
    assert read(text).plain() == [
        None, None, True, False, 0, -7, 5, Decimal("1.10"), Decimal("-0.5"), "text", "NO", "1e3", "v1.2.3", 2024,
        "1-2", "a:b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "scalar",
    ["NO", "no", "yes", "Yes", "on", "Off", "y", "N", "2024-01-31", "2024-01-31 10:00:00", "12:30", "190:20:30",
     "0777", "0o17", "0x1F", "0b1", "1_000", "1e3", "1.5e+3", ".5", "5.", ".inf", ".NaN", "=", "<<", "08", "9" * 60],
)  # fmt: skip
def test_scalars_that_readers_read_differently_are_refused(scalar: str) -> None:
    """What YAML 1.1 or 1.2 makes something else of must be quoted; quoted, it is taken."""
    (problem,) = problems(f"key: {scalar}")
    assert problem.startswith("f.yaml:1:6: ")
    assert f"quote it: '{scalar}'" in problem
    assert read(f"key: '{scalar}'").plain() == {"key": scalar}


def test_keys_are_text_as_written() -> None:
    """A key is never read as a boolean or number: ``on`` stays ``on``."""
    assert read("on: a\nNO: b\n1: c\n2024-01-01: d").plain() == {"on": "a", "NO": "b", "1": "c", "2024-01-01": "d"}


def test_plain_values_agree_with_pyyaml() -> None:
    """Where a value is taken, PyYAML's own loader reads the same."""
    text = "{a: [1, -2, true, null, x y, 'q', \"\\u00e9\"], b: {c: |\n  one\n  two\n, d: >-\n  three\n  four\n}}"
    text = "a: [1, -2, true, null, x y, 'q', \"\\u00e9\"]\nb:\n  c: |\n    one\n    two\n  d: >-\n    three\n    four\n"
    assert read(text).plain() == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("p: abc def", "def"),
        ("p:   'abc def'", "def"),
        ('p: "abc def"', "def"),
        ("p: |\n    abc\n      def\n", "def"),
        ("p: |-\n  abc def\n", "def"),
        ("p: 'é def'", "def"),
    ],
)
def test_a_place_within_text(text: str, needle: str) -> None:
    """An offset into a value is a place in the file, for plain, quoted and literal text."""
    node = read(text).at("p")
    assert isinstance(node.content, str)
    place = node.within(node.content.index(needle))
    assert text.split("\n")[place.line - 1][place.column - 1 :].startswith(needle)


def test_a_place_within_folded_or_escaped_text_is_its_start() -> None:
    """Where folding or an escape hides the place, the value's own place is told."""
    for text in ("p: >\n  abc\n  def\n", 'p: "a\\tdef"', "p: 'it''s def'"):
        node = read(text).at("p")
        assert node.within(5) == node.source


def test_nesting_has_an_end() -> None:
    """Deep nesting is told as a problem, not met as a RecursionError."""
    (problem,) = problems("a: " + "[" * 5000 + "]" * 5000)
    assert "nested too deeply" in problem


def test_long_files_are_refused() -> None:
    """A file of more than a million characters is not read."""
    (problem,) = problems("#" * (1 << 20) + "\na: b")
    assert "split it" in problem
