"""Two slow, obvious evaluators over rows in memory, and what they agree on: who sees which cell, under which masks.

``shown`` reads a Decision as an engine would. ``expected`` reads DESIGN §3 and the policy itself, row by row, and
shares nothing with the code under test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datagate.model.caller import Caller
from datagate.model.decision import AllOf, AnyOf, ConsentLive, Decision, Filter, Outcome, RefersTo, Where
from datagate.model.facts import Entitlements, Facts
from datagate.model.mask import MaskKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Action, Effect, PolicySet, Predicate, RelationPolicy, Rule, Scope

Row = Mapping[str, str | None]
Cell = tuple[MaskKind, ...] | None
"""How a cell is shown: sorted masks, none of them: raw; or None: NULL."""
View = dict[int, dict[str, Cell]]
"""The visible rows by number, each with the columns that exist."""
Value = str | tuple[str, ...]


@dataclass(frozen=True)
class World:
    """The rows of every relation, and what data subjects answered for purposes."""

    tables: Mapping[RelationName, Sequence[Row]]
    consents: Mapping[tuple[str, Purpose], bool]

    def consent_live(self, data_subject: str | None, purposes: Sequence[Purpose]) -> bool:
        """The nearest answer counts; none is no."""
        for purpose in purposes:
            if data_subject is not None and (data_subject, purpose) in self.consents:
                return self.consents[data_subject, purpose]
        return False


def holds(text: str, row: Row, values: Mapping[str, Value]) -> bool:
    """The tests' whole predicate language: ``col = 'x'``, ``col = :name``, ``col = ANY(:name)``; NULL is false."""
    match = re.fullmatch(r"(\w+) = (?:'(\w+)'|:([a-z_.]+)|ANY\(:([a-z_.]+)\))", text)
    assert match is not None, text
    own = row[match[1]]
    if own is None:
        return False
    if match[2] is not None:
        return own == match[2]
    return own == values[match[3]] if match[3] else own in values[match[4]]


# --- reading a Decision ---


def shown(decision: Decision, world: World) -> View | None:
    """What a decision shows, or None where it denies."""
    if decision.outcome is Outcome.DENY:
        return None
    view: View = {}
    for number, row in enumerate(world.tables[decision.relation]):
        if _true(decision.filter, row, decision, world):
            view[number] = {}
            for column in decision.columns:
                cases = [case for case in column.cases if _true(case.when, row, decision, world)]
                view[number][column.name] = _sorted(each.kind for each in cases[0].masks) if cases else None
    return view


def _true(condition: Filter, row: Row, decision: Decision, world: World) -> bool:
    match condition:
        case AllOf(parts):
            return all(_true(part, row, decision, world) for part in parts)
        case AnyOf(parts):
            return any(_true(part, row, decision, world) for part in parts)
        case ConsentLive(column, purposes, _, _):
            return world.consent_live(row[column], purposes)
        case RefersTo(relation, on, inner):
            return any(
                all(row[own] is not None and row[own] == there[other] for own, other in on)
                and _true(inner, there, decision, world)
                for there in world.tables[relation]
            )
        case Where(predicate, bindings):
            values = {placeholder: decision.bindings[name].value for placeholder, name in bindings}
            assert all(isinstance(value, (str, tuple)) for value in values.values())
            return holds(predicate.text, row, values)  # type: ignore[arg-type]


# --- reading the policy ---


class Denied(Exception):
    """The caller may not see the relation."""


def expected(policies: PolicySet, caller: Caller, facts: Facts, world: World, relation: RelationName) -> View | None:
    """What DESIGN §3 says that a caller sees; the mandates are taken to be live and in order."""
    reader = _Reader(policies, caller, facts, world)
    try:
        return reader.under(0, relation)
    except Denied:
        return None


@dataclass(frozen=True)
class _Reader:
    policies: PolicySet
    caller: Caller
    facts: Facts
    world: World

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        return () if self.caller.purpose is None else self.policies.purposes.chain(self.caller.purpose)

    def under(self, level: int, relation: RelationName) -> View:
        """Under the chain from this link up: all wider levels, this link's rules, its scope, perhaps the actor."""
        if level == len(self.facts.chain):
            return self.by_rules(level, relation, self.facts.principal)
        view = _both(self.under(level + 1, relation), self.by_rules(level, relation, self.facts.principal))
        scope = self.policies.scopes[self.facts.chain[level].scope]
        view = self.within(scope, level, relation, view)
        if scope.intersect_actor:
            view = _both(view, self.by_rules(-1, relation, self.facts.actor))
        return view

    def within(self, scope: Scope, level: int, relation: RelationName, view: View) -> View:
        handed = scope.relations.get(relation)
        if handed is None or Action.SELECT not in handed.actions:
            raise Denied
        out: View = {}
        values = {} if handed.rows is None else self.values(handed.rows, level, self.facts.principal)
        for number, cells in view.items():
            if handed.rows is None or holds(handed.rows.text, self.world.tables[relation][number], values):
                out[number] = {name: cell for name, cell in cells.items() if name in (handed.columns or cells)}
        return _with_columns(out)

    def by_rules(self, level: int, relation: RelationName, own: Entitlements) -> View:
        policy = self.policies.relations.get(relation)
        if policy is None:
            raise Denied
        rules = [rule for rule in policy.rules if self.in_play(rule, level, own)]
        permits = [rule for rule in rules if rule.effect is Effect.PERMIT]
        restricts = [rule for rule in rules if rule.effect is Effect.RESTRICT]
        for rule in rules:
            if isinstance(rule.rows, Predicate):
                self.values(rule.rows, level, own)
        if not permits:
            raise Denied
        columns = existing(policy, permits, restricts)
        view: View = {}
        for number, row in enumerate(self.world.tables[relation]):
            matching = [permit for permit in permits if self.matches(permit, policy, row, level, own)]
            if matching and all(self.matches(rule, policy, row, level, own) for rule in restricts):
                view[number] = {column: cell(column, matching, restricts) for column in columns}
        return view

    def in_play(self, rule: Rule, level: int, own: Entitlements) -> bool:
        chain = self.facts.chain
        linked = 0 <= level < len(chain)
        delegated = linked and self.caller.actor.id != self.caller.principal
        return (
            (not rule.to or bool(rule.to & own.roles))
            and (not rule.purposes or bool(rule.purposes & set(self.purposes)))
            and (rule.when.actor_kinds is None or self.caller.actor.kind in rule.when.actor_kinds)
            and (rule.when.delegated is None or rule.when.delegated == delegated)
            and (rule.when.scopes is None or (linked and chain[level].scope in rule.when.scopes))
            and (rule.effect is Effect.RESTRICT or bool(rule.show))
            and not (rule.effect is Effect.PERMIT and rule.consent and not self.purposes)
        )

    def matches(self, rule: Rule, policy: RelationPolicy, row: Row, level: int, own: Entitlements) -> bool:
        assert policy.data_subject is not None
        if rule.consent and not self.world.consent_live(row[policy.data_subject], self.purposes):
            return False
        if rule.rows is None:
            return True
        if isinstance(rule.rows, Predicate):
            return holds(rule.rows.text, row, self.values(rule.rows, level, own))
        there = rule.rows.relation
        try:
            visible = self.by_rules(-1, there, own) if level < 0 else self.under(level, there)
        except Denied:
            return False
        rows = [self.world.tables[there][number] for number in visible]
        return any(all(row[a] is not None and row[a] == other[b] for a, b in rule.rows.on) for other in rows)

    def values(self, predicate: Predicate, level: int, own: Entitlements) -> dict[str, Value]:
        linked = 0 <= level < len(self.facts.chain)
        actor = self.facts.actor if linked else own
        known: dict[str, object] = {f"principal.{name}": value for name, value in own.attributes.items()}
        known |= {f"actor.{name}": value for name, value in actor.attributes.items()}
        if linked:
            known |= {f"mandate.{name}": value for name, value in self.facts.chain[level].parameters.items()}
        if not known.keys() >= set(predicate.placeholders):
            raise Denied
        return {name: value for name, value in known.items() if isinstance(value, (str, tuple))}


def existing(policy: RelationPolicy, permits: Sequence[Rule], restricts: Sequence[Rule]) -> list[str]:
    """The columns that exist under these rules."""
    columns = [
        column
        for column, _ in policy.columns
        if any(column in permit.show and not _hides(permit, column) for permit in permits)
        and not any(_hides(rule, column) for rule in restricts)
    ]
    if not columns:
        raise Denied
    return columns


def cell(column: str, matching: Sequence[Rule], restricts: Sequence[Rule]) -> Cell:
    """How one cell is shown by the permits that match its row."""
    ways = []
    for permit in matching:
        if column in permit.show and not _hides(permit, column):
            mask = permit.mask(column)
            ways.append([] if mask is None else [mask.kind])
    if not ways:
        return None
    way = next((each for each in ways if not each), ways[0])
    return _sorted([*way, *(mask.kind for rule in restricts if (mask := rule.mask(column)) is not None)])


def _hides(rule: Rule, column: str) -> bool:
    mask = rule.mask(column)
    return mask is not None and mask.kind is MaskKind.HIDE


def _both(first: View, second: View) -> View:
    out: View = {}
    for number in first.keys() & second.keys():
        out[number] = {}
        for column in first[number].keys() & second[number].keys():
            a, b = first[number][column], second[number][column]
            out[number][column] = None if a is None or b is None else _sorted((Counter(a) | Counter(b)).elements())
    return _with_columns(out)


def _with_columns(view: View) -> View:
    """The view, unless its rows have no columns: such a relation is denied, and no other refers to its rows."""
    if view and not any(view.values()):
        raise Denied
    return view


def _sorted(kinds: object) -> tuple[MaskKind, ...]:
    assert hasattr(kinds, "__iter__")
    return tuple(sorted(kinds, key=lambda kind: kind.value))


# --- comparing ---


def narrower(narrow: View | None, wide: View | None) -> bool:
    """Whether each row and cell of the one is in the other, at least as raw there. Nothing is narrower than all."""
    if narrow is None:
        return True
    if wide is None:
        return False
    return all(
        number in wide
        and cells.keys() <= wide[number].keys()
        and all(_no_rawer(cells[column], wide[number][column]) for column in cells)
        for number, cells in narrow.items()
    )


def _no_rawer(masked: Cell, rawer: Cell) -> bool:
    return masked is None or (rawer is not None and not Counter(rawer) - Counter(masked))
