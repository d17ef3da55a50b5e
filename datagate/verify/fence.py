"""The fence around a guard, and what a column reference in the caller's text certainly means.

``(SELECT * FROM (<guard>) AS a WHERE <conjuncts> OFFSET 0) AS a`` gives the rows of the guard, in the same columns; so
it does with ``UNION ALL SELECT NULL, … WHERE false`` before the OFFSET, which adds no row and names no column. It may
drop rows early, by conjuncts of the WHERE of the very SELECT that the relation stands in: a row for which such a
conjunct is not true passes that WHERE in no combination, provided that the conjunct reads nothing but this row, gives
the same answer twice, and the relation is not on the side of an outer join where a missing row becomes a row of NULLs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from datagate.model.names import RelationName
from datagate.verify.mismatch import unguarded
from datagate.verify.prescription import Guard
from datagate.verify.tree import Tree, kind_of, read, strings

_TEMPLATE: Final = read("SELECT * FROM (SELECT) AS a OFFSET 0")["SelectStmt"]
_UNION: Final = read("SELECT UNION ALL SELECT NULL WHERE false OFFSET 0")["SelectStmt"]

_LEAVES: Final = frozenset({"A_Const", "ParamRef", "SQLValueFunction"})
_PURE_KINDS: Final = frozenset(
    """
    A_ArrayExpr A_Expr BoolExpr BooleanTest CaseExpr CaseWhen CoalesceExpr CollateClause FuncCall List MinMaxExpr
    NullTest RowExpr TypeCast
    """.split()
)
_NAMES: Final = frozenset({"name", "funcname", "typeName", "collname"})
"""Fields that hold names of operators, functions, types and collations."""
_PURE_FUNCTIONS: Final = frozenset(
    """
    abs btrim char_length character_length date_part date_trunc extract left length like_escape lower ltrim md5 now
    octet_length position reverse right rtrim similar_to_escape starts_with statement_timestamp strpos substr substring
    timezone transaction_timestamp upper
    """.split()
)
"""Built-in functions that a copied conjunct may call: each gives the same answer twice within a statement."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the FROM of a SELECT an item stands.

    ``nullable``: on the side of an outer join that may be filled with NULLs. ``hidden``: below a join with an alias,
    which hides the item's own. ``merged``: below NATURAL or USING, which merge columns of one name.
    """

    nullable: bool = False
    hidden: bool = False
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A guarded relation in a FROM: the name by which the SELECT knows it, and whether that renames columns."""

    relation: RelationName
    alias: str
    renamed: bool
    guard: Guard
    place: Place

    def column(self, node: Tree) -> str | None:
        """The column of this source that the node certainly means at its own SELECT's level (not in an ON); else None.

        A bare name that this source has is either this source's column or ambiguous, and then the engine refuses the
        statement; only NATURAL, USING and aliases of joins make it mean another.
        """
        fields = node.get("ColumnRef", {}).get("fields", ())
        path = strings(fields)
        if len(path) != len(fields) or not path or self.place.hidden or self.renamed:
            return None
        qualified = len(path) == 2 and path[0] == self.alias
        bare = len(path) == 1 and not self.place.merged
        return path[-1] if (qualified or bare) and path[-1] in self.guard.columns else None


def conjuncts(condition: Tree | None) -> Iterator[Tree]:
    """The conditions that are all required: a WHERE, taken apart at its ANDs."""
    if condition is None:
        return
    boolean = condition.get("BoolExpr", {})
    if boolean.get("boolop") == "AND_EXPR":
        for part in boolean["args"]:
            yield from conjuncts(part)
    else:
        yield condition


def unfence(subquery: Tree, alias: str) -> tuple[Tree, Sequence[Tree]] | None:
    """What stands inside a fence of that alias, and the conjuncts on it; None where the subquery is no fence."""
    select = _without_union(subquery.get("SelectStmt", {}))
    match select.get("fromClause"):
        case [{"RangeSubselect": {"subquery": inner, "alias": {"aliasname": name, **renamed}, **other}}] if (
            name == alias and not renamed and not other
        ):
            pass
        case _:
            return None
    variable = ("fromClause", "whereClause")
    fixed = {field: value for field, value in select.items() if field not in variable}
    if fixed != {field: value for field, value in _TEMPLATE.items() if field not in variable}:
        return None
    return inner, tuple(conjuncts(select.get("whereClause")))


def _without_union(select: Tree) -> Tree:
    """The SELECT without a UNION ALL that adds no row; anything else as it is."""
    nothing = select.get("rarg", {})
    nulls, null = nothing.get("targetList", []), _UNION["rarg"]["targetList"][0]
    if not nulls or any(target != null for target in nulls) or "larg" not in select:
        return select
    if {**select, "larg": _UNION["larg"], "rarg": {**nothing, "targetList": [null]}} != _UNION:
        return select
    if select["larg"].get("limitOption") != "LIMIT_OPTION_DEFAULT":
        return select
    return {**select["larg"], "limitOffset": _UNION["limitOffset"], "limitOption": _UNION["limitOption"]}


def check_conjuncts(copied: Sequence[Tree], source: Source, required: Sequence[Tree]) -> None:
    """Refuse a fence that could drop a row which the SELECT would have used."""
    if copied and source.place.nullable:
        raise unguarded(f"the fence around {source.alias} filters the nullable side of an outer join")
    for conjunct in copied:
        if conjunct not in required:
            raise unguarded(f"the fence around {source.alias} filters by what the WHERE around it does not require")
        if not reads_only(conjunct, source):
            raise unguarded(f"the fence around {source.alias} filters by more than the columns of {source.alias}")


def reads_only(node: Tree, source: Source) -> bool:
    """Whether an expression reads nothing but columns of the source, and gives the same answer twice."""
    kind = kind_of(node)
    if kind == "ColumnRef":
        return source.column(node) is not None
    if kind in _LEAVES:
        return True
    if kind not in _PURE_KINDS:
        return False
    body = node[kind]
    if kind == "FuncCall":
        *schema, name = strings(body["funcname"])
        if body.keys() - {"funcname", "args", "funcformat"} or schema not in ([], ["pg_catalog"]):
            return False
        if name not in _PURE_FUNCTIONS:
            return False
    children = [value for field, value in body.items() if field not in _NAMES]
    return all(
        reads_only(child, source)
        for value in children
        for child in (value if isinstance(value, list) else [value])
        if isinstance(child, dict)
    )
