"""What is public, what it is called, and that it is explained."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from types import ModuleType

import pytest

import datagate
from datagate import errors
from datagate.errors import DatagateError
from tests.house.source import PACKAGE, ROOT, modules

FORBIDDEN = re.compile(r"utils?|helpers?|common|managers?|misc", re.IGNORECASE)
FORBIDDEN_CLASS = re.compile(r"(Util|Utils|Helper|Helpers|Manager|Common)$")
DUNDERS = {"__version__"}


def test_public_names_are_the_listed_ones() -> None:
    """`datagate.__all__` is sorted without repetition, each name is there, and nothing else is public."""
    listed = datagate.__all__
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert getattr(datagate, name) is not None
    visible = {name for name in dir(datagate) if not name.startswith("_")} | DUNDERS
    rooms = {name for name in visible if isinstance(getattr(datagate, name), ModuleType)}
    imported = {"TYPE_CHECKING", "annotations", "import_module"}
    assert visible - rooms - imported == set(listed)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Names that are brought when asked for do not make other names appear."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = datagate.nothing


def test_naming_a_caller_costs_no_driver() -> None:
    """`import datagate` reads none of the libraries that take long, and connecting none of the command line's."""
    probe = "import sys, datagate; print(*sys.modules); datagate.connect; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    bare, connecting = (set(line.split()) for line in out.splitlines())
    assert not bare & {"psycopg", "sqlalchemy", "sqlglot", "pandas", "pydantic", "yaml", "postgast", "typer", "rich"}
    assert not connecting & {"pandas", "typer", "rich"}


def test_public_names_are_explained() -> None:
    """Each public class and function has a docstring of its own, and so has each public method of it."""
    silent = []
    for name in datagate.__all__:
        thing = getattr(datagate, name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if not (thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__):
            silent.append(name)
        if inspect.isclass(thing) and thing.__module__.startswith(PACKAGE):
            silent += [
                f"{name}.{attribute}"
                for attribute, value in vars(thing).items()
                if not attribute.startswith("_")
                and (inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod)))
                and not inspect.getdoc(getattr(thing, attribute))
            ]
    assert silent == []


def test_the_version_is_told_once() -> None:
    """The package and its metadata say the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert datagate.__version__ == project["version"]


def test_names_say_something() -> None:
    """No module, package or class is called by a word that fits everything."""
    empty = [module.name for module in modules(PACKAGE, "tests", "benchmarks", "fixtures") if _empty(module.name)]
    assert empty == []
    assert _empty("datagate.sql.utils")
    assert _empty("datagate.common.names")
    assert FORBIDDEN_CLASS.search("SessionManager")
    classes = [
        f"{module.name}.{found}"
        for module in modules(PACKAGE)
        for found in re.findall(r"^class (\w+)", module.text, re.MULTILINE)
        if FORBIDDEN_CLASS.search(found)
    ]
    assert classes == []


def _empty(name: str) -> bool:
    return any(FORBIDDEN.fullmatch(word) for part in name.split(".") for word in part.split("_"))


def tree() -> dict[str, tuple[str | None, str | None]]:
    """The tree that errors.py draws: class → (the class that it hangs from, its SQLSTATE where one is told)."""
    drawn: dict[str, tuple[str | None, str | None]] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").split("::")[1].splitlines():
        found = re.fullmatch(r"    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)(.*)", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        name, rest = found[2], found[3].split(";")
        above[depth] = name
        drawn[name] = (above.get(depth - 1), _state(rest[0]))
        for child in rest[1:]:
            drawn[child.split()[0]] = (name, _state(child.partition(child.split()[0])[2]))
    return drawn


def _state(text: str) -> str | None:
    found = re.match(r"\s+([0-9A-Z]{5})\b", text)
    return found[1] if found else None


def classes() -> list[type[DatagateError]]:
    """Every class of the tree of errors."""
    found = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, DatagateError)]
    return [each for each in found if each.__module__ == errors.__name__]


def test_errors_are_drawn_as_they_are() -> None:
    """The tree in the docstring has every error class, under its own parent, with its own SQLSTATE."""
    drawn = tree()
    beside = {"PolicyError", "StateError", "KeyringError"}
    assert set(drawn) == {each.__name__ for each in classes()}
    for each in classes():
        parent, state = drawn[each.__name__]
        base = each.__bases__[0].__name__
        assert parent == (None if each is DatagateError else base) or (each.__name__ in beside and parent is None)
        assert state in (None, each.sqlstate), each
        assert re.fullmatch(r"[0-9A-Z]{5}", each.sqlstate), each
        assert each.__doc__, each


def test_users_can_catch_every_error() -> None:
    """Every class of the tree is a public name."""
    assert {each.__name__ for each in classes()} <= set(datagate.__all__)


def test_no_error_strays() -> None:
    """Outside errors.py, no module makes an exception class that a caller could meet."""
    # Both are raised and caught inside: a predicate's fault becomes a Problem, a tree not carried goes the other way.
    # The third is RowGone, so made that programs written for SQLAlchemy catch it as they always did.
    inner = {"PredicateFault", "NotCarried", "ObjectGone"}
    made = {
        found
        for module in modules(PACKAGE)
        if module.name != errors.__name__
        for found in re.findall(r"^ *class (\w+)\([^)]*(?:Error|Exception)\b", module.text, re.MULTILINE)
    }
    assert made == inner
