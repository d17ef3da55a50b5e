"""The project's own source, as the house rules read it: modules, what they import, and where."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "datagate"


@dataclass(frozen=True, slots=True)
class Import:
    """One import of one module: its full dotted name, and the line."""

    module: str
    line: int

    @property
    def top(self) -> str:
        """The first word of the name."""
        return self.module.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Module:
    """One source file."""

    path: Path
    name: str
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def lines(self) -> int:
        """How long it is."""
        return self.text.count("\n")

    @property
    def room(self) -> str:
        """Which room of the house it is in; each frontend is a room of its own; '' for the public face."""
        parts = self.name.split(".")[1:]
        return ".".join(parts[:2] if parts[:1] == ["frontends"] else parts[:1])

    def at(self, line: int) -> str:
        """A place in it, as an editor takes it."""
        return f"{self.path.relative_to(ROOT)}:{line}"


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every module below these folders of the checkout."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Module:
    text = path.read_text("utf-8")
    tree = ast.parse(text, str(path))
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    name = ".".join(package if parts[-1] == "__init__" else parts)
    return Module(path, name, text, tree, tuple(_imports(tree, package)))


def _imports(tree: ast.Module, package: tuple[str, ...]) -> list[Import]:
    """What a module imports, wherever in it; relative names made absolute."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*home, *([node.module] if node.module else [])])
            found += [Import(_submodule(module, alias.name) or module, node.lineno) for alias in node.names]
    return found


def _submodule(package: str, name: str) -> str | None:
    """``from package import name`` imports a module where there is one of that name."""
    folder = ROOT.joinpath(*package.split("."))
    if (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists():
        return f"{package}.{name}"
    return None
