"""What the linters do not say."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.source import PACKAGE, ROOT, Module, modules

LONGEST = 400
SKIPPING: dict[str, str] = {
    "tests.clients.test_clients": "what has to be installed first, in the slow suite alone",
    "tests.attacks.test_sqlsmith": "SQLsmith is a package of the machine's",
    "tests.attacks.test_row_security": "a server before 17 has no MERGE whose new rows can be checked",
    "tests.backends.test_mask_text": "a server without ICU has no nondeterministic collations",
    "tests.stores.test_keyring": "only root can give files away",
    "tests.frontends.gateway.test_faults": "the clock of one process is set by libfaketime, a package of the machine's",
}
"""Tests that need what not every machine has."""

SWALLOWERS = frozenset({"Exception", "BaseException"})


def swallowed(tree: ast.AST) -> list[int]:
    """Lines that catch everything and go on."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = node.type is None or any(_name(each) in SWALLOWERS for each in caught)
            passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            # Tidying up and raising the same again catches nothing; an early return out of it would.
            leaves = any(isinstance(each, (ast.Return, ast.Continue, ast.Break)) for each in ast.walk(node))
            if broad and not (_name(node.type) == "BaseException" and passes_on and not leaves):
                lines.append(node.lineno)
        elif isinstance(node, ast.Call) and _name(node.func) == "suppress":
            lines += [node.lineno for each in node.args if _name(each) in SWALLOWERS]
    return lines


def _name(node: ast.AST | None) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("try: f()\nexcept Exception: g()", True),
        ("try: f()\nexcept: g()", True),
        ("try: f()\nexcept: raise", True),
        ("try: f()\nexcept (ValueError, Exception): g()", True),
        ("try: f()\nexcept BaseException: g()", True),
        ("try: f()\nexcept BaseException:\n  g()\n  raise", False),
        ("def f():\n try: f()\n except BaseException:\n  if f: return 1\n  raise", True),
        ("with contextlib.suppress(Exception): f()", True),
        ("try: f()\nexcept ValueError: g()", False),
    ],
)
def test_catching_everything_is_seen(text: str, seen: bool) -> None:
    """The reading of handlers tells those that swallow from those that tidy up and raise again."""
    assert bool(swallowed(ast.parse(text))) is seen


def test_nothing_catches_everything() -> None:
    """No handler catches `Exception`, or all; only what raises the same again may catch `BaseException`."""
    folders = (PACKAGE, "tests", "benchmarks", "fixtures")
    assert [module.at(line) for module in modules(*folders) for line in swallowed(module.tree)] == []


def test_modules_are_short() -> None:
    """No module of the package is longer than 400 lines."""
    assert {module.name: module.lines for module in modules(PACKAGE) if module.lines > LONGEST} == {}


def test_every_silenced_linter_says_which() -> None:
    """Each ``noqa`` and ``type: ignore`` names its rule."""
    bare = re.compile(r"#\s*(?:noqa(?!:)|type:\s*ignore(?!\[)|ruff:\s*noqa(?!:)|mypy:\s*ignore-errors)")
    silent = [
        module.at(number)
        for module in modules(PACKAGE, "tests", "benchmarks", "fixtures")
        if not module.name.startswith("tests.house")
        for number, line in enumerate(module.text.splitlines(), 1)
        if bare.search(line)
    ]
    assert silent == []


def test_no_test_is_skipped_or_sleeps() -> None:
    """Tests do not sleep, and none is skipped but for what the machine cannot do."""
    skips = re.compile(r"pytest\.(?:skip|importorskip)\(|mark\.(?:skip|skipif)\b")
    found = {module.name for module in _tests() if skips.search(module.text)}
    assert found <= set(SKIPPING)
    assert [module.name for module in _tests() if re.search(r"\bsleep\(\d", module.text)] == []


def _tests() -> list[Module]:
    return [module for module in modules("tests") if not module.name.startswith("tests.house")]


def test_every_test_states_its_fact() -> None:
    """Each test has a docstring."""
    silent = [
        module.at(node.lineno)
        for module in modules("tests")
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_the_licence_is_whole() -> None:
    """LICENSE is the Apache License, Version 2.0, from its title to the end of its terms."""
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    for number in range(1, 10):
        assert re.search(rf"^ +{number}\. [A-Z]", text, re.MULTILINE), number
    assert "END OF TERMS AND CONDITIONS" in text
