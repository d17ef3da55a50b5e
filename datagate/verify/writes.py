"""INSERT, UPDATE, DELETE and MERGE: the walk over statements that write. See :mod:`datagate.verify.postgres`.

The target keeps its place, named with its schema. What must be there, and nothing else may be:

- WHERE (MERGE: ON) begins with the rows that the action may touch; the caller's own condition follows, as it was or,
  behind a fence, as ``CASE WHEN touch THEN condition ELSE false END`` with some of its conjuncts copied before it;
- an arm of MERGE, and DO UPDATE of ON CONFLICT, which find their rows otherwise, fail for one that may not be touched;
- RETURNING begins with a test of what a row must satisfy afterwards: ``CASE WHEN test THEN item WHEN refusal THEN NULL
  END``; without RETURNING of the caller's there is nothing but the test, whose rows are dropped;
- each name that means a masked column is replaced by its mask, and no name reaches a hidden one (``target``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from datagate.model.guard import TargetKey, TargetTexts
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.model.policy import Action
from datagate.verify.aimed import Write, expression, only, same
from datagate.verify.arms import FALSE, ArmWalk, arms_of
from datagate.verify.fence import Place, Source, conjuncts, reads_only
from datagate.verify.mismatch import differs, unguarded
from datagate.verify.names import Names
from datagate.verify.prescription import Prescription
from datagate.verify.scope import Scope, Select
from datagate.verify.tree import Tree


class WriteWalk(ArmWalk):
    """A verification of a statement that may write; ``check`` must stand in the outermost write."""

    def __init__(
        self,
        names: Names,
        prescriptions: Mapping[RelationName, Prescription],
        lookups: Mapping[str, Lookup],
        targets: Mapping[TargetKey, TargetTexts],
        check: str | None,
    ) -> None:
        super().__init__(names, prescriptions, lookups, targets, check)
        self.own = {
            **self.own,
            "InsertStmt": self._insert,
            "UpdateStmt": self._update,
            "DeleteStmt": self._delete,
            "MergeStmt": self._merge,
        }

    def _insert(self, o: Tree, f: Tree, scope: Scope) -> None:
        only(o, "relation cols selectStmt onConflictClause returningClause withClause override")
        scope = self._with(o, f, scope)
        write = self._aimed(o, f, [(Action.INSERT, o, f)], scope, inserts=True)
        same(o, f, "override")
        self._inserted_columns(write)
        if ("selectStmt" in o) != ("selectStmt" in f):
            raise differs("the source of INSERT")
        if "selectStmt" in o:
            held = next(text for key, text in write.held.items() if key.action is Action.INSERT)
            names = [target["ResTarget"]["name"] for target in f.get("cols", ())]
            query = self._query_held(o["selectStmt"], f["selectStmt"], names, held, write.alias)
            self._node(o["selectStmt"], query, replace(scope, target=None, levels=()))
        self._conflict(write, scope)
        self._returning(write, scope)

    def _update(self, o: Tree, f: Tree, scope: Scope) -> None:
        only(o, "relation targetList whereClause fromClause returningClause withClause")
        scope = self._with(o, f, scope)
        write = self._aimed(o, f, [(Action.UPDATE, o, f)], scope)
        self._items(write, "fromClause", scope)
        sets = self._sets_held(o["targetList"], f["targetList"], write.any_held, write.alias)
        self._assignments(o["targetList"], sets, write, scope)
        self._where(write, "whereClause", _read(write.any_held.touch), scope)
        self._returning(write, scope)

    def _delete(self, o: Tree, f: Tree, scope: Scope) -> None:
        only(o, "relation whereClause usingClause returningClause withClause")
        scope = self._with(o, f, scope)
        write = self._aimed(o, f, [(Action.DELETE, o, f)], scope)
        self._items(write, "usingClause", scope)
        self._where(write, "whereClause", _read(write.any_held.touch), scope)
        self._returning(write, scope)

    def _merge(self, o: Tree, f: Tree, scope: Scope) -> None:
        only(o, "relation sourceRelation joinCondition mergeWhenClauses returningClause withClause")
        scope = self._with(o, f, scope)
        write = self._aimed(o, f, arms_of(o, f), scope)
        self._items(write, "sourceRelation", scope)
        seen = write.guard.select.get("whereClause")
        self._where(write, "joinCondition", seen, scope)
        for one, other in zip(o["mergeWhenClauses"], f["mergeWhenClauses"], strict=True):
            self._arm(one["MergeWhenClause"], other["MergeWhenClause"], write, seen, scope)
        self._returning(write, scope)

    def _items(self, write: Write, field: str, scope: Scope) -> None:
        """The other FROM items, which do not see the target."""
        o, f = write.o.get(field, ()), write.f.get(field, ())
        o, f = (o, f) if isinstance(o, list | tuple) else ([o], [f])
        if len(o) != len(f):
            raise differs("the number of FROM items")
        select = Select(tuple(conjuncts(write.o.get("whereClause"))))
        for one, other in zip(o, f, strict=True):
            # Filters copied into a fence here would have to hold for an outer join's rows too: in MERGE there are none.
            self._from_item(one, other, scope, scope, select, Place(nullable=field == "sourceRelation"))

    def _inserted_columns(self, write: Write) -> None:
        o, f = write.o.get("cols"), write.f.get("cols", [])
        if o is not None or "selectStmt" not in write.o:
            if (o or []) != f:
                raise differs("the columns of INSERT")
            return
        self._implied(f, write)

    def _where(self, write: Write, field: str, touch: Tree | None, scope: Scope) -> None:
        """The rows that may be touched, then the caller's own condition."""
        found = list(conjuncts(write.f.get(field)))
        prefix = [expression(write.fresh)] if write.fresh is not None else []
        prefix += list(conjuncts(touch))
        if found[: len(prefix)] != prefix:
            raise unguarded("the rows that may be touched are not held to their filter")
        own = list(conjuncts(write.o.get(field)))
        rest = found[len(prefix) :]
        if own and touch is not None and len(rest) >= 1 and self._fenced(write, field, touch, rest, own, scope):
            return
        if len(own) != len(rest):
            raise differs("the condition of a write")
        for one, other in zip(own, rest, strict=True):
            self._node(one, other, self._reading(write, scope))

    def _fenced(
        self, write: Write, field: str, touch: Tree, rest: Sequence[Tree], own: Sequence[Tree], scope: Scope
    ) -> bool:
        """Whether the caller's condition stands inside a CASE; what is copied before it is compared."""
        match rest[-1]:
            case {
                "CaseExpr": {"args": [{"CaseWhen": {"expr": when, "result": result}}], "defresult": other, **more}
            } if not more and other == FALSE and when == touch:
                pass
            case _:
                return False
        self._node(write.o[field], result, self._reading(write, scope))
        source = Source(write.name, write.alias, False, write.guard, Place())
        for copied in rest[:-1]:
            if copied not in own or not reads_only(copied, source):
                raise unguarded("what stands before the fence is not a condition of the caller's on the target alone")
            self._node(copied, copied, self._reading(write, scope))
        return True


def _read(text: str | None) -> Tree | None:
    return expression(text) if text is not None else None
