"""Functions that look a catalog object up by its OID: allowed where the OID is held to a guarded catalog."""

from __future__ import annotations

from collections.abc import Sequence

from datagate.model.lookup import Lookup
from datagate.verify.tree import Tree, kind_of, strings


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


def reads_oids(node: Tree, lookup: Lookup, *, several: bool) -> bool:
    """Whether an expression gives nothing but OIDs that are read from the catalog, or NULL.

    Such are ``(SELECT c.oid FROM …, pg_catalog.pg_class AS c …)``, ``ARRAY(SELECT c.oid …)`` where they are
    ``several``, and CASE of nothing else.
    """
    match node:
        case {"CaseExpr": {"args": arms, **rest}} if rest.keys() <= {"arg"}:
            return all(reads_oids(arm["CaseWhen"]["result"], lookup, several=several) for arm in arms)
        case {"SubLink": {"subLinkType": kind, "subselect": {"SelectStmt": select}, **rest}} if not rest:
            wanted = "ARRAY_SUBLINK" if several else "EXPR_SUBLINK"
            return bool(kind == wanted) and _selects_oid(select, lookup)
        case _:
            return False


def _selects_oid(select: Tree, lookup: Lookup) -> bool:
    """Whether the one output column is the OID column of the catalog, under a name that nothing else there has."""
    if select.get("op", "SETOP_NONE") != "SETOP_NONE" or len(select.get("targetList", ())) != 1:
        return False
    fields = select["targetList"][0]["ResTarget"]["val"].get("ColumnRef", {}).get("fields", ())
    items = _items(select.get("fromClause", ()))
    if items is None or len(fields) != 2 or len(strings(fields)) != 2:
        return False
    alias, column = strings(fields)
    named = [item for item in items if _alias(item) == alias]
    match named:
        case [{"RangeVar": {"schemaname": schema, "relname": name, "alias": own}}]:
            catalog = (schema, name) == (lookup.relation.schema, lookup.relation.name)
            return catalog and own.keys() == {"aliasname"} and column == lookup.column
        case _:
            return False


def _items(nodes: Sequence[Tree]) -> list[Tree] | None:
    """The items of a FROM, those of joins among them; None where a join has a name of its own."""
    found: list[Tree] = []
    for node in nodes:
        join = node.get("JoinExpr")
        if join is None:
            found.append(node)
            continue
        sides = _items([join["larg"], join["rarg"]])
        if sides is None or join.keys() & {"alias", "join_using_alias"}:
            return None
        found += sides
    return found


def _alias(item: Tree) -> str | None:
    body = item[kind_of(item)]
    name = body.get("alias", {}).get("aliasname", body.get("relname"))
    return name if isinstance(name, str) else None


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
