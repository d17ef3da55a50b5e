"""Which columns of guards a statement can name at all: the others are left out, so that texts and plans stay small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from datagate.sql.dialect.nodes import Call, JoinGroup
from datagate.sql.inventory import Reference


def named_columns(
    nodes: Iterable[exp.Expr], references: Sequence[Reference], more: frozenset[str]
) -> frozenset[str] | None:
    """Every name that could mean a column of a guard; None where columns are meant without being named.

    ``more``: names that the rewriting itself will use.
    """
    aliases = {reference.alias for reference in references}
    names = set(more)
    for node in nodes:
        if isinstance(node, exp.Identifier):
            names.add(node.name)
        elif _names_all(node, aliases):
            return None
    return frozenset(names)


def _names_all(node: exp.Expr, aliases: set[str]) -> bool:
    """Whether the node means columns without naming them: ``*``, NATURAL, a whole row, columns renamed by position."""
    match node:
        case exp.TableAlias():
            return bool(node.args.get("columns")) and isinstance(node.parent, exp.Table | JoinGroup)
        case exp.Star():
            return not isinstance(node.parent, Call)
        case exp.Join():
            return (node.method or "").upper() == "NATURAL"
        case exp.Column():
            return not node.table and node.name in aliases
        case _:
            return False
