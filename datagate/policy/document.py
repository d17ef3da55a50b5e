"""YAML with positions: the strict part of YAML that every reader understands alike.

Accepted are one document, mappings with text keys, sequences and scalars. Refused are aliases and anchors
(an alias can make a small file huge), tags (``!!python/...``), merge keys, duplicate keys (PyYAML keeps the last
one silently), and plain scalars that YAML 1.1 and YAML 1.2 read differently (``NO``, ``12:30``, ``0777``, ``1e3``)
or that become dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from datagate.model.source import SourceRef
from datagate.policy.report import Report

Plain = str | int | bool | Decimal | list["Plain"] | dict[str, "Plain"] | None
"""What a YAML value is without its positions."""

YAML_TAG = "tag:yaml.org,2002:"
MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 24


@dataclass(slots=True, kw_only=True)
class Node:
    """One YAML value, where it stands (``source``), and where its key stands (``key``; its own place without one)."""

    source: SourceRef
    key: SourceRef
    content: str | int | bool | Decimal | list[Node] | dict[str, Node] | None
    raw: str = field(default="", repr=False)

    def plain(self) -> Plain:
        """The value without positions."""
        if isinstance(self.content, dict):
            return {key: child.plain() for key, child in self.content.items()}
        if isinstance(self.content, list):
            return [child.plain() for child in self.content]
        return self.content

    def child(self, step: str | int) -> Node | None:
        """The entry of that key, or the item of that number; None if there is none."""
        if isinstance(self.content, dict) and isinstance(step, str):
            return self.content.get(step)
        if isinstance(self.content, list) and isinstance(step, int) and 0 <= step < len(self.content):
            return self.content[step]
        return None

    def at(self, *path: str | int) -> Node:
        """The node at the end of a path, or the last one that there is on the way."""
        node = self
        for step in path:
            node = node.child(step) or node
        return node

    def items(self) -> list[Node]:
        """The items of a sequence; any other value is a sequence of itself (``to: {role: analyst}``)."""
        return self.content if isinstance(self.content, list) else [self]

    def entries(self) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping; nothing for any other value."""
        if isinstance(self.content, dict):
            yield from self.content.items()

    def within(self, offset: int) -> SourceRef:
        """The place of a character of this text; the text's own place where an escape or folding hides it."""
        text = self.content
        if not isinstance(text, str) or not 0 <= offset <= len(text):
            return self.source
        start = self.raw.find(text)
        if start >= 0:
            before = self.raw[: start + offset]
        elif self.raw.startswith("|"):
            number = text.count("\n", 0, offset) + 1
            lines = self.raw.split("\n")
            line = text.split("\n")[number - 1]
            if number >= len(lines) or not lines[number].endswith(line):
                return self.source
            indent = len(lines[number]) - len(line)
            before = "\n" * number + " " * (indent + offset - (text.rfind("\n", 0, offset) + 1))
        else:
            return self.source
        down = before.count("\n")
        right = len(before) - (before.rfind("\n") + 1)
        column = right + 1 if down else self.source.column + right
        return SourceRef(self.source.file, self.source.line + down, column)


def read_document(raw: bytes, file: str, report: Report) -> Node | None:
    """Read one file; None, with the problem reported, where there is nothing to go on with."""
    top = SourceRef(file, 1, 1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report.add(_place(file, raw[: error.start].decode("utf-8")), "not UTF-8; save the file as UTF-8")
        return None
    if len(text) > MAX_CHARACTERS:
        report.add(top, f"longer than {MAX_CHARACTERS} characters; split it")
        return None
    root = _compose(text, file, report)
    if root is None:
        return None
    return _Reader(file, text, report).node(root, None)


def _place(file: str, before: str) -> SourceRef:
    """The place after a text."""
    return SourceRef(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _compose(text: str, file: str, report: Report) -> yaml.Node | None:
    try:
        loader = _Loader(text, file, report)
    except yaml.reader.ReaderError as error:
        report.add(_place(file, text[: error.position]), "a character that YAML does not allow; write it as an escape")
        return None
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        what = " ".join(part for part in (error.context, error.problem) if part)
        report.add(_of(file, mark), f"not YAML: {what}")
        return None
    except (ValueError, OverflowError):
        # PyYAML hands the number of a \U escape to chr() unchecked.
        report.add(_of(file, loader.get_mark()), "not YAML: no such character; mend the escape")
        return None
    finally:
        loader.dispose()
    if root is None:
        report.add(SourceRef(file, 1, 1), "the file is empty; remove it, or write a policy")
    return root


def _of(file: str, mark: yaml.Mark) -> SourceRef:
    return SourceRef(file, mark.line + 1, mark.column + 1)


class _Loader(yaml.SafeLoader):
    """PyYAML's composer without aliases, anchors and tags, and with an end to nesting."""

    def __init__(self, text: str, file: str, report: Report) -> None:
        super().__init__(text)
        self._file = file
        self._report = report
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        place = _of(self._file, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self._report.add(place, f"alias *{event.anchor}; write the value out")
            start: Any = event.start_mark
            return yaml.ScalarNode("tag:yaml.org,2002:str", "*", start, start, "'")
        if getattr(event, "anchor", None) is not None:
            self._report.add(place, f"anchor &{event.anchor}; remove it")
            event.anchor = None
        if getattr(event, "tag", None) is not None:
            self._report.add(place, f"YAML tag {event.tag.replace(YAML_TAG, '!!')}; remove it")
            event.tag = None
        if self._depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_NULL = frozenset({"null", "Null", "NULL", "~"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,37})", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,37})\.[0-9]{1,38}", re.ASCII)
_CORE_NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    re.ASCII,
)
_READ_AS = {
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:merge": "a merge key",
}
_UNSAFE = re.compile(r"[\x00\ud800-\udfff]")


class _Reader:
    """Turns PyYAML's nodes into ours."""

    def __init__(self, file: str, text: str, report: Report) -> None:
        self._file = file
        self._text = text
        self._report = report

    def node(self, node: yaml.Node, key: SourceRef | None) -> Node:
        source = _of(self._file, node.start_mark)
        out = Node(source=source, key=key or source, content=None)
        if isinstance(node, yaml.MappingNode):
            out.content = self._mapping(node)
        elif isinstance(node, yaml.SequenceNode):
            out.content = [self.node(item, None) for item in node.value]
        else:
            out.content = self._scalar(node, source)
            out.raw = self._text[node.start_mark.index : node.end_mark.index]
        return out

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = _of(self._file, key_node.start_mark)
            value = self.node(value_node, place)
            if not isinstance(key_node, yaml.ScalarNode):
                self._report.add(place, "a key that is not text; write a name")
                continue
            key = key_node.value
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._report.add(place, "merge key <<; write the entries out")
            elif _UNSAFE.search(key):
                self._report.add(place, "a key with a NUL or half a surrogate pair; write a name")
            elif key in entries:
                self._report.add(place, f"duplicate key {key!r} (first on line {entries[key].key.line}); remove one")
            else:
                entries[key] = value
        return entries

    def _scalar(self, node: yaml.Node, source: SourceRef) -> str | int | bool | Decimal | None:
        text: str = node.value
        if _UNSAFE.search(text):
            self._report.add(source, "text with a NUL or half a surrogate pair; remove it")
            return _UNSAFE.sub("?", text)
        if getattr(node, "style", None) is not None:
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            return Decimal(text)
        self._ambiguous(text, node.tag, source)
        return text

    def _ambiguous(self, text: str, tag: str, source: SourceRef) -> None:
        """Report a plain scalar that not all readers take for text."""
        if text == "":
            self._report.add(source, "no value here; write one, or remove the key")
        elif tag in _READ_AS or text in {"y", "Y", "n", "N"}:
            read_as = _READ_AS.get(tag, "true or false")
            self._report.add(source, f"YAML reads {text} as {read_as}; quote it: '{text}'")
        elif tag != "tag:yaml.org,2002:str" or _CORE_NUMBER.fullmatch(text):
            self._report.add(source, f"some YAML readers take {text} for a number; quote it: '{text}'")
