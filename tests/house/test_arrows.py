"""Imports point one way, and the rooms that must be pure have nothing to be impure with."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.house.source import PACKAGE, ROOT, Import, Module, modules

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"model"}),
    frozenset({"errors"}),
    frozenset({"policy", "decision", "sql", "verify"}),
    frozenset({"backends", "stores", "audit", "identity"}),
    frozenset({"gate"}),
    frozenset({"frontends", "frontends.driver", "frontends.gateway"}),
    frozenset({"frontends.cli", "frontends.orm"}),
    frozenset({""}),
)
"""A room imports from the floors below its own; rooms of one floor are blind to each other. The public face is top.

The command line stands above the other frontends: `datagate query` goes through the driver, as any program does. So
does the session: SQLAlchemy sends over the driver's connections, since a second way to the wire would need a guard too.
"""

LIBRARIES: dict[str, frozenset[str]] = {
    "": frozenset(),
    "model": frozenset(),
    "errors": frozenset(),
    "policy": frozenset({"yaml", "pydantic", "pydantic_core"}),
    "decision": frozenset(),
    "sql": frozenset({"sqlglot"}),
    "verify": frozenset({"postgast"}),
    "backends": frozenset({"postgast", "google", "psycopg"}),
    "stores": frozenset({"sqlalchemy", "psycopg", "yaml", "pydantic"}),
    "audit": frozenset({"rfc8785", "cryptography", "psycopg"}),
    "identity": frozenset({"joserfc"}),
    "gate": frozenset({"psycopg", "sqlalchemy"}),
    "frontends": frozenset(),
    "frontends.driver": frozenset({"psycopg", "sqlalchemy", "asyncpg"}),
    "frontends.gateway": frozenset({"psycopg", "uvloop", "scramp", "prometheus_client"}),
    "frontends.orm": frozenset({"sqlalchemy"}),
    "frontends.cli": frozenset({"typer", "rich", "click", "psycopg", "sqlalchemy"}),
}
"""What each room may import that is not Python's own."""

BORROWED: dict[str, frozenset[str]] = {
    "datagate.backends.postgres.predicate": frozenset({"sqlglot"}),
}
"""Modules that may import what their room may not: judging a steward's predicate needs the nodes of `datagate.sql`."""

REQUIRED_BY = {"pydantic_core": "pydantic", "google": "postgast", "click": "typer"}
"""Libraries that come with one that is declared, and are part of how that one is used."""

PURE = ("model", "errors", "decision")
PURE_STDLIB = frozenset(
    {"__future__", "collections", "dataclasses", "datetime", "decimal", "enum", "functools", "itertools", "typing"}
    | {"types", "uuid", "re", "operator", "ipaddress", "bisect", "abc"}
)
"""What pure rooms may import: nothing that reads a file, a socket, the environment, or chance."""

CLOCKS = frozenset({"now", "today", "utcnow", "uuid1", "uuid4"})
"""Names by which even these modules ask the machine for the time, or for chance."""

THROUGH_THE_GATE = frozenset({"tests.twin.pairs"})
"""Modules of the redacted twin that send statements through the gate; the others work a policy out for themselves."""


def floor(room: str) -> int:
    """On which floor a room is."""
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    raise AssertionError(f"{room!r} is no room of the house: draw it into DESIGN and FLOORS first")


def room_of(imported: Import) -> str:
    """The room that an import enters."""
    parts = imported.module.split(".")[1:]
    return ".".join(parts[:2] if parts[:1] == ["frontends"] else parts[:1])


def ours(module: Module) -> list[Import]:
    """Its imports from the package."""
    return [each for each in module.imports if each.top == PACKAGE]


def libraries(module: Module) -> list[Import]:
    """Its imports that are neither ours nor Python's own."""
    return [each for each in module.imports if each.top not in sys.stdlib_module_names and each.top != PACKAGE]


def wrong_arrows(module: Module) -> list[str]:
    """Its imports that point the wrong way."""
    return [
        f"{module.at(each.line)}: {module.room or 'the public face'} imports {each.module}"
        for each in ours(module)
        if (room := room_of(each)) != module.room and floor(room) >= floor(module.room)
    ]


def test_imports_point_one_way() -> None:
    """No room imports from its own floor or from one above."""
    assert [wrong for module in modules(PACKAGE) for wrong in wrong_arrows(module)] == []


@pytest.mark.parametrize(
    ("room", "imported", "wrong"),
    [
        ("decision.decide", "datagate.sql.guard", True),
        ("decision.decide", "datagate.model.names", False),
        ("verify.walk", "datagate.sql.dialect.nodes", True),
        ("verify.walk", "datagate.errors", False),
        ("model.names", "datagate.errors", True),
        ("frontends.driver.cursors", "datagate.frontends.cli", True),
        ("frontends.cli.statements", "datagate.frontends.driver", False),
        ("frontends.driver.cursors", "datagate.gate", False),
        ("frontends.orm.engine", "datagate.frontends.driver.lending", False),
        ("frontends.driver.lending", "datagate.frontends.orm", True),
        ("frontends.orm.session", "datagate.frontends.cli", True),
        ("sql.guard", "datagate", True),
    ],
)
def test_a_wrong_arrow_is_seen(room: str, imported: str, wrong: bool) -> None:
    """The reading of imports tells a wrong arrow from a right one."""
    module = Module(ROOT / "x.py", f"datagate.{room}", "", ast.Module([], []), (Import(imported, 1),))
    assert bool(wrong_arrows(module)) is wrong


def test_libraries_stay_in_their_rooms() -> None:
    """Each library is imported only by the rooms that it was chosen for: sqlglot by the rewriting layer, and so on."""
    strays = [
        f"{module.at(each.line)}: {module.room} imports {each.module}"
        for module in modules(PACKAGE)
        for each in libraries(module)
        if each.top not in LIBRARIES[module.room] | BORROWED.get(module.name, frozenset())
    ]
    assert strays == []


def test_nothing_is_borrowed_for_nothing() -> None:
    """Every exception to the rooms' libraries is still made use of."""
    by_name = {module.name: module for module in modules(PACKAGE)}
    for name, borrowed in BORROWED.items():
        assert borrowed <= {each.top for each in libraries(by_name[name])}, name


def test_every_library_is_declared() -> None:
    """What the package imports is among its dependencies; the package imports neither its tests nor its fixtures.

    A library of an extra of its own name is for modules that are named after it.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[^\w.-]", each)[0].lower() for each in project["dependencies"]}
    distributions = packages_distributions()
    for module in modules(PACKAGE):
        for each in libraries(module):
            if each.top in project["optional-dependencies"] and each.top in module.name.rpartition(".")[2]:
                continue
            name = REQUIRED_BY.get(each.top, each.top)
            found = {distribution.lower() for distribution in distributions.get(name, [])}
            assert found & declared, f"{module.at(each.line)}: {each.module} is not declared"


def test_pure_rooms_have_no_clock_and_no_way_out() -> None:
    """Model and decision import nothing that reads a file, a socket, the environment, the time or chance."""
    strays = []
    for module in modules(PACKAGE):
        if module.room not in PURE:
            continue
        strays += [
            f"{module.at(each.line)}: {each.module}"
            for each in module.imports
            if each.top not in PURE_STDLIB and each.top != PACKAGE
        ]
        for node in ast.walk(module.tree):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in CLOCKS | {"open", "exec", "eval", "__import__", "input", "print"}:
                strays.append(f"{module.at(node.lineno)}: {name}")  # type: ignore[attr-defined] # both have one
    assert strays == []


def test_the_twin_judges_by_itself() -> None:
    """The interpreter behind the redacted twin imports our nouns and nothing that decides or rewrites."""
    strays = [
        f"{module.at(each.line)}: {each.module}"
        for module in modules("tests/twin")
        if module.name not in THROUGH_THE_GATE and not module.path.name.startswith("test_")
        for each in ours(module)
        if room_of(each) not in {"model", "errors"}
    ]
    assert strays == []


def test_tests_stand_on_fixtures_and_not_the_other_way_round() -> None:
    """Fixtures import no tests and no benchmarks; benchmarks import no tests."""
    strays = [
        f"{module.at(each.line)}: {each.module}"
        for folder, forbidden in (("fixtures", {"tests", "benchmarks"}), ("benchmarks", {"tests"}))
        for module in modules(folder)
        for each in module.imports
        if each.top in forbidden
    ]
    assert strays == []
