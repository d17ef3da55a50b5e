"""The second rendering: guards set straight into libpg_query's own tree, for what sqlglot does not carry exactly.

The same guards, so the verifier holds the outcome to the same law. Every guard is fenced, since no leak analysis has
been made of a tree that sqlglot did not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datagate.backends.postgres.engine import Tree, deparse, parse_tree
from datagate.errors import UnsupportedConstruct
from datagate.model.catalog import Catalog, Relation
from datagate.model.guard import Guard
from datagate.sql.freshness import checked
from datagate.sql.guard import Numbering, blindfold
from datagate.sql.inventory import undefined_relation
from datagate.sql.patterns import may_match_patterns
from datagate.sql.rewrite import Rewritten, Surroundings
from datagate.sql.views import MAX_VIEW_DEPTH, Seen


def graft(text: str, numbering: Numbering, around: Surroundings) -> Rewritten:
    """Rewrite one query by its engine tree; raises UndefinedRelation and UnsupportedConstruct."""
    whole = parse_tree(text)
    grafter = _Grafter(numbering, around, blind=may_match_patterns(text), locking=_locks(whole))
    grafter.statement(whole["stmts"][0], 0)
    select = whole["stmts"][0]["stmt"]["SelectStmt"]
    limited = bool(select.keys() & {"limitCount", "limitOffset", "lockingClause"})
    final = deparse({"stmts": whole["stmts"]})
    check = numbering.text(around.check) if around.check is not None and grafter.bodies else None
    return Rewritten(
        text=final if check is None else checked(final, check, limited=limited),
        bindings=numbering.bindings,
        guards=grafter.bodies,
        fenced=frozenset(grafter.bodies),
        assumptions=frozenset(),
        check=check,
    )


class _Grafter:
    def __init__(self, numbering: Numbering, around: Surroundings, *, blind: bool, locking: bool) -> None:
        self._locking = locking
        self._blind = blind
        self._numbering = numbering
        self._around = around
        self.bodies: dict[Any, str] = {}

    def statement(self, raw: Tree, depth: int) -> None:
        """Guard every base reference of a statement's tree, in place."""
        for slot, ctes in list(_range_variables(raw, frozenset())):
            variable = slot["RangeVar"] if "RangeVar" in slot else slot["RangeTableSample"]["relation"]["RangeVar"]
            schema, name = variable.get("schemaname"), variable["relname"]
            if schema is None and name in ctes:
                continue
            self._replace(slot, variable, self._resolve(schema, name, variable), depth)

    def _resolve(self, schema: str | None, name: str, variable: Tree) -> Relation:
        catalog: Catalog = self._around.catalog
        database = variable.get("catalogname")
        if database is not None and database != catalog.database:
            raise undefined_relation(f"{database}.{schema}", name)
        found = catalog.resolve(schema, name)
        if found is None:
            raise undefined_relation(schema, name)
        return catalog.relations[found]

    def _replace(self, slot: Tree, variable: Tree, relation: Relation, depth: int) -> None:
        alias = variable.get("alias") or {"aliasname": variable["relname"]}
        seen = self._around.sight(relation)
        if seen is Seen.NOT:
            raise undefined_relation(variable.get("schemaname"), variable["relname"])
        if seen is Seen.EXPANDED:
            query = self._view(relation, depth)
        else:
            if self._locking:
                self._around.lock(relation)
            query = self._guard(slot, variable, self._around.guard(relation), relation, alias["aliasname"])
        slot.clear()
        slot["RangeSubselect"] = {"subquery": query, "alias": alias}

    def _view(self, relation: Relation, depth: int) -> Tree:
        if depth >= MAX_VIEW_DEPTH or relation.view_sql is None:
            raise UnsupportedConstruct(f"views are nested more than {MAX_VIEW_DEPTH} deep")
        raw = parse_tree(relation.view_sql)["stmts"][0]
        self.statement(raw, depth + 1)
        query: Tree = raw["stmt"]
        return query

    def _guard(self, slot: Tree, variable: Tree, guard: Guard, relation: Relation, alias: str) -> Tree:
        body = self._numbering.text(guard.body())
        self.bodies[relation.name] = body
        name = '"' + alias.replace('"', '""') + '"'
        union = blindfold(len(guard.columns)) if self._blind else ""
        fenced = parse_tree(f"SELECT * FROM ({body}) AS {name}{union} OFFSET 0")["stmts"][0]["stmt"]
        outer = fenced["SelectStmt"]["larg"] if self._blind else fenced["SelectStmt"]
        select = outer["fromClause"][0]["RangeSubselect"]["subquery"]["SelectStmt"]
        inner = select["fromClause"][0]
        if not variable.get("inh"):
            inner["RangeVar"].pop("inh", None)
        if "RangeTableSample" in slot:
            sample = dict(slot["RangeTableSample"])
            sample["relation"] = {"RangeVar": inner["RangeVar"]}
            select["fromClause"][0] = {"RangeTableSample": sample}
        result: Tree = fenced
        return result


def _locks(node: Any) -> bool:
    """Whether there are row locks anywhere; they are taken to reach every relation."""
    if isinstance(node, list):
        return any(_locks(item) for item in node)
    return isinstance(node, dict) and ("lockingClause" in node or any(_locks(value) for value in node.values()))


def _range_variables(node: Any, ctes: frozenset[str]) -> Iterator[tuple[Tree, frozenset[str]]]:
    """Every node that holds a RangeVar of a FROM clause, with the CTE names visible there."""
    if isinstance(node, list):
        for item in node:
            yield from _range_variables(item, ctes)
        return
    if not isinstance(node, dict):
        return
    if "RangeVar" in node or "RangeTableSample" in node:
        sample = node.get("RangeTableSample")
        if sample is not None:
            yield from _range_variables([sample.get("args"), sample.get("repeatable")], ctes)
        yield node, ctes
        return
    with_ = node.get("withClause")
    if isinstance(with_, dict):
        items = [item["CommonTableExpr"] for item in with_["ctes"]]
        names = [item["ctename"] for item in items]
        for index, item in enumerate(items):
            seen = names if with_.get("recursive") else names[:index]
            yield from _range_variables(item.get("ctequery"), ctes | set(seen))
        ctes = ctes | set(names)
    for key, value in node.items():
        # FOR UPDATE OF names FROM items, which are no references of their own.
        if key not in ("withClause", "lockingClause"):
            yield from _range_variables(value, ctes)
