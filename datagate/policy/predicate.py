"""What this room asks of an engine about a steward's SQL, and what it checks itself: the names in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from datagate.model.policy import Predicate
from datagate.model.source import SourceRef
from datagate.policy.document import Node
from datagate.policy.report import Report, suggestion


class PredicateFault(ValueError):
    """A steward's SQL cannot be used; ``offset`` counts characters of its text from zero."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


@dataclass(frozen=True, slots=True)
class PredicateParts:
    """The names in one SQL expression, each list in order of first appearance and without repeats.

    ``placeholders`` without the colon (``principal.regions``); ``columns`` as the catalog keeps them (folded,
    unquoted); ``functions`` as they are called, with or without a schema (``lower``, ``bank.risk``).
    """

    placeholders: tuple[str, ...]
    columns: tuple[str, ...]
    functions: tuple[str, ...]


class PredicateReader(Protocol):
    """Reads one SQL expression over a row's own columns.

    It raises PredicateFault for what is not exactly one expression, and for what an expression in a policy
    may not hold: subqueries, aggregates, windows, parameters of another spelling, columns with a qualifier.
    Whether a function without a schema is one of the engine's pure built-in ones, ``check_functions`` asks the catalog.
    """

    def read(self, text: str) -> PredicateParts:
        """Name what the expression uses."""
        ...


BUILT_IN = frozenset({"principal.id", "actor.id", "actor.kind", "purpose", "now"})
"""The placeholders that every caller and statement has; attributes and mandate parameters come on top."""


@dataclass(frozen=True, slots=True)
class NamesInSight:
    """What one expression may name.

    ``attributes``, ``parameters`` None: an expression without placeholders (a mask); ``unsure``: some
    declaration was wrong itself, so that an unknown name is no news.
    """

    columns: Iterable[str]
    functions: Iterable[str]
    attributes: Iterable[str] | None
    parameters: Iterable[str] | None
    unsure: bool = False


def read_predicate(
    text: str, node: Node, names: NamesInSight, reader: PredicateReader, report: Report
) -> Predicate | None:
    """Read and check one expression; None, with the problem reported, if it cannot be read."""
    try:
        parts = reader.read(text)
    except PredicateFault as fault:
        report.add(node.within(fault.offset), f"{fault.message}; mend the expression")
        return None
    if not names.unsure:
        for name, what in _unknown(parts, names):
            report.add(_place_of(name, text, node), what)
    return Predicate(text=text, placeholders=parts.placeholders, columns=parts.columns, source=node.source)


def _place_of(name: str, text: str, node: Node) -> SourceRef:
    """Where a name stands, if it stands only once."""
    found = list(re.finditer(rf"(?<![\w$.]){re.escape(name)}(?![\w$])", text))
    return node.within(found[0].start()) if len(found) == 1 else node.source


def _unknown(parts: PredicateParts, names: NamesInSight) -> Iterable[tuple[str, str]]:
    columns, functions = set(names.columns), set(names.functions)
    for column in parts.columns:
        if column not in columns:
            yield column, f"unknown column {column!r}; {suggestion(column, columns)}"
    for function in parts.functions:
        if "." in function and function not in functions and not function.startswith("pg_catalog."):
            yield function, f"function {function!r} is not allowed; list it under functions in datagate.yaml"
    for placeholder in parts.placeholders:
        fault = _placeholder_fault(placeholder, names)
        if fault is not None:
            yield f":{placeholder}", fault


def _placeholder_fault(placeholder: str, names: NamesInSight) -> str | None:
    if names.attributes is None:
        return f"placeholder :{placeholder} in a mask; a mask reads the row's own columns only"
    if placeholder in BUILT_IN:
        return None
    party, _, name = placeholder.partition(".")
    if party in {"principal", "actor"} and name:
        if name in names.attributes:
            return None
        return f"unknown attribute :{placeholder}; {suggestion(name, names.attributes)}"
    if party == "mandate" and name:
        if names.parameters is None:
            return f"placeholder :{placeholder} outside of a scope; only the rows of a scope may read its mandate"
        if name in names.parameters:
            return None
        return f"unknown parameter :{placeholder}; {suggestion(name, names.parameters)}"
    known = {*BUILT_IN, *(f"principal.{attribute}" for attribute in names.attributes)}
    return f"unknown placeholder :{placeholder}; {suggestion(placeholder, known)}"
