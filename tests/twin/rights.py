"""Which rules are in play for a caller, and what the placeholders in their predicates stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from datagate.model.caller import Caller
from datagate.model.facts import Entitlements, Facts, Mandate
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import PrincipalId, Purpose
from datagate.model.policy import Action, Effect, PolicySet, Predicate, RelationPolicy, Rule
from datagate.model.values import ValueType


class Denied(Exception):
    """The caller may not see the relation at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks, of which policies, with which facts, when."""

    policies: PolicySet
    caller: Caller
    facts: Facts
    instant: datetime

    @property
    def delegated(self) -> bool:
        """Whether somebody else than the principal is connected."""
        return self.caller.actor.id != self.caller.principal

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """The caller's purpose and those that contain it; empty without one."""
        purpose = self.caller.purpose
        return () if purpose is None else self.policies.purposes.chain(purpose)


@dataclass(frozen=True, slots=True)
class Clause:
    """A rule in play. ``rows`` is its predicate with literals put in, None where it has none."""

    rule: Rule
    rows: str | None


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody with entitlements of their own."""

    id: PrincipalId
    own: Entitlements


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """In whose name, through whom and under which mandate the rules are read.

    "Delegation narrows, never widens": the rules are read for the principal in person, then under each mandate of the
    chain from the principal's own grant down, then, where a scope wants it, for the actor alone. What all of these
    give is what the caller gets.
    """

    principal: Party
    actor: Party
    delegated: bool
    mandate: Mandate | None

    @property
    def label(self) -> tuple[str, str, bool, str | None]:
        """What tells the standings of one caller apart."""
        mandate = None if self.mandate is None else str(self.mandate.id)
        return (str(self.principal.id), str(self.actor.id), self.delegated, mandate)


@dataclass(frozen=True, slots=True)
class Leg:
    """What the rules say in one standing."""

    standing: Standing
    permits: tuple[Clause, ...]
    restricts: tuple[Clause, ...]

    @property
    def columns(self) -> frozenset[str]:
        """The columns that some permit shows and no restrict takes away."""
        shown = {column for clause in self.permits for column in clause.rule.show}
        return frozenset(
            column
            for column in shown
            if any(shows(clause.rule, column) for clause in self.permits)
            and not any(hides(clause.rule.mask(column)) for clause in self.restricts)
        )


@dataclass(frozen=True, slots=True)
class Rights:
    """What the caller may see of one relation: every leg, and every scope of the mandate's chain, must agree."""

    legs: tuple[Leg, ...]
    columns: frozenset[str]
    scopes: tuple[str, ...]


def hides(mask: Mask | None) -> bool:
    """Whether a mask takes the column away."""
    return mask is not None and mask.kind is MaskKind.HIDE


def shows(rule: Rule, column: str) -> bool:
    """Whether a permit shows a column, masked or not."""
    return column in rule.show and not hides(rule.mask(column))


def rights(asked: Asked, policy: RelationPolicy, standing: Standing | None = None) -> Rights:
    """The caller's rights on a relation (in one standing and all wider ones, if it is given); Denied without any."""
    if asked.caller.purpose is not None and asked.caller.purpose not in asked.policies.purposes:
        raise Denied("unknown purpose")
    legs: list[Leg] = []
    scopes: list[str] = []
    narrowed: frozenset[str] | None = None
    for one in standings(asked, standing):
        legs.append(_leg(asked, policy, one))
        if one.mandate is not None:
            columns, condition = _handed(asked, policy, one, one.mandate)
            if columns is not None:
                narrowed = columns if narrowed is None else narrowed & columns
            scopes += [condition] if condition is not None else []
    columns = frozenset[str].intersection(*(leg.columns for leg in legs))
    if narrowed is not None:
        columns &= narrowed
    if not columns:
        raise Denied("no column")
    return Rights(tuple(legs), columns, tuple(scopes))


def standings(asked: Asked, last: Standing | None) -> list[Standing]:
    """The standings whose rules must all agree, widest first; up to and with ``last``, if it is given."""
    principal = Party(asked.caller.principal, asked.facts.principal)
    actor = Party(asked.caller.actor.id, asked.facts.actor)
    alone = Standing(principal=actor, actor=actor, delegated=False, mandate=None)
    in_person = Standing(principal=principal, actor=principal, delegated=False, mandate=None)
    if last is not None and last.label == alone.label:
        return [alone]
    out = [in_person]
    for mandate in reversed(_chain(asked)):
        if last is not None and out[0].label == last.label:
            break
        out.append(Standing(principal=principal, actor=actor, delegated=asked.delegated, mandate=mandate))
        reached = last is not None and out[-1].label == last.label
        if asked.policies.scopes[mandate.scope].intersect_actor:
            out.append(alone)
        if reached:
            break
    return out


def _leg(asked: Asked, policy: RelationPolicy, standing: Standing) -> Leg:
    literals = _literals(asked, standing)
    clauses = []
    for rule in policy.rules:
        if _in_play(asked, policy, rule, standing):
            rows = _filled(rule.rows, literals) if isinstance(rule.rows, Predicate) else None
            clauses.append(Clause(rule, rows))
    permits = tuple(clause for clause in clauses if clause.rule.effect is Effect.PERMIT)
    if not permits:
        raise Denied("no permit")
    return Leg(standing, permits, tuple(clause for clause in clauses if clause.rule.effect is Effect.RESTRICT))


def _in_play(asked: Asked, policy: RelationPolicy, rule: Rule, standing: Standing) -> bool:
    if rule.to and not rule.to & standing.principal.own.roles:
        return False
    if rule.purposes and not rule.purposes & set(asked.purposes):
        return False
    if rule.effect is Effect.PERMIT and rule.consent and not (asked.purposes and policy.data_subject):
        return False
    when = rule.when
    if when.actor_kinds is not None and asked.caller.actor.kind not in when.actor_kinds:
        return False
    if when.delegated is not None and when.delegated != standing.delegated:
        return False
    return when.scopes is None or (standing.mandate is not None and standing.mandate.scope in when.scopes)


def _handed(
    asked: Asked, policy: RelationPolicy, standing: Standing, mandate: Mandate
) -> tuple[frozenset[str] | None, str | None]:
    """The columns and the rows that a mandate's scope hands over of a relation; None: all."""
    handed = asked.policies.scopes[mandate.scope].relations.get(policy.relation)
    if handed is None or Action.SELECT not in handed.actions:
        raise Denied("not in the mandate's scope")
    rows = None if handed.rows is None else _filled(handed.rows, _literals(asked, standing))
    return handed.columns, rows


def _chain(asked: Asked) -> tuple[Mandate, ...]:
    """The caller's mandate and those above it; Denied unless all of them are live and fit together."""
    chain = asked.facts.chain
    if asked.caller.mandate is None:
        if asked.delegated:
            raise Denied("no mandate")
        return ()
    if not chain or chain[0].id != asked.caller.mandate or chain[0].holder != asked.caller.actor.id:
        raise Denied("not this actor's mandate")
    if chain[-1].parent is not None:
        raise Denied("not granted by the principal")
    for depth, mandate in enumerate(chain):
        ended = mandate.valid_until is not None and mandate.valid_until <= asked.instant
        if mandate.valid_from > asked.instant or ended:
            raise Denied("mandate not valid now")
        if mandate.revoked_at is not None and mandate.revoked_at <= asked.instant:
            raise Denied("mandate revoked")
        if not mandate.purposes & set(asked.purposes):
            raise Denied("not a purpose of the mandate")
        if mandate.sub_delegable < depth or mandate.principal != asked.caller.principal:
            raise Denied("not this principal's, or sub-delegated too often")
        if depth and chain[depth - 1].parent != mandate.id:
            raise Denied("broken chain")
        if mandate.scope not in asked.policies.scopes:
            raise Denied("unknown scope")
    return chain


def _literals(asked: Asked, standing: Standing) -> Mapping[str, str]:
    """Every placeholder that a predicate may name in a standing, as a literal."""
    types = asked.policies.attributes
    out = {
        "now": quoted(asked.instant, ValueType.TIMESTAMPTZ),
        "principal.id": quoted(str(standing.principal.id), ValueType.TEXT),
        "actor.id": quoted(str(standing.actor.id), ValueType.TEXT),
        "actor.kind": quoted(asked.caller.actor.kind.value, ValueType.TEXT),
    }
    if asked.caller.purpose is not None:
        out["purpose"] = quoted(str(asked.caller.purpose), ValueType.TEXT)
    for prefix, party in (("principal", standing.principal), ("actor", standing.actor)):
        for name, value in party.own.attributes.items():
            if name in types:
                out[f"{prefix}.{name}"] = quoted(value, types[name])
    if standing.mandate is not None:
        parameters = dict(asked.policies.scopes[standing.mandate.scope].parameters)
        for name, value in standing.mandate.parameters.items():
            if name in parameters:
                out[f"mandate.{name}"] = quoted(value, parameters[name])
    return out


def quoted(value: object, kind: ValueType) -> str:
    """An SQL literal of the given type."""
    plain = list(value) if isinstance(value, tuple) else value
    return f"({sql.Literal(plain).as_string(None)})::{kind.value}"


_TOKEN = re.compile(
    r"""
    (?P<kept> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | :: )
    | :(?P<name> [a-z_]+ (?: \. \w+ )? )
    """,
    re.VERBOSE | re.DOTALL,
)


def _filled(predicate: Predicate, literals: Mapping[str, str]) -> str:
    """The predicate's text with a literal for each placeholder; Denied where a value is missing."""
    missing = [name for name in predicate.placeholders if name not in literals]
    if missing:
        raise Denied(f"no value for {', '.join(missing)}")

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        return literals[name] if name is not None and name in predicate.placeholders else match[0]

    return _TOKEN.sub(fill, predicate.text)
