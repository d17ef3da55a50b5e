"""Where each part of a decision comes from: every row condition, mask and hidden column with its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datagate.model.decision import (
    TRUE,
    AllOf,
    AnyOf,
    CellCase,
    ConsentLive,
    Decision,
    Filter,
    RefersTo,
    RuleRef,
    Where,
)
from datagate.model.mask import Mask, MaskKind
from datagate.model.policy import Effect, PolicySet, RelationPolicy, Rule, Scope, Through
from datagate.model.source import SourceRef
from datagate.model.values import AttributeValue

# Options that say by their value what they are, and values that go without saying.
_UNNAMED = frozenset({"n", "unit", "to", "edges", "expression", "value"})
_UNSAID = frozenset({("key", "default"), ("value", "***"), ("v4", 24), ("v6", 48)})


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a decision says, and where the policy says it; ``depth`` sets it in below another."""

    text: str
    sources: tuple[SourceRef, ...]
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A column that exists for the caller, and how its cells are shown."""

    name: str
    how: Line


@dataclass(frozen=True, slots=True)
class Hidden:
    """Columns that do not exist for the caller, for one reason."""

    names: tuple[str, ...]
    why: Line


@dataclass(frozen=True, slots=True)
class Trace:
    """A decision, part by part. ``rows``: conditions that must all hold; none: all rows."""

    decision: Decision
    rules: tuple[RuleRef, ...]
    rows: tuple[Line, ...]
    shown: tuple[Shown, ...]
    hidden: tuple[Hidden, ...]


def trace(decision: Decision, policies: PolicySet, scopes: Sequence[Scope]) -> Trace:
    """Trace a permit to its rules; ``scopes`` are those of the caller's mandates, its own first."""
    tracer = _Tracer(decision, policies, tuple(scopes))
    return Trace(
        decision=decision,
        rules=decision.rules,
        rows=tuple(tracer.rows()),
        shown=tuple(tracer.shown()),
        hidden=tuple(tracer.hidden()),
    )


@dataclass(frozen=True, slots=True)
class _Tracer:
    decision: Decision
    policies: PolicySet
    scopes: tuple[Scope, ...]

    @property
    def policy(self) -> RelationPolicy:
        return self.policies.relations[self.decision.relation]

    def in_play(self) -> list[Rule]:
        """The relation's own rules that the decision rests on."""
        places = {ref.source for ref in self.decision.rules}
        return [rule for rule in self.policy.rules if rule.source in places]

    def rows(self) -> Iterator[Line]:
        """The conditions on rows."""
        if self.decision.filter != TRUE:
            yield from self.lines(self.decision.filter, self.policy, self.in_play(), 0)

    def lines(self, wanted: Filter, policy: RelationPolicy, rules: Sequence[Rule], depth: int) -> Iterator[Line]:
        """A filter, one condition a line, those of ``AnyOf`` and of other relations set in."""
        match wanted:
            case Where(predicate):
                yield Line(predicate.text + self.with_values(wanted), (predicate.source,), depth)
            case ConsentLive(column, purposes, _, _):
                asked = ", else ".join(purposes)
                wanting = [r for r in rules if r.consent and (not r.purposes or r.purposes & set(purposes))]
                yield Line(f"consent of {column} to {asked}", _sources(wanting), depth)
            case RefersTo():
                yield from self.reference(wanted, rules, depth)
            case AllOf(parts):
                for part in parts:
                    yield from self.lines(part, policy, rules, depth)
            case AnyOf(parts):
                yield Line("any of:" if parts else "no row", (), depth)
                for part in parts:
                    yield from self.alternative(part, policy, rules, depth + 1)

    def alternative(self, part: Filter, policy: RelationPolicy, rules: Sequence[Rule], depth: int) -> Iterator[Line]:
        if isinstance(part, AllOf) and len(part.parts) != 1:
            yield Line("all of:" if part.parts else "every row", (), depth)
            depth += 1
        yield from self.lines(part, policy, rules, depth)

    def reference(self, there: RefersTo, rules: Sequence[Rule], depth: int) -> Iterator[Line]:
        keys = ", ".join(own if own == other else f"{own} = {other}" for own, other in there.on)
        through = [r.rows for r in rules if isinstance(r.rows, Through) and r.rows.relation == there.relation]
        text = f"its row of {there.relation} (by {keys}) is visible, where"
        yield Line(text, tuple(dict.fromkeys(each.source for each in through)), depth)
        policy = self.policies.relations[there.relation]
        yield from self.lines(there.filter, policy, policy.rules, depth + 1)

    def with_values(self, where: Where) -> str:
        """The values that travel for a predicate's placeholders."""
        values = self.decision.bindings
        told = [f":{placeholder} is {spelled_value(values[name].value)}" for placeholder, name in where.bindings]
        return f"  [{', '.join(told)}]" if told else ""

    def shown(self) -> Iterator[Shown]:
        """How each column is shown, case by case."""
        for column in self.decision.columns:
            for case in column.cases:
                yield Shown(column.name, self.how(column.name, case))
            if all(case.when != TRUE for case in column.cases) and len(column.cases) > 1:
                yield Shown(column.name, Line("else NULL", ()))

    def how(self, column: str, case: CellCase) -> Line:
        if case.masks:
            text, sources = " then ".join(map(spelled_mask, case.masks)), tuple(mask.source for mask in case.masks)
        else:
            permits = (rule for rule in self.in_play() if rule.effect is Effect.PERMIT and column in rule.show)
            text, sources = "as it is", tuple(rule.source for rule in permits if rule.mask(column) is None)
        if case.when != TRUE:
            conditions = " and ".join(line.text for line in self.lines(case.when, self.policy, self.in_play(), 0))
            text = f"{text} where {conditions}"
        return Line(text, sources)

    def hidden(self) -> Iterator[Hidden]:
        """The columns that do not exist for the caller, those of one reason together."""
        visible = {column.name for column in self.decision.columns}
        reasons: dict[Line, list[str]] = {}
        for column, _ in self.policy.columns:
            if column not in visible:
                reasons.setdefault(self.why(column), []).append(column)
        for why, names in reasons.items():
            yield Hidden(tuple(names), why)

    def why(self, column: str) -> Line:
        rules = self.in_play()
        for rule in rules:
            mask = rule.mask(column)
            if rule.effect is Effect.RESTRICT and mask is not None and mask.kind is MaskKind.HIDE:
                return Line(f"{rule.name} hides it", (mask.source,))
        permits = [rule for rule in rules if rule.effect is Effect.PERMIT]
        if not any(_shows(rule, column) for rule in permits):
            names = ", ".join(rule.name for rule in permits)
            return Line(f"{names} {'shows' if len(permits) == 1 else 'show'} no such column", _sources(permits))
        for scope in self.scopes:
            handed = scope.relations.get(self.decision.relation)
            if handed is not None and handed.columns is not None and column not in handed.columns:
                return Line(f"the scope {scope.name} does not hand over", (scope.source,))
        return Line("not shown in every standing of the caller", _sources(permits))


def _shows(rule: Rule, column: str) -> bool:
    mask = rule.mask(column)
    return column in rule.show and (mask is None or mask.kind is not MaskKind.HIDE)


def _sources(rules: Sequence[Rule]) -> tuple[SourceRef, ...]:
    return tuple(rule.source for rule in rules)


def spelled_mask(mask: Mask) -> str:
    """A mask in a few words."""
    if mask.kind is MaskKind.JSON:
        paths = mask.option("paths")
        pairs = paths if isinstance(paths, tuple) else ()
        return "json " + ", ".join(
            f"{pair[0]}: {spelled_mask(pair[1])}"
            for pair in pairs
            if isinstance(pair, tuple) and isinstance(pair[1], Mask)
        )
    told = [
        f"{'' if name in _UNNAMED else name + ' '}{_spelled_option(value)}"
        for name, value in mask.options
        if (name, value) not in _UNSAID
    ]
    return " ".join([mask.kind.value, *told])


def _spelled_option(value: object) -> str:
    return f"[{', '.join(map(_spelled_option, value))}]" if isinstance(value, tuple) else str(value)


def spelled_value(value: AttributeValue) -> str:
    """An attribute's value in a few words."""
    if isinstance(value, tuple):
        return "{" + ", ".join(map(spelled_value, value)) + "}"
    return value.hex() if isinstance(value, bytes) else str(value)
