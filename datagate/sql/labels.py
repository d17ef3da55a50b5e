"""The name that PostgreSQL gives an output column without one (src/backend/parser/parse_target.c, FigureColname)."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.nodes import Call, KeywordCall, TypeName

_NAMED_AFTER = frozenset({"COALESCE", "GREATEST", "LEAST", "NULLIF", "GROUPING", "MERGE_ACTION"})


def label_of(node: exp.Expression) -> str | None:
    """The name of an item of a select list or of RETURNING; None where it is not worked out here.

    >>> from datagate.sql.dialect import parse_canonical
    >>> [label_of(item) for item in parse_canonical("SELECT a.b, f(x), x::pg_catalog.int4, (b)").expressions]
    ['b', 'f', 'x', 'b']
    """
    if isinstance(node, exp.Alias):
        return str(node.alias)
    if isinstance(node, exp.Paren):
        return label_of(node.this)
    if isinstance(node, exp.Column):
        return None if isinstance(node.this, exp.Star) else str(node.name)
    if isinstance(node, Call):
        return str(node.name)
    if isinstance(node, KeywordCall):
        return str(node.this).lower() if node.this in _NAMED_AFTER else None
    if isinstance(node, exp.Cast):
        inner = label_of(node.this)
        if inner is not None:
            return inner
        to = node.args["to"]
        return to.internal if isinstance(to, TypeName) and isinstance(node.this, exp.Literal | exp.Parameter) else None
    if isinstance(node, exp.Literal | exp.Parameter | exp.Binary) and not isinstance(node, exp.Dot):
        return "?column?"
    return None
