"""Reads PostgreSQL's own text of an expression that it has parsed: ``pg_node_tree`` (src/backend/nodes/outfuncs.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[{}()]|(?:\\.|[^\s{}()\\])+", re.DOTALL)

# Where a node says the type of its value; a relabelled or coerced value says it of itself, after its argument.
_TYPE_FIELDS = (
    "vartype", "consttype", "paramtype", "funcresulttype", "opresulttype", "resulttype", "casetype", "coalescetype",
    "minmaxtype", "array_typeid", "row_typeid", "refrestype", "type", "typeId",
)  # fmt: skip
_BOOLEAN = 16
_BOOLEAN_NODES = frozenset(
    {"BOOLEXPR", "NULLTEST", "BOOLEANTEST", "SCALARARRAYOPEXPR", "DISTINCTEXPR", "ROWCOMPAREEXPR"}
)


@dataclass(slots=True)
class Node:
    """One node: its kind in capitals, and each field's values as they stand, words or nodes."""

    kind: str
    fields: dict[str, list[str | Node]] = field(default_factory=dict)

    def word(self, name: str) -> str | None:
        """The field's value where it is one word."""
        value = self.fields.get(name, [])
        return value[0] if len(value) == 1 and isinstance(value[0], str) else None

    @property
    def type_oid(self) -> int | None:
        """The OID of the value's type; None where the node does not say."""
        if self.kind in _BOOLEAN_NODES:
            return _BOOLEAN
        for name in _TYPE_FIELDS:
            word = self.word(name)
            if word is not None and word.isdigit():
                return int(word)
        return None

    def walk(self) -> Iterator[Node]:
        """The node and all below it."""
        yield self
        for values in self.fields.values():
            for value in values:
                if isinstance(value, Node):
                    yield from value.walk()


def read_node_tree(text: str) -> Node:
    """The tree of a ``pg_node_tree`` text; ValueError where it is none.

    >>> read_node_tree("{COERCEVIAIO :arg {VAR :varno 1 :vartype 701} :resulttype 25}").fields["arg"][0].type_oid
    701
    """
    tokens = iter(_TOKEN.findall(text))
    if next(tokens, None) != "{":
        raise ValueError("not a pg_node_tree of one node")
    node = _node(tokens)
    if next(tokens, None) is not None:
        raise ValueError("a pg_node_tree with more behind it")
    return node


def _node(tokens: Iterator[str]) -> Node:
    node = Node(next(tokens, ""))
    values: list[str | Node] = []
    for word in tokens:
        if word == "}":
            return node
        if word == "{":
            values.append(_node(tokens))
        elif word.startswith(":"):
            values = node.fields.setdefault(word[1:], [])
        elif word not in "()":
            values.append(word)
    raise ValueError("a pg_node_tree that ends within a node")
