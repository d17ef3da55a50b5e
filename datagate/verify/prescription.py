"""What is prescribed to stand in for a relation, read by the engine's parser."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from datagate.model.names import RelationName
from datagate.verify.mismatch import unguarded
from datagate.verify.tree import Tree, bodies, read, strings


@dataclass(frozen=True, slots=True)
class Prescription:
    """What stands in for one relation in this statement; exactly one of the two is given.

    ``guard``: the guard's body as engine text with the statement's final parameter numbers,
    ``SELECT g.a AS a, <mask> AS b FROM "s"."t" AS g WHERE <filter>``. ``view_sql``: for a view without a policy of its
    own, its own query text (pg_get_viewdef, everything qualified), in which each relation gets its own guard.
    """

    guard: str | None
    view_sql: str | None


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard's tree, never to be changed. ``raw``: the columns that show what the relation's own column holds."""

    select: Tree
    columns: tuple[str, ...]
    raw: frozenset[str]
    parameters: frozenset[int]

    def body(self, *, only: bool, sample: Tree | None) -> Tree:
        """The tree with the caller's own ONLY, and the caller's own TABLESAMPLE clause, put on the guarded relation."""
        if not only and sample is None:
            return {"SelectStmt": self.select}
        (item,) = self.select["fromClause"]
        if only:
            item = {"RangeVar": {field: value for field, value in item["RangeVar"].items() if field != "inh"}}
        if sample is not None:
            item = {"RangeTableSample": sample | {"relation": item}}
        return {"SelectStmt": self.select | {"fromClause": [item]}}


@lru_cache(maxsize=4096)
def read_guard(text: str, relation: RelationName) -> Guard:
    """Read a guard's body; Mismatch where it is not a SELECT of named columns from that one relation.

    Every relation in it must be named with its schema, so that nothing of the caller's can capture it.
    """
    select = read(text)["SelectStmt"]
    match select.get("fromClause"):
        case [{"RangeVar": {"schemaname": relation.schema, "relname": relation.name, "inh": True, "alias": alias}}]:
            inner = alias["aliasname"]
        case _:
            raise unguarded(f"the guard prescribed for {relation} does not read {relation} alone")
    columns: list[str] = []
    raw = set()
    for target in select.get("targetList", ()):
        column = target["ResTarget"].get("name")
        if column is None or column in columns:
            raise unguarded(f"the guard prescribed for {relation} has a column without a name, or one twice")
        columns.append(column)
        fields = target["ResTarget"]["val"].get("ColumnRef", {}).get("fields", [])
        if strings(fields) == [inner, column]:
            raw.add(column)
    ctes = {cte["ctename"] for cte in bodies(select, "CommonTableExpr")}
    for table in bodies(select, "RangeVar"):
        if "schemaname" not in table and table["relname"] not in ctes:
            raise unguarded(f"the guard prescribed for {relation} names a relation without its schema")
    parameters = frozenset(parameter.get("number", 0) for parameter in bodies(select, "ParamRef"))
    return Guard(select, tuple(columns), frozenset(raw), parameters)


@lru_cache(maxsize=1024)
def read_view(text: str) -> Tree:
    """The tree of a view's own query, never to be changed."""
    return read(text)
