"""Functions that look a catalog object up by its OID: allowed where the OID is held to a guarded catalog."""

from __future__ import annotations

from collections.abc import Sequence

from datagate.model.lookup import Lookup
from datagate.verify.tree import Tree, kind_of


def condition(lookup: Lookup, held: Sequence[Tree], guard: Tree) -> Tree:
    """The tree of ``(oid IN (SELECT c.column FROM (guard) AS c)) IS NOT TRUE``, where c is the catalog's own name.

    With two that are held, of ``((oid, number) IN (SELECT c.column, c.other …)) IS NOT TRUE``.
    """
    name = lookup.relation.name
    columns = [lookup.column, *([lookup.also[1]] if lookup.also is not None else [])]
    query = {
        "targetList": [_target(name, column) for column in columns],
        "fromClause": [{"RangeSubselect": {"subquery": guard, "alias": {"aliasname": name}}}],
        "limitOption": "LIMIT_OPTION_DEFAULT",
        "op": "SETOP_NONE",
    }
    tested = held[0] if len(held) == 1 else {"RowExpr": {"args": list(held), "row_format": "COERCE_IMPLICIT_CAST"}}
    within = {"SubLink": {"subLinkType": "ANY_SUBLINK", "testexpr": tested, "subselect": {"SelectStmt": query}}}
    return {"BooleanTest": {"arg": within, "booltesttype": "IS_NOT_TRUE"}}


def _target(relation: str, column: str) -> Tree:
    fields = [{"String": {"sval": relation}}, {"String": {"sval": column}}]
    return {"ResTarget": {"val": {"ColumnRef": {"fields": fields}}}}


def by_name(parameter: Tree) -> Tree:
    """The tree of ``pg_catalog.to_regclass($n::pg_catalog.text)``: stable, so the same twice within a statement."""
    system = {"String": {"sval": "pg_catalog"}}
    text = {"names": [system, {"String": {"sval": "text"}}], "typemod": -1}
    name = [system, {"String": {"sval": "to_regclass"}}]
    argument = {"TypeCast": {"arg": parameter, "typeName": text}}
    return {"FuncCall": {"funcname": name, "args": [argument], "funcformat": "COERCE_EXPLICIT_CALL"}}


def is_constant_in_row(node: Tree) -> bool:
    """Whether an expression gives the same value when it is computed twice: made of columns and constants."""
    kind = kind_of(node)
    body = node.get(kind, {})
    if kind in ("ColumnRef", "A_Const", "ParamRef"):
        return True
    if kind == "TypeCast":
        return is_constant_in_row(body["arg"])
    if kind == "A_Indirection":
        steps = [step.get("A_Indices", {}).get("uidx", {}) for step in body["indirection"] if "A_Indices" in step]
        return is_constant_in_row(body["arg"]) and all(is_constant_in_row(step) for step in steps)
    return False
