"""The final form of what writes: filters, masks and checks are put into it.

The filter stands in the statement's own condition, masks in the place of the names of masked columns, and what a new
row must satisfy in RETURNING, which sees the row as it was stored, after triggers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp

from datagate.errors import UnsupportedConstruct
from datagate.model.fragment import Fragment
from datagate.model.guard import CHECKED, Target, TargetKey
from datagate.model.policy import Action
from datagate.sql import ahead
from datagate.sql.dialect import generate
from datagate.sql.dialect.nodes import GuardText, MergeArm, Write
from datagate.sql.guard import Fence, Numbering
from datagate.sql.inventory import Reference
from datagate.sql.labels import label_of
from datagate.sql.meanings import Meaning, Place
from datagate.sql.targets import ACTIONS, Held, written_columns

_MERGE_RETURNING = 170000
"""The first server version whose MERGE has RETURNING."""


def place_targets(
    held: Sequence[Held],
    fences: Mapping[Reference, Fence],
    numbering: Numbering,
    check: Fragment | None,
    server_version: int,
) -> None:
    """Put filters, masks and checks into the writes, in place; ``check`` stands in the outermost write alone."""
    for one in held:
        fence = fences.get(one.reference)
        outermost = isinstance(one.write.parent, exp.Subquery)
        _Placing(one, fence, numbering, check if outermost else None, server_version).place()


class _Placing:
    def __init__(
        self, held: Held, fence: Fence | None, numbering: Numbering, check: Fragment | None, server_version: int
    ) -> None:
        self._server_version = server_version
        self._held = held
        self._write = held.write
        self._fence = fence
        self._numbering = numbering
        self._fresh = f"0 OPERATOR(pg_catalog.=) {numbering.text(check)}" if check is not None else None

    def place(self) -> None:
        """All of it, in the order in which texts are made of what was replaced before."""
        self._qualify()
        copied = [generate(part) for part in self._fence.conjuncts] if self._fence and not self._fence.blind else []
        self._returning_items()
        self._mask_names()
        action = self._write.args["action"]
        if action in ("UPDATE", "DELETE"):
            (target,) = self._held.targets.values()
            where = self._write.args.get("where")
            condition = self._condition(target.touch, where.this if where is not None else None, copied, self._fresh)
            self._write.set("where", exp.Where(this=GuardText(this=condition)) if condition else None)
        elif action == "MERGE":
            self._place_merge(copied)
        else:
            self._place_conflict()
        self._place_ahead()
        self._place_check()

    def _qualify(self) -> None:
        """The target's name with its schema, so that nothing can stand in for it."""
        table, name = self._write.args["target"], self._held.reference.relation.name
        table.set("this", exp.Identifier(this=name.name, quoted=True))
        table.set("db", exp.Identifier(this=name.schema, quoted=True))
        table.set("catalog", None)

    def _text(self, fragment: Fragment) -> str:
        return self._numbering.text(fragment)

    def _condition(
        self, touch: Fragment | None, own: exp.Expression | None, copied: Sequence[str], fresh: str | None
    ) -> str:
        """The filter, then the caller's own condition: inside a CASE where it must not be computed before."""
        parts = [fresh] if fresh is not None else []
        filtered = self._text(touch) if touch is not None else None
        if filtered is not None:
            parts.append(f"({filtered})")
        if own is not None:
            condition = generate(own)
            if self._fence is None or filtered is None:
                parts.append(f"({condition})")
            else:
                parts += [f"({each})" for each in copied]
                parts.append(f"CASE WHEN {filtered} THEN {condition} ELSE false END")
        return " AND ".join(parts)

    # MERGE and ON CONFLICT.

    def _place_merge(self, copied: Sequence[str]) -> None:
        seen = self._held.any_target.seen if self._held.targets else None
        self._write.set("on", GuardText(this=self._condition(seen, self._write.args["on"], copied, self._fresh)))
        for arm in self._write.args["arms"]:
            self._place_arm(arm, seen)

    def _place_arm(self, arm: MergeArm, seen: Fragment | None) -> None:
        target = self._held.targets.get(self._arm_key(arm)) if arm.args["action"] != "NOTHING" else None
        own = arm.args.get("condition")
        text = generate(own) if own is not None else None
        if target is not None and target.touch is not None:
            text = self._or_refuse(text, target)
        if arm.args["match"] == "NOT MATCHED BY SOURCE" and seen is not None:
            text = f"CASE WHEN {self._text(seen)} THEN {text or 'true'} ELSE false END"
        arm.set("condition", GuardText(this=text) if text else None)

    def _arm_key(self, arm: MergeArm) -> TargetKey:
        action, columns = ACTIONS[arm.args["action"]], frozenset(written_columns(arm))
        return next(key for key in self._held.targets if key.action is action and key.columns == columns)

    def _or_refuse(self, condition: str | None, target: Target) -> str:
        """The caller's condition; where it holds for a row that may not be touched, the statement fails."""
        if target.touch is None:
            return condition or "true"
        test = f"CASE WHEN {self._text(target.touch)} THEN true ELSE {self._text(target.refusal)} END"
        return test if condition is None else f"CASE WHEN {condition} THEN {test} ELSE false END"

    def _place_conflict(self) -> None:
        conflict = self._write.args.get("conflict")
        if conflict is None or not conflict.args.get("sets"):
            return
        target = next(each for key, each in self._held.targets.items() if key.action is Action.UPDATE)
        own = conflict.args.get("where")
        if target.touch is None:
            return
        filtered, refusal = self._text(target.touch), self._text(target.refusal)
        then = generate(own) if own is not None else "true"
        conflict.set("where", GuardText(this=f"CASE WHEN {filtered} THEN {then} ELSE {refusal} END"))

    # Values.

    def _place_ahead(self) -> None:
        """What new rows must satisfy, asked of their values."""
        action = self._write.args["action"]
        if action == "MERGE":
            for arm in self._write.args["arms"]:
                held = self._ahead(self._arm_key(arm)) if arm.args["action"] in ("INSERT", "UPDATE") else None
                if held is not None:
                    ahead.place_sets(arm.args["sets"], held) if arm.args["action"] == "UPDATE" else ahead.place_values(
                        arm, held
                    )
            return
        for key in self._held.targets:
            held = self._ahead(key)
            if held is not None and key.action is Action.INSERT:
                ahead.place_insert(self._write, held)
            elif held is not None:
                ahead.place_sets((self._write.args.get("conflict") or self._write).args["sets"], held)

    def _ahead(self, key: TargetKey) -> ahead.Held | None:
        target = self._held.targets[key]
        if target.ahead is None or target.check is None:
            return None
        return ahead.Held(target.ahead, self._text(target.check), self._text(target.refusal), key.alias)

    # RETURNING.

    def _returning_items(self) -> None:
        """Spell ``*`` out, and give names to items that would lose theirs."""
        items = self._write.args.get("returning")
        if items is None:
            return
        out: list[exp.Expression] = []
        for item in items:
            if isinstance(item, exp.Star):
                out += self._everything()
            elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star) and item.table == self._alias:
                out += self._own_columns()
            else:
                out.append(self._named(item))
        self._write.set("returning", out)

    @property
    def _alias(self) -> str:
        return self._held.reference.alias

    def _own_columns(self) -> list[exp.Expression]:
        return [self._own_column(column.name) for column in self._held.guard.columns]

    def _own_column(self, name: str) -> exp.Expression:
        alias = exp.Identifier(this=self._alias, quoted=True)
        column = exp.Column(this=exp.Identifier(this=name, quoted=True), table=alias)
        exposed = self._held.guard.column(name)
        if exposed is None or exposed.raw:
            return column
        self._held.meanings.append(Meaning(column, Place.RETURNING, True, self._alias, nested=False))
        return exp.Alias(this=column, alias=exp.Identifier(this=name, quoted=True))

    def _everything(self) -> list[exp.Expression]:
        """``*``: the target's columns, and before (MERGE) or behind them those of the other items."""
        others: list[exp.Expression] = []
        for item in _other_items(self._write):
            if not item.alias_or_name or item.args.get("using") or item.args.get("method"):
                raise UnsupportedConstruct("RETURNING * over joined items; name the columns")
            others.append(exp.Column(this=exp.Star(), table=exp.Identifier(this=item.alias_or_name, quoted=True)))
        own = self._own_columns()
        return [*others, *own] if self._write.args["action"] == "MERGE" else [*own, *others]

    def _named(self, item: exp.Expression) -> exp.Expression:
        if isinstance(item, exp.Alias) or not any(self._is_masked(meaning, item) for meaning in self._held.meanings):
            return item
        label = label_of(item)
        if label is None:
            raise UnsupportedConstruct("a masked column in an expression of RETURNING; name the expression with AS")
        return exp.Alias(this=item, alias=exp.Identifier(this=label, quoted=True))

    def _is_masked(self, meaning: Meaning, item: exp.Expression) -> bool:
        column = self._held.guard.column(meaning.node.name)
        masked = column is not None and not column.raw
        return masked and meaning.place is Place.RETURNING and any(node is meaning.node for node in item.walk())

    def _mask_names(self) -> None:
        """Put masks in the place of the names of masked columns."""
        guard = self._held.guard
        for meaning in self._held.meanings:
            column = guard.column(meaning.node.name)
            if column is None or column.raw or meaning.place is Place.FROM or meaning.node.parent is None:
                continue
            shown = self._held.any_target.shown[column.name]
            meaning.node.replace(GuardText(this=f"({self._text(shown)})"))

    def _place_check(self) -> None:
        """What new rows must satisfy, around the first item of RETURNING whose name is known."""
        test = self._test()
        if test is None:
            return
        if self._write.args["action"] == "MERGE" and self._server_version < _MERGE_RETURNING:
            raise UnsupportedConstruct(
                "MERGE into a relation with rules on new rows, before PostgreSQL 17; write apart"
            )
        items = self._write.args.get("returning")
        refusal = self._text(self._held.any_target.refusal)
        if items is None:
            checked = GuardText(this=f"CASE WHEN {test} THEN NULL WHEN {refusal} THEN NULL END")
            name = exp.Identifier(this=CHECKED, quoted=True)
            self._write.set("returning", [exp.Alias(this=checked, alias=name)])
            return
        place = next((place for place, item in enumerate(items) if label_of(item) is not None), None)
        if place is None:
            raise UnsupportedConstruct("no item of RETURNING has a name; give one a name with AS")
        item = items[place]
        value = generate(item.this if isinstance(item, exp.Alias) else item)
        text = GuardText(this=f"CASE WHEN {test} THEN {value} WHEN {refusal} THEN NULL END")
        items[place] = exp.Alias(this=text, alias=exp.Identifier(this=label_of(item), quoted=True))
        self._write.set("returning", items)

    def _test(self) -> str | None:
        """What must be true of each row that is given back."""
        parts = []
        if self._fresh is not None and self._write.args["action"] == "INSERT":
            parts.append(self._fresh)
        checks: dict[Action, list[str]] = {}
        for key, target in self._held.targets.items():
            if target.check is not None:
                checks.setdefault(key.action, []).append(f"({self._text(target.check)})")
        if self._write.args["action"] == "MERGE":
            if checks:
                arms = [f" WHEN '{action.name}' THEN {' AND '.join(found)}" for action, found in checks.items()]
                parts.append(f"CASE merge_action(){''.join(arms)} ELSE true END")
        elif len(checks) > 1 and all(target.settled for target in self._held.targets.values()):
            # Each arm of ON CONFLICT holds its rows to its own; afterwards it is not known which was taken.
            parts.append(f"({' OR '.join(text for found in checks.values() for text in found)})")
        else:
            parts += [text for found in checks.values() for text in found]
        return " AND ".join(parts) or None


def _other_items(write: Write) -> Iterator[exp.Expression]:
    from_ = write.args.get("from_")
    if from_ is not None:
        yield from_.this
    for join in write.args.get("joins") or ():
        if join.args.get("using") or join.args.get("method"):
            yield join
        else:
            yield join.this
