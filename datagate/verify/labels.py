"""The name that PostgreSQL gives an output column without one (src/backend/parser/parse_target.c, FigureColname)."""

from __future__ import annotations

from typing import Final

from datagate.verify.tree import Tree, kind_of, strings

_BY_KIND: Final = {
    "A_ArrayExpr": "array",
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action",
    "RowExpr": "row",
}
_UNNAMED: Final = "?column?"


def label_of(node: Tree) -> str | None:
    """The name of an item of a select list or of RETURNING; None where it is not worked out here."""
    kind = kind_of(node)
    body = node.get(kind, {})
    if kind == "ColumnRef":
        path = strings(body["fields"])
        return path[-1] if len(path) == len(body["fields"]) else None
    if kind == "FuncCall":
        return strings(body["funcname"])[-1]
    if kind == "TypeCast":
        inner = label_of(body["arg"])
        return inner if inner not in (None, _UNNAMED) else strings(body["typeName"]["names"])[-1]
    if kind == "CollateClause":
        return label_of(body["arg"])
    if kind in ("A_Const", "ParamRef", "BoolExpr", "NullTest", "BooleanTest"):
        return _UNNAMED
    if kind == "A_Expr":
        return "nullif" if body["kind"] == "AEXPR_NULLIF" else _UNNAMED
    if kind == "CaseExpr":
        inner = label_of(body.get("defresult", {}))
        return inner if inner not in (None, _UNNAMED) else "case"
    if kind == "MinMaxExpr":
        return "greatest" if body["op"] == "IS_GREATEST" else "least"
    return _BY_KIND.get(kind)
