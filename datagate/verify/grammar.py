"""The closed grammar of trees: each kind of node that may be sent, with all of its fields.

A kind or a field that is not listed here is refused, so that what PostgreSQL adds tomorrow does not pass today. Left
out on purpose: ``SelectStmt.intoClause`` (writes a table), ``TypeName.setof`` and ``pct_type`` (names a relation),
CurrentOfExpr. INSERT, UPDATE, DELETE and MERGE are compared by :mod:`datagate.verify.writes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VALUE: Final = "value"
"""A plain value, a name or a list of names: equal, or refused."""
NODE: Final = "node"
"""A node of any kind."""
NODES: Final = "nodes"
"""A list of nodes of any kind."""
OWN: Final = "own"
"""Compared by the method of the walk that is written for this kind of node."""


def _kind(
    *,
    value: str = "",
    node: str = "",
    nodes: str = "",
    own: str = "",
    **inner: str,
) -> Mapping[str, str]:
    """Fields by shape; ``field=Kind`` for one that holds a node of that kind only."""
    shapes = ((value, VALUE), (node, NODE), (nodes, NODES), (own, OWN))
    return {field: shape for fields, shape in shapes for field in fields.split()} | inner


GRAMMAR: Final[Mapping[str, Mapping[str, str]]] = {
    # Statements and FROM.
    "SelectStmt": _kind(
        own="withClause fromClause groupClause",
        value="groupDistinct limitOption op all",
        node="whereClause havingClause limitOffset limitCount",
        nodes="distinctClause targetList windowClause valuesLists sortClause lockingClause",
        larg="SelectStmt",
        rarg="SelectStmt",
    ),
    "WithClause": _kind(own="ctes", value="recursive"),
    "CommonTableExpr": _kind(
        value="ctename aliascolnames ctematerialized",
        node="ctequery",
        search_clause="CTESearchClause",
        cycle_clause="CTECycleClause",
    ),
    "CTESearchClause": _kind(value="search_col_list search_breadth_first search_seq_column"),
    "CTECycleClause": _kind(
        value="cycle_col_list cycle_mark_column cycle_path_column", node="cycle_mark_value cycle_mark_default"
    ),
    "ResTarget": _kind(value="name", node="val"),
    "SortBy": _kind(value="sortby_dir sortby_nulls useOp", node="node"),
    "GroupingSet": _kind(value="kind", nodes="content"),
    "WindowDef": _kind(
        value="name refname frameOptions", node="startOffset endOffset", nodes="partitionClause orderClause"
    ),
    "MultiAssignRef": _kind(value="colno ncolumns", node="source"),
    "SetToDefault": _kind(),
    "MergeSupportFunc": _kind(value="msftype msfcollid"),
    "LockingClause": _kind(value="lockedRels strength waitPolicy"),
    "JoinExpr": _kind(own="larg rarg", value="jointype isNatural usingClause join_using_alias alias", node="quals"),
    "RangeSubselect": _kind(value="lateral alias", node="subquery"),
    "RangeFunction": _kind(value="lateral ordinality is_rowsfrom alias", nodes="functions coldeflist"),
    "RangeTableFunc": _kind(value="lateral alias", node="docexpr rowexpr", nodes="namespaces columns"),
    "RangeTableFuncCol": _kind(
        value="colname for_ordinality is_not_null", node="colexpr coldefexpr", typeName="TypeName"
    ),
    "ColumnDef": _kind(value="colname is_local", typeName="TypeName", collClause="CollateClause"),
    # Expressions.
    "A_ArrayExpr": _kind(nodes="elements"),
    "A_Const": _kind(value="ival fval boolval sval bsval isnull"),
    "A_Expr": _kind(value="kind name", node="lexpr rexpr"),
    "A_Indices": _kind(value="is_slice", node="lidx uidx"),
    "A_Indirection": _kind(node="arg", nodes="indirection"),
    "A_Star": _kind(),
    "BoolExpr": _kind(value="boolop", nodes="args"),
    "BooleanTest": _kind(value="booltesttype", node="arg"),
    "CaseExpr": _kind(node="arg defresult", nodes="args"),
    "CaseWhen": _kind(node="expr result"),
    "CoalesceExpr": _kind(nodes="args"),
    "CollateClause": _kind(value="collname", node="arg"),
    "ColumnRef": _kind(value="fields"),
    "FuncCall": _kind(
        value="funcname agg_within_group agg_star agg_distinct func_variadic funcformat",
        node="agg_filter",
        nodes="args agg_order",
        over="WindowDef",
    ),
    "GroupingFunc": _kind(nodes="args"),
    "Integer": _kind(value="ival"),
    "List": _kind(nodes="items"),
    "MinMaxExpr": _kind(value="op", nodes="args"),
    "NamedArgExpr": _kind(value="name argnumber", node="arg"),
    "NullTest": _kind(value="nulltesttype", node="arg"),
    "ParamRef": _kind(value="number"),
    "RowExpr": _kind(value="row_format", nodes="args"),
    "SQLValueFunction": _kind(value="op typmod"),
    "String": _kind(value="sval"),
    "SubLink": _kind(value="subLinkType operName", node="testexpr subselect"),
    "TypeCast": _kind(node="arg", typeName="TypeName"),
    "TypeName": _kind(value="names typemod", nodes="typmods arrayBounds"),
    # XML.
    "XmlExpr": _kind(value="op name xmloption indent", nodes="named_args args"),
    "XmlSerialize": _kind(value="xmloption indent", node="expr", typeName="TypeName"),
    # SQL/JSON.
    "JsonAggConstructor": _kind(node="agg_filter", nodes="agg_order", output="JsonOutput", over="WindowDef"),
    "JsonArgument": _kind(value="name", val="JsonValueExpr"),
    "JsonArrayAgg": _kind(value="absent_on_null", constructor="JsonAggConstructor", arg="JsonValueExpr"),
    "JsonArrayConstructor": _kind(value="absent_on_null", nodes="exprs", output="JsonOutput"),
    "JsonArrayQueryConstructor": _kind(value="absent_on_null format", node="query", output="JsonOutput"),
    "JsonBehavior": _kind(value="btype coerce", node="expr"),
    "JsonFuncExpr": _kind(
        value="op column_name wrapper quotes",
        node="pathspec",
        nodes="passing",
        context_item="JsonValueExpr",
        output="JsonOutput",
        on_empty="JsonBehavior",
        on_error="JsonBehavior",
    ),
    "JsonIsPredicate": _kind(value="format item_type unique_keys", node="expr"),
    "JsonKeyValue": {"key": NODE, "value": "JsonValueExpr"},
    "JsonObjectAgg": _kind(value="absent_on_null unique", constructor="JsonAggConstructor", arg="JsonKeyValue"),
    "JsonObjectConstructor": _kind(value="absent_on_null unique", nodes="exprs", output="JsonOutput"),
    "JsonOutput": _kind(value="returning", typeName="TypeName"),
    "JsonParseExpr": _kind(value="unique_keys", expr="JsonValueExpr", output="JsonOutput"),
    "JsonScalarExpr": _kind(node="expr", output="JsonOutput"),
    "JsonSerializeExpr": _kind(expr="JsonValueExpr", output="JsonOutput"),
    "JsonTable": _kind(
        value="alias lateral",
        nodes="passing columns",
        context_item="JsonValueExpr",
        pathspec="JsonTablePathSpec",
        on_error="JsonBehavior",
    ),
    "JsonTableColumn": _kind(
        value="coltype name format wrapper quotes",
        nodes="columns",
        typeName="TypeName",
        pathspec="JsonTablePathSpec",
        on_empty="JsonBehavior",
        on_error="JsonBehavior",
    ),
    "JsonTablePathSpec": _kind(value="name", node="string"),
    "JsonValueExpr": _kind(value="format", node="raw_expr formatted_expr"),
}

SINCE: Final[Mapping[str, int]] = dict.fromkeys(
    ("JsonArrayAgg", "JsonArrayConstructor", "JsonArrayQueryConstructor", "JsonObjectAgg", "JsonObjectConstructor"),
    160000,
) | dict.fromkeys(("JsonFuncExpr", "JsonParseExpr", "JsonScalarExpr", "JsonSerializeExpr", "JsonTable"), 170000)
"""Kinds that an older server reads as a call of somebody's function of that name (``json_scalar(x)``)."""
