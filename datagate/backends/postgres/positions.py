"""Where in a caller's text something is named, for messages: drivers and shells point at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datagate.backends.postgres.engine import parse_tree


def position_of(text: str, schema: str | None, name: str) -> int | None:
    """Where a relation is named first, in characters from one; None where PostgreSQL does not tell it (COPY).

    Raises:
        StatementSyntaxError: The text is no statement.
    """
    places = list(_places(parse_tree(text), schema, name))
    return len(text.encode()[: min(places)].decode("utf-8", "replace")) + 1 if places else None


def _places(node: Any, schema: str | None, name: str) -> Iterator[int]:
    """The places of all of that name, counted in bytes from zero."""
    if isinstance(node, dict):
        if node.get("relname") == name and node.get("schemaname") == schema and "catalogname" not in node:
            yield node.get("location", 0)
        for key, value in node.items():
            if key != "CopyStmt":
                yield from _places(value, schema, name)
    elif isinstance(node, list):
        for item in node:
            yield from _places(item, schema, name)
