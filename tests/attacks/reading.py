"""Reads the register: one YAML file for each class of attack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

UNSUPPORTED = "0A000"
REGISTER = Path(__file__).parent / "register"


@dataclass(frozen=True, slots=True)
class Statement:
    """One attack.

    ``steps``: the statements, on one connection; the last is judged. ``sqlstate``: how it is refused, empty where it
    passes and gives nothing away. ``near``: for a refusal, what is all but the same and passes. ``xml``: what it runs
    needs a server that is built with libxml; others answer with UNSUPPORTED.
    """

    steps: tuple[str, ...]
    parameters: tuple[Any, ...] | None
    callers: tuple[str, ...]
    sqlstate: str
    near: Statement | None
    xml: bool = False

    def meant(self, *, xml: bool) -> str:
        """How it is refused by a server with or without libxml; empty where it passes."""
        return UNSUPPORTED if self.xml and not xml else self.sqlstate


@dataclass(frozen=True, slots=True)
class Attack:
    """A class of attacks: what it is, why it would work, and what stands against it."""

    number: int
    name: str
    what: str
    why: str
    defence: str
    statements: tuple[Statement, ...]


def read(path: Path) -> Attack:
    """One file of the register; ValueError for one that is not of its form."""
    document = yaml.safe_load(path.read_text("utf-8"))
    number, _, name = path.stem.partition("-")
    if set(document) != {"what", "why", "defence", "as", "statements"}:
        raise ValueError(f"{path.name}: {sorted(document)}")
    statements = tuple(_statement(path, entry, document["as"]) for entry in document["statements"])
    return Attack(int(number), name, document["what"], document["why"], document["defence"], statements)


def _statement(path: Path, entry: Any, callers: list[str]) -> Statement:
    if isinstance(entry, str):
        entry = {"passes": entry}
    given = set(entry) - {"with", "as", "needs"}
    refused = str(entry.get("sqlstate", ""))
    wanted = {"refused", "sqlstate", "near"} if refused else {"passes"}
    if given != wanted or entry.get("needs", "xml") != "xml":
        raise ValueError(f"{path.name}: {entry}")
    text = entry["refused" if refused else "passes"]
    return Statement(
        steps=tuple(text) if isinstance(text, list) else (text,),
        parameters=tuple(entry["with"]) if "with" in entry else None,
        callers=tuple(entry.get("as", callers)),
        sqlstate=refused,
        near=_statement(path, entry["near"], callers) if refused else None,
        xml="needs" in entry,
    )


def read_all() -> tuple[Attack, ...]:
    """The whole register, by number."""
    return tuple(read(path) for path in sorted(REGISTER.glob("*.yaml")))
