"""The engine's own views over its catalogs (information_schema, pg_tables …), made fit to be expanded over guards.

Each is expanded like a user's view, from the server's own definition, so that it says what the guarded catalogs below
it let it say. Tests of privileges are left out: they would speak of the service role's, and what the caller may see is
already decided. Views that list privileges are not here, so they are denied.
"""

from __future__ import annotations

from typing import Any

from datagate.backends.postgres.engine import Tree, deparse, parse_tree
from datagate.model.catalog import Relation

ENGINE_VIEWS = frozenset(
    {f"pg_catalog.{name}" for name in ("pg_tables", "pg_views", "pg_indexes", "pg_matviews")}
    | {
        f"information_schema.{name}"
        for name in (
            "tables", "columns", "views", "schemata", "key_column_usage", "table_constraints",
            "referential_constraints", "constraint_column_usage", "constraint_table_usage", "check_constraints",
            "routines", "parameters", "sequences", "domains", "domain_constraints", "column_udt_usage",
            "column_domain_usage", "character_sets", "collations",
        )
    }
)  # fmt: skip
"""The views that are expanded; others are denied."""

VIEW_FUNCTIONS = frozenset(
    f"information_schema._pg_{name}"
    for name in (
        "char_max_length", "char_octet_length", "numeric_precision", "numeric_precision_radix", "numeric_scale",
        "datetime_precision", "interval_type", "expandarray",
    )
)  # fmt: skip
"""Immutable functions that the views call: nothing but their arguments goes in."""

_REGCLASS = {"String": {"sval": "regclass"}}
_PRIVILEGES = frozenset(
    """
    pg_has_role has_table_privilege has_any_column_privilege has_column_privilege has_sequence_privilege
    has_schema_privilege has_function_privilege has_type_privilege has_server_privilege
    has_foreign_data_wrapper_privilege
    """.split()
)


def is_engine_view(relation: Relation) -> bool:
    """Whether a relation is one of them; anybody may see it, since all below it is guarded."""
    return str(relation.name) in ENGINE_VIEWS


def fit(definition: str) -> str:
    """A view's own text (pg_get_viewdef), with every catalog qualified and without what the caller has no use for."""
    tree = parse_tree(definition)
    fitted = _fit(tree["stmts"][0], frozenset())
    return deparse({"stmts": [fitted]})


def _fit(node: Any, ctes: frozenset[str]) -> Any:
    if isinstance(node, list):
        return [_fit(item, ctes) for item in node]
    if not isinstance(node, dict):
        return node
    if "withClause" in node:
        ctes |= {item["CommonTableExpr"]["ctename"] for item in node["withClause"]["ctes"]}
    if node.keys() == {"RangeVar"}:
        variable = node["RangeVar"]
        if variable["relname"] == "pg_authid":
            # Of its columns the views show only names, which pg_roles has too.
            return {"RangeVar": {**variable, "schemaname": "pg_catalog", "relname": "pg_roles"}}
        if "schemaname" not in variable and variable["relname"] not in ctes:
            return {"RangeVar": {"schemaname": "pg_catalog", **variable}}
        return node
    fitted = {key: _fit(value, ctes) for key, value in node.items()}
    if fitted.keys() == {"TypeCast"} and fitted["TypeCast"]["typeName"]["names"][-1] == _REGCLASS:
        # An OID goes where a regclass is wanted without a cast.
        inner: Tree = fitted["TypeCast"]["arg"]
        return fitted if "A_Const" in inner else inner
    return _call(fitted) if fitted.keys() == {"FuncCall"} else fitted


def _call(node: Tree) -> Tree:
    call = node["FuncCall"]
    name = call["funcname"][-1]["String"]["sval"]
    arguments = call.get("args", [])
    if name in _PRIVILEGES:
        return _expression("true")
    if name in ("_pg_truetypid", "_pg_truetypmod"):
        # They take whole rows of catalogs, which a guard's rows are not.
        column, type_ = (each["ColumnRef"]["fields"][0]["String"]["sval"] for each in arguments)
        of_domain, own = {"_pg_truetypid": ("typbasetype", "atttypid")}.get(name, ("typtypmod", "atttypmod"))
        return _expression(f"CASE WHEN {type_}.typtype = 'd' THEN {type_}.{of_domain} ELSE {column}.{own} END")
    if name == "_pg_index_position":
        # It reads pg_index by itself, past the guard.
        index, number = (_text(each) for each in arguments)
        return _expression(
            "(SELECT (s.a).n FROM (SELECT information_schema._pg_expandarray(i.indkey) AS a FROM pg_catalog.pg_index"
            f" AS i WHERE i.indexrelid = {index}) AS s WHERE (s.a).x = {number})"
        )
    return node


def _expression(text: str) -> Tree:
    target: Tree = parse_tree(f"SELECT {text}")["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]
    value: Tree = target["ResTarget"]["val"]
    return value


def _text(expression: Tree) -> str:
    select = parse_tree("SELECT 1")
    select["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"] = expression
    return deparse({"stmts": select["stmts"]}).removeprefix("SELECT ")
