"""A statement that writes and what it is held to, and the names in its clauses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from datagate.model.guard import TargetKey, TargetTexts
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.model.policy import Action
from datagate.verify.mismatch import differs, forbidden, unguarded
from datagate.verify.names import Names
from datagate.verify.prescription import Guard, Prescription, read_guard
from datagate.verify.scope import Scope
from datagate.verify.target import SYSTEM_COLUMNS, Target
from datagate.verify.tree import Tree, bodies, read
from datagate.verify.walk import Walk


@lru_cache(maxsize=4096)
def expression(text: str) -> Tree:
    """The tree of an expression, never to be changed."""
    tree: Tree = read(f"SELECT {text}")["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return tree


@dataclass(slots=True)
class Write:
    """One statement that writes: its bodies before and after, its target, and what it is held to."""

    o: Tree
    f: Tree
    name: RelationName
    alias: str
    inserts: bool
    returning: bool
    guard: Guard
    target: Target
    held: dict[TargetKey, TargetTexts]
    fresh: str | None

    @property
    def any_held(self) -> TargetTexts:
        """What all of its texts agree on."""
        return next(iter(self.held.values()))


class AimedWalk(Walk):
    """A walk that knows what writes are held to; ``check`` must stand in the outermost one."""

    def __init__(
        self,
        names: Names,
        prescriptions: Mapping[RelationName, Prescription],
        lookups: Mapping[str, Lookup],
        targets: Mapping[TargetKey, TargetTexts],
        check: str | None,
    ) -> None:
        super().__init__(names, prescriptions, lookups)
        self._targets = targets
        self._check = check

    def _aimed(
        self, o: Tree, f: Tree, parts: Sequence[tuple[Action, Tree, Tree]], scope: Scope, *, inserts: bool = False
    ) -> Write:
        """The write with what is prescribed for all that it does to its target; the target itself is compared.

        ``parts``: each action, with the nodes of the original and of the final text that say which columns it sets.
        """
        if scope.target is not None:
            raise forbidden("a write inside a write")
        var = o["relation"]
        if "catalogname" in var or scope.in_view:
            raise forbidden("a relation named with its database, or a write inside a view")
        name = self.names.relation(var.get("schemaname"), var["relname"])
        if name is None or f["relation"] != {**var, "schemaname": name.schema}:
            raise unguarded("what is written is not named with its schema")
        alias = var.get("alias", {"aliasname": var["relname"]})["aliasname"]
        returning = "returningClause" in o
        conflict, final_conflict = o.get("onConflictClause", {}), f.get("onConflictClause", {})
        if conflict.get("targetList"):
            parts = [*parts, (Action.UPDATE, conflict, final_conflict)]
        keys = [
            TargetKey(name, action, alias, _columns(part, final, action), returning) for action, part, final in parts
        ]
        held = {key: self._targets[key] for key in keys if key in self._targets}
        if len(held) != len(set(keys)) or not held:
            raise unguarded(f"nothing is prescribed for what is done to {var['relname']}")
        guard = read_guard(next(iter(held.values())).guard, name)
        self.guard_parameters |= guard.parameters
        for text in held.values():
            for each in (text.touch, text.check):
                if each is not None:
                    self.guard_parameters |= {p.get("number", 0) for p in bodies(expression(each), "ParamRef")}
        fresh = None
        if self._check is not None and self.depth == 1:
            fresh = f"0 OPERATOR(pg_catalog.=) {self._check}"
            self.guard_parameters |= {p.get("number", 0) for p in bodies(expression(fresh), "ParamRef")}
        unaliased = name if "alias" not in var else None
        for row in (alias, "excluded", "old", "new"):
            self.ranges.add_relation(unaliased if row == alias else None, {"aliasname": row}, guard.columns)
        target = self._target(name, alias, guard, o, scope)
        return Write(o, f, name, alias, inserts, returning, guard, target, held, fresh)

    def _target(self, name: RelationName, alias: str, guard: Guard, o: Tree, scope: Scope) -> Target:
        shown = {
            target["ResTarget"]["name"]: target["ResTarget"]["val"]
            for target in guard.select["targetList"]
            if target["ResTarget"]["name"] not in guard.raw
        }
        columns = {column.name for column in self.names.catalog.relations[name].columns}
        items = o.get("fromClause") or o.get("usingClause") or ([o["sourceRelation"]] if "sourceRelation" in o else [])
        return Target(
            relation=name,
            alias=alias,
            rows=frozenset({alias, "excluded", "old", "new"}),
            raw=guard.raw,
            shown=shown,
            visible=frozenset(guard.columns),
            known=frozenset(columns) | SYSTEM_COLUMNS,
            others=self.items.columns(items, scope.ctes),
        )

    def _reading(self, write: Write, scope: Scope) -> Scope:
        return replace(scope, target=write.target, levels=())

    def _computing(self, write: Write, scope: Scope) -> Scope:
        """The scope of values that are written: no mask may stand in them."""
        return replace(scope, target=replace(write.target, shown={}), levels=())


def _columns(part: Tree, final: Tree, action: Action) -> frozenset[str]:
    """The columns that a part of the statement sets; without a list, those that the final text lists."""
    if action is Action.DELETE:
        return frozenset()
    field = "cols" if "selectStmt" in part or "cols" in part else "targetList"
    targets = part.get(field) or (final.get(field, ()) if "selectStmt" in part or "values" in part else ())
    if any(target["ResTarget"].keys() - {"name", "val"} for target in targets):
        raise forbidden("a part of a column as what is written")
    return frozenset(target["ResTarget"]["name"] for target in targets)


def only(node: Tree, fields: str) -> None:
    """Refuse a node with any other field."""
    more = node.keys() - set(fields.split())
    if more:
        raise forbidden(f"{min(more)} in a statement that writes")


def same(o: Tree, f: Tree, *fields: str) -> None:
    """Refuse nodes that differ in one of the fields."""
    for field in fields:
        if o.get(field) != f.get(field):
            raise differs(field)
