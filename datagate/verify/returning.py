"""RETURNING: what new rows must satisfy, and what of them is shown."""

from __future__ import annotations

from datagate.model.guard import CHECKED
from datagate.model.policy import Action
from datagate.verify.ahead import AheadWalk
from datagate.verify.aimed import Write, expression
from datagate.verify.labels import label_of
from datagate.verify.mismatch import differs, forbidden, unguarded
from datagate.verify.scope import Scope
from datagate.verify.tree import Tree


class ReturningWalk(AheadWalk):
    """A walk that compares RETURNING."""

    def _returning(self, write: Write, scope: Scope) -> None:
        found = write.f.get("returningClause", {})
        if found.keys() - {"exprs"} or write.o.get("returningClause", {}).keys() - {"exprs"}:
            raise forbidden("RETURNING WITH")
        items = [item["ResTarget"] for item in found.get("exprs", ())]
        test = self._test(write)
        if not write.returning:
            expected = [{"name": CHECKED, "val": _test_of(test, write.any_held.refusal)}] if test is not None else []
            if items != expected:
                raise unguarded("rows that are written are not held to their check")
            return
        tested = None
        if test is not None:
            tested = self._untest(items, _test_of(test, write.any_held.refusal))
        expected_items = self._expanded(write)
        if len(items) != len(expected_items):
            raise differs("the number of items of RETURNING")
        for place, (one, other) in enumerate(zip(expected_items, items, strict=True)):
            self._returned(one, other, write, scope, tested=place == tested)

    def _returned(self, o: Tree, f: Tree, write: Write, scope: Scope, *, tested: bool) -> None:
        """An item; it may have been given the name that it had."""
        if f.get("name") != o.get("name"):
            label = o.get("name") or label_of(o["val"])
            if label is None or f.get("name") != label:
                raise differs("the name of an item of RETURNING")
        elif "name" not in o and (tested or label_of(o["val"]) != label_of(f["val"])):
            raise differs("the name of an item of RETURNING")
        self._node(o["val"], f["val"], self._reading(write, scope))

    def _untest(self, items: list[Tree], expected: Tree) -> int:
        """Take an item out of the test around it, in place; which one it was."""
        first, second = expected["CaseExpr"]["args"]
        for place, item in enumerate(items):
            match item.get("val", {}):
                case {"CaseExpr": {"args": [{"CaseWhen": {"expr": when, "result": result}}, refusal], **more}} if (
                    not more and when == first["CaseWhen"]["expr"] and refusal == second
                ):
                    items[place] = {**item, "val": result}
                    return place
        raise unguarded("rows that are written are not held to their check")

    def _expanded(self, write: Write) -> list[Tree]:
        """The caller's items, with ``*`` spelled out as the caller sees it."""
        out: list[Tree] = []
        own = [_column(write.alias, column, raw=column in write.guard.raw) for column in write.guard.columns]
        others = [_star(alias) for alias in write.target.others]
        merge = "mergeWhenClauses" in write.o
        for item in write.o["returningClause"]["exprs"]:
            fields = item["ResTarget"].get("val", {}).get("ColumnRef", {}).get("fields", ())
            if not fields or "A_Star" not in fields[-1]:
                out.append(item["ResTarget"])
            elif len(fields) == 1:
                out += [*others, *own] if merge else [*own, *others]
            elif fields[:-1] == [{"String": {"sval": write.alias}}]:
                out += own
            else:
                out.append(item["ResTarget"])
        return out

    def _test(self, write: Write) -> str | None:
        """What must be true of each row afterwards."""
        parts = [write.fresh] if write.fresh is not None and write.inserts else []
        checks: dict[Action, list[str]] = {}
        for key, text in write.held.items():
            if text.check is not None:
                checks.setdefault(key.action, []).append(f"({text.check})")
        if "mergeWhenClauses" in write.o:
            if checks:
                arms = [f" WHEN '{action.name}' THEN {' AND '.join(found)}" for action, found in checks.items()]
                parts.append(f"CASE merge_action(){''.join(arms)} ELSE true END")
        elif len(checks) > 1 and all(text.settled for text in write.held.values()):
            # ON CONFLICT, of which each arm has held its rows to its own check already.
            parts.append(f"({' OR '.join(text for found in checks.values() for text in found)})")
        else:
            parts += [text for found in checks.values() for text in found]
        return " AND ".join(parts) or None


def _test_of(test: str, refusal: str) -> Tree:
    return expression(f"CASE WHEN {test} THEN NULL WHEN {refusal} THEN NULL END")


def _column(alias: str, column: str, *, raw: bool) -> Tree:
    value = {"ColumnRef": {"fields": [{"String": {"sval": alias}}, {"String": {"sval": column}}]}}
    return {"val": value} if raw else {"name": column, "val": value}


def _star(alias: str) -> Tree:
    return {"val": {"ColumnRef": {"fields": [{"String": {"sval": alias}}, {"A_Star": {}}]}}}
