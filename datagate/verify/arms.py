"""What may touch rows without a condition of its own: DO UPDATE of ON CONFLICT, and the arms of MERGE."""

from __future__ import annotations

from collections.abc import Sequence

from datagate.model.guard import TargetKey, TargetTexts
from datagate.model.policy import Action
from datagate.verify.aimed import Write, expression, only, same
from datagate.verify.mismatch import differs, forbidden, unguarded
from datagate.verify.returning import ReturningWalk
from datagate.verify.scope import Scope
from datagate.verify.target import SYSTEM_COLUMNS
from datagate.verify.tree import Tree

_ACTIONS = {"CMD_INSERT": Action.INSERT, "CMD_UPDATE": Action.UPDATE, "CMD_DELETE": Action.DELETE}
FALSE: Tree = {"A_Const": {"boolval": {}}}
TRUE: Tree = {"A_Const": {"boolval": {"boolval": True}}}


class ArmWalk(ReturningWalk):
    """A walk that compares them."""

    def _assignments(self, o: Sequence[Tree], f: Sequence[Tree], write: Write, scope: Scope) -> None:
        if len(o) != len(f):
            raise differs("the number of columns that are set")
        for one, other in zip(o, f, strict=True):
            a, b = one["ResTarget"], other["ResTarget"]
            if a.keys() != b.keys() or a["name"] != b["name"] or "indirection" in a:
                raise differs("a column that is set")
            self._node(a["val"], b["val"], self._computing(write, scope))

    def _implied(self, f: Sequence[Tree], write: Write) -> None:
        """Without a list, the columns are those that the caller sees, from the first on."""
        names = [target["ResTarget"] for target in f]
        if names != [{"name": column} for column in write.guard.columns[: len(names)]]:
            raise differs("the columns that an INSERT without a list means")

    def _conflict(self, write: Write, scope: Scope) -> None:
        o, f = write.o.get("onConflictClause"), write.f.get("onConflictClause")
        if o is None or f is None:
            if o != f:
                raise differs("ON CONFLICT")
            return
        only(o, "action infer targetList whereClause")
        same(o, f, "action")
        self._infer(o.get("infer"), f.get("infer"), write, scope)
        if not o.get("targetList"):
            if f.keys() - {"action", "infer"}:
                raise differs("ON CONFLICT")
            return
        held = next(text for key, text in write.held.items() if key.action is Action.UPDATE)
        sets = self._sets_held(o["targetList"], f["targetList"], held, write.alias)
        self._assignments(o["targetList"], sets, write, scope)
        self._or_refused(o.get("whereClause"), f.get("whereClause"), held, write, scope)

    def _infer(self, o: Tree | None, f: Tree | None, write: Write, scope: Scope) -> None:
        """The key of ON CONFLICT: raw columns alone; a constraint by name only where no column is hidden."""
        if o is None or f is None:
            if o != f:
                raise differs("the key of ON CONFLICT")
            return
        only(o, "indexElems whereClause conname")
        if o.get("conname") != f.get("conname"):
            raise differs("the key of ON CONFLICT")
        if "conname" in o and write.target.known - SYSTEM_COLUMNS != write.guard.raw:
            raise forbidden("ON CONSTRAINT on a relation with hidden or masked columns; name the columns of the key")
        scope = self._computing(write, scope)
        elements, finals = o.get("indexElems", []), f.get("indexElems", [])
        if len(elements) != len(finals):
            raise differs("the key of ON CONFLICT")
        for one, other in zip(elements, finals, strict=True):
            a, b = one["IndexElem"], other["IndexElem"]
            if "opclass" in a or {k: v for k, v in a.items() if k != "expr"} != {
                k: v for k, v in b.items() if k != "expr"
            }:
                raise forbidden("a key of ON CONFLICT with an operator class")
            if "name" in a and a["name"] not in write.guard.raw:
                raise forbidden("a hidden or masked column as a key of ON CONFLICT")
            self._node(a.get("expr", {}), b.get("expr", {}), scope)
        self._node(o.get("whereClause", {}), f.get("whereClause", {}), scope)

    def _or_refused(self, o: Tree | None, f: Tree | None, held: TargetTexts, write: Write, scope: Scope) -> None:
        """``CASE WHEN touch THEN condition ELSE refusal END``."""
        reading = self._reading(write, scope)
        if held.touch is None:
            self._node(o or {}, f or {}, reading)
            return
        match f:
            case {
                "CaseExpr": {"args": [{"CaseWhen": {"expr": when, "result": result}}], "defresult": other, **more}
            } if not more and when == expression(held.touch) and other == expression(held.refusal):
                self._node(o or TRUE, result, reading)
            case _:
                raise unguarded("a row that may not be touched is not refused")

    def _arm(self, o: Tree, f: Tree, write: Write, seen: Tree | None, scope: Scope) -> None:
        only(o, "matchKind commandType override condition targetList values")
        same(o, f, "matchKind", "commandType", "override")
        condition = f.get("condition")
        if o["matchKind"] == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE" and seen is not None:
            condition = _inside(condition, seen)
            if "condition" not in o and o["commandType"] == "CMD_NOTHING":
                if condition != TRUE:
                    raise differs("an arm of MERGE")
                condition = None
        held = None
        if o["commandType"] != "CMD_NOTHING":
            action = _ACTIONS[o["commandType"]]
            columns = frozenset(target["ResTarget"]["name"] for target in f.get("targetList", ()))
            held = write.held.get(TargetKey(write.name, action, write.alias, columns, write.returning))
            if held is None:
                raise unguarded("nothing is prescribed for an arm of MERGE")
        self._arm_condition(o.get("condition"), condition, held, write, scope)
        self._arm_values(o, f, held, write, scope)

    def _arm_condition(
        self, o: Tree | None, f: Tree | None, held: TargetTexts | None, write: Write, scope: Scope
    ) -> None:
        if held is None or held.touch is None:
            self._node(o or {}, f or {}, self._reading(write, scope))
            return
        test = f
        if o is not None:
            match f:
                case {
                    "CaseExpr": {"args": [{"CaseWhen": {"expr": own, "result": inner}}], "defresult": no, **more}
                } if not more and no == FALSE:
                    self._node(o, own, self._reading(write, scope))
                    test = inner
                case _:
                    raise differs("the condition of an arm of MERGE")
        if test != expression(f"CASE WHEN {held.touch} THEN true ELSE {held.refusal} END"):
            raise unguarded("a row that may not be touched is not refused")

    def _arm_values(self, o: Tree, f: Tree, held: TargetTexts | None, write: Write, scope: Scope) -> None:
        if held is None:
            return
        if o["commandType"] == "CMD_UPDATE":
            sets = self._sets_held(o["targetList"], f["targetList"], held, write.alias)
            self._assignments(o["targetList"], sets, write, scope)
        elif o["commandType"] == "CMD_INSERT":
            if "targetList" in o or "values" not in o:
                if o.get("targetList") != f.get("targetList"):
                    raise differs("the columns of an arm of MERGE")
            else:
                self._implied(f.get("targetList", ()), write)
            values, finals = o.get("values", ()), f.get("values", ())
            if len(values) != len(finals):
                raise differs("the values of an arm of MERGE")
            if values:
                names = [target["ResTarget"]["name"] for target in f.get("targetList", ())]
                (finals,) = self._rows_held([values], [finals], names, held, write.alias)
            for one, other in zip(values, finals, strict=True):
                self._node(one, other, self._computing(write, scope))


def arms_of(o: Tree, f: Tree) -> list[tuple[Action, Tree, Tree]]:
    """What the arms of a MERGE do to its target."""
    arms, finals = o["mergeWhenClauses"], f["mergeWhenClauses"]
    if len(arms) != len(finals):
        raise differs("the number of arms of MERGE")
    pairs = [(arm["MergeWhenClause"], final["MergeWhenClause"]) for arm, final in zip(arms, finals, strict=True)]
    return [(_ACTIONS[a["commandType"]], a, b) for a, b in pairs if a["commandType"] != "CMD_NOTHING"]


def _inside(condition: Tree | None, seen: Tree) -> Tree | None:
    """What stands in ``CASE WHEN seen THEN … ELSE false END``."""
    match condition:
        case {"CaseExpr": {"args": [{"CaseWhen": {"expr": when, "result": result}}], "defresult": no, **more}} if (
            not more and no == FALSE and when == seen
        ):
            return result if isinstance(result, dict) else None
        case _:
            raise unguarded("an arm of MERGE for rows without a source is not held to the rows that the caller sees")
