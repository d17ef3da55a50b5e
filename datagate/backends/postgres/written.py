"""Which parameters of a statement may come to stand in a table, by the engine's own parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from datagate.backends.postgres.engine import Tree, parse_tree
from datagate.backends.postgres.statements import WRITES
from datagate.errors import DatagateError

Written = tuple[tuple[int, str], ...]
"""Numbers of parameters (``$n``), each with the name of its column, or of its table where several are thinkable."""

_WORD = re.compile(r"\b(?:insert|update|delete|merge)\b", re.IGNORECASE)
# What is compared, counted or sorted by is not written.
_CONDITIONS = frozenset(
    {"whereClause", "havingClause", "quals", "joinCondition", "limitCount", "limitOffset", "sortClause", "condition"}
)
_KEPT_LENGTH = 8192


def written(text: str) -> Written:
    """The parameters whose values a statement may write.

    In a statement that writes in its WITH, those of its queries count too. A text that does not parse has none, as it
    is not sent.

    >>> written("UPDATE t SET a = upper($2) WHERE b = $1")
    ((2, 't.a'),)
    """
    if _WORD.search(text) is None:
        return ()
    return _kept(text) if len(text) <= _KEPT_LENGTH else _read(text)


def _read(text: str) -> Written:
    try:
        statements = parse_tree(text)["stmts"]
    except DatagateError:
        return ()
    found: dict[int, str] = {}
    for statement in statements:
        tree = statement["stmt"]
        if any(True for _ in _writing(tree)):
            for node, body in _writing(tree):
                for number, name in _named(node, body):
                    found.setdefault(number, name)
            table = next(name for node, body in _writing(tree) if (name := _table(body)))
            for number in _numbers(tree):
                found.setdefault(number, table)
    return tuple(sorted(found.items()))


_kept = lru_cache(maxsize=512)(_read)


def _writing(node: Any) -> Iterator[tuple[str, Tree]]:
    """The statements in a tree that write."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in WRITES:
                yield key, value
            yield from _writing(value)
    elif isinstance(node, list):
        for each in node:
            yield from _writing(each)


def _table(body: Tree) -> str:
    relation: str = body.get("relation", {}).get("relname", "")
    return relation


def _named(node: str, body: Tree) -> Iterator[tuple[int, str]]:
    """The parameters that plainly belong to a column."""
    table = _table(body)
    targets = body.get("targetList", []) if node == "UpdateStmt" else []
    targets = targets + body.get("onConflictClause", {}).get("targetList", [])
    for target in targets:
        column = target["ResTarget"]
        for number in _numbers(column.get("val", {})):
            yield number, f"{table}.{column.get('name', '')}"
    columns = [each["ResTarget"]["name"] for each in body.get("cols", ())] if node == "InsertStmt" else []
    for values in body.get("selectStmt", {}).get("SelectStmt", {}).get("valuesLists", ()) if columns else ():
        for name, value in zip(columns, values["List"]["items"], strict=False):
            for number in _numbers(value):
                yield number, f"{table}.{name}"


def _numbers(node: Any) -> Iterator[int]:
    """The parameters below a node, but for those in conditions."""
    if isinstance(node, dict):
        if "ParamRef" in node:
            yield node["ParamRef"].get("number", 0)
        for key, value in node.items():
            if key not in _CONDITIONS:
                yield from _numbers(value)
    elif isinstance(node, list):
        for each in node:
            yield from _numbers(each)
