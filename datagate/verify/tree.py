"""Reads a text with PostgreSQL's own parser into plain dicts, without the positions in the text.

libpg_query's JSON output writes a node in a place that takes any node as ``{"Kind": {field: value, ...}}``, a node in a
place that takes one kind only as ``{field: value, ...}``, a null pointer in a list as ``{}``, an enum as its name, and
leaves out every field that is zero, false or null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from postgast import native

from datagate.verify.mismatch import Mismatch, MismatchKind, too_deep

Tree = dict[str, Any]

_MORE_POSITIONS = frozenset({"list_start", "list_end", "rexpr_list_start", "rexpr_list_end", "name_location"})
"""Besides ``location``, what says where in the text a node stood: integers. Keys are always names of fields, never the
caller's. None of these comes without ``location``; if one did, trees would differ that are equal, not the reverse."""


QUERIES = frozenset({"SelectStmt"})
WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def read(text: str, kinds: frozenset[str] = QUERIES) -> Tree:
    """The one statement in the text, as ``{"SelectStmt": {...}}``; Mismatch where it is not exactly one of the kinds.

    The parser reads string literals as with ``standard_conforming_strings = on``, so the session must have that.
    """
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise _not_read("it holds half of a surrogate pair") from None
    if b"\0" in raw:
        raise _not_read("it holds a NUL character")
    result = native.lib.pg_query_parse(raw)
    try:
        if result.error:
            raise _not_read(result.error.contents.message.decode("utf-8", "replace"))
        parsed: Tree = json.loads(result.parse_tree, object_hook=_without_positions)
    except RecursionError:
        raise too_deep() from None
    finally:
        native.lib.pg_query_free_parse_result(result)
    statements = parsed["stmts"]
    if len(statements) != 1:
        raise _not_read(f"it holds {len(statements)} statements, not one")
    statement: Tree = statements[0]["stmt"]
    if kind_of(statement) not in kinds:
        raise _not_read("it is of a kind that is not carried")
    return statement


def _without_positions(node: Tree) -> Tree:
    if "location" in node:
        del node["location"]
        if not _MORE_POSITIONS.isdisjoint(node):
            for field in _MORE_POSITIONS:
                node.pop(field, None)
    return node


def _not_read(why: str) -> Mismatch:
    return Mismatch(f"the text cannot be verified: {why}", MismatchKind.STATEMENT)


def kind_of(node: Tree) -> str:
    """The kind of a node that stands where any node may; the empty string for a null pointer."""
    return next(iter(node), "")


def strings(nodes: Sequence[Tree]) -> list[str]:
    """The names in a list of String nodes, up to the first that is none (the star of ``t.*``)."""
    return [node["String"]["sval"] for node in takewhile(lambda node: "String" in node, nodes)]


def bodies(tree: Tree, kind: str) -> Iterator[Tree]:
    """The bodies of all nodes of one kind, at any depth, that stand where any node may."""
    todo: list[Any] = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            if kind in item:
                yield item[kind]
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
