"""Hold a document against its shape; say what is wrong in a steward's words, each at its place.

What is wrong is cut out and the rest validated again, so that the checks of meaning see as much as they can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from datagate.policy.document import MAX_DEPTH, Node
from datagate.policy.report import Report, suggestion
from datagate.policy.shapes import MaskShape, Shape

S = TypeVar("S", bound=Shape)
Path = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Validated(Generic[S]):
    """A shape and the node it came from, both without what was wrong; ``cut`` are the paths of that."""

    shape: S
    node: Node
    cut: frozenset[Path]

    def lost(self, *start: str) -> bool:
        """Whether something below that path was cut out, so that a name missing there is no news."""
        return any(path[: len(start)] == start for path in self.cut)


def validate(kind: type[S], node: Node, report: Report) -> Validated[S] | None:
    """The document as a shape; None where too much is wrong. Problems go to the report."""
    cut: set[Path] = set()
    for attempt in range(MAX_DEPTH):
        try:
            shape = kind.model_validate(node.plain())
        except ValidationError as error:
            faults = error.errors(include_url=False)
            if attempt == 0:
                for fault in faults:
                    _report(fault, node, report)
            paths = {_resolve(node, fault["loc"]) for fault in faults}
            if () in paths:
                return None
            _cut(node, paths)
            cut |= paths
        else:
            return Validated(shape, node, frozenset(cut))
    return None


def _resolve(node: Node, loc: Sequence[int | str]) -> Path:
    """The path of the innermost node that there is; pydantic's own steps (``<tag>``, ``[key]``) are left out."""
    path: list[int | str] = []
    for step in loc:
        child = node.child(step)
        if child is not None:
            path.append(step)
            node = child
    return tuple(path)


def _cut(node: Node, paths: set[Path]) -> None:
    """Remove the nodes at these paths."""
    for parent, child in [(node.at(*path[:-1]), node.at(*path)) for path in paths]:
        if isinstance(parent.content, dict):
            parent.content = {key: entry for key, entry in parent.content.items() if entry is not child}
        elif isinstance(parent.content, list):
            parent.content = [item for item in parent.content if item is not child]


def _report(fault: Any, root: Node, report: Report) -> None:
    path = _resolve(root, fault["loc"])
    node = root.at(*path)
    at_key = fault["type"] in {"unknown_key", "no_value"} or fault["loc"][-1:] == ("[key]",)
    report.add(node.key if at_key else node.source, _words(fault))


_PATTERNS = {
    r"^[A-Za-z][A-Za-z0-9_.\-]*$": "is not a name; begin with a letter, go on with letters, digits, '_', '-', '.'",
    r"^[A-Za-z_][A-Za-z0-9_\-]*$": "is not the name of a key; use letters, digits, '_' and '-'",
    r"^[a-z_][a-z0-9_]*$": "is not a word; use small letters, digits and '_'",
    r"^[^.\s][^.]*\.[^.]*[^.\s]$": "is not of the form schema.name; write both parts",
}
_WANTED = {
    "list_type": "a list is wanted here: [a, b]",
    "dict_type": "a mapping is wanted here: {key: value}",
    "model_type": "a mapping is wanted here: {key: value}",
    "bool_type": "true or false is wanted here",
    "int_type": "a whole number is wanted here",
    "too_short": "empty; remove the key, or write an entry",
    "string_too_short": "empty text; write something",
}


MASKS_WITH_OPTIONS = frozenset(field.alias or name for name, field in MaskShape.model_fields.items())


def _words(fault: Any) -> str:
    kind, value, about = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        return f"{fault['loc'][-1]!r} is missing; write it"
    if kind == "literal_error" and value in MASKS_WITH_OPTIONS and "zip3" in about["expected"]:
        return f"{value} needs its option; write {{{value}: …}}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", about["expected"]) or [about["expected"].lower()]
        return f"{_short(value)} is not possible here; {suggestion(str(value), known, 'possible')}"
    if kind == "string_type":
        if isinstance(value, bool | int | Decimal):
            return f"text is wanted here; quote it: '{str(value).lower() if isinstance(value, bool) else value}'"
        return f"text is wanted here, not {_kind_of(value)}"
    if kind == "string_pattern_mismatch":
        return f"{_short(value)} {_PATTERNS[about['pattern']]}"
    if kind in _WANTED:
        return _WANTED[kind]
    return str(fault["msg"]).replace("Input should", "the value should")


def _short(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else "a mapping"
