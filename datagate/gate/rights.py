"""What one caller may do, by the facts of one reading."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from datagate.backends.postgres.catalog_guards import CatalogGuards
from datagate.backends.postgres.catalog_views import is_engine_view
from datagate.backends.postgres.consents import CONSENTS
from datagate.backends.postgres.freshness import EPOCH, PARTIES, PARTY, PURPOSES, SECOND_PARTY, VALID_UNTIL
from datagate.backends.postgres.guards import CAPTURED, compile_target, naming_columns
from datagate.decision import decide
from datagate.decision.filters import consent_purposes
from datagate.decision.writes import not_writable
from datagate.errors import InternalError, Refused, UndefinedColumn, UnsupportedConstruct
from datagate.gate.shared import Shared
from datagate.model.caller import Caller
from datagate.model.catalog import Relation, RelationKind
from datagate.model.decision import Decision, Denial, DenyReason, Outcome, Request
from datagate.model.facts import Facts
from datagate.model.fragment import Binding
from datagate.model.guard import Guard, Target, TargetKey
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Action
from datagate.model.values import ValueType
from datagate.sql.views import Seen

_FEW_PARTIES = 2

CALLER_LEVEL = {
    DenyReason.CALLER_ENDED: "the login of this session has ended; log in again",
    DenyReason.UNKNOWN_PURPOSE: "the purpose of this session is not known",
    DenyReason.NOT_TRUSTED: "the service of this session is not trusted to speak for this user and purpose",
    DenyReason.NO_MANDATE: "the actor of this session acts for another principal without a mandate",
    DenyReason.MANDATE_ENDED: "the mandate of this session is not in force",
    DenyReason.MANDATE_REVOKED: "the mandate of this session is not in force",
    DenyReason.MANDATE_NOT_YET: "the mandate of this session is not in force",
    DenyReason.MANDATE_SUSPENDED: "the mandate of this session is not in force",
    DenyReason.MANDATE_USED_UP: "the mandate of this session is not in force",
    DenyReason.MANDATE_ACTOR: "the mandate of this session is not in force",
    DenyReason.MANDATE_CHAIN: "the mandate of this session is not in force",
    DenyReason.MANDATE_PURPOSE: "the mandate of this session does not cover its purpose",
}
"""Denials that speak of the caller, not of a relation: they are told before any relation is looked at."""


def _ending(facts: Facts, caller: Caller, instant: datetime) -> Facts:
    """The facts, which must not be used beyond the next turn of the caller's own, either."""
    narrowing = caller.narrowing
    own = [facts.valid_until, caller.valid_until]
    own += [] if narrowing is None else [narrowing.valid_from, narrowing.valid_until]
    turns = [turn for turn in own if turn is not None and turn > instant]
    return replace(facts, valid_until=min(turns, default=None))


class Rights:
    """What one caller may do, by the facts of one reading."""

    def __init__(self, shared: Shared, caller: Caller) -> None:
        self.shared = shared
        self.caller = caller
        self.policies = shared.policies
        self.instant = shared.instant()
        self.facts: Facts = _ending(shared.state.facts(caller, self.instant), caller, self.instant)
        self._decisions: dict[tuple[RelationName, Action], Decision] = {}
        self.catalog_guards = CatalogGuards(shared.catalog, self.visible_columns, self.sees_through)
        self.standing = self._standing()

    @cached_property
    def answered(self) -> tuple[Purpose, ...]:
        """The purposes for which an answer of a data subject can change what the caller sees."""
        tree, purpose = self.policies.purposes, self.caller.purpose
        asked = any(rule.consent for policy in self.policies.relations.values() for rule in policy.rules)
        return tree.chain(purpose) if asked and purpose is not None and purpose in tree.parents else ()

    def decision(self, relation: RelationName, action: Action = Action.SELECT) -> Decision:
        """The decision on an action on a relation that has a policy."""
        found = self._decisions.get((relation, action))
        if found is None:
            request = Request(self.caller, relation, action, self.instant)
            found = self._decisions[relation, action] = decide(request, self.shared.policies, self.facts)
        return found

    def _standing(self) -> Denial | None:
        for relation in self.shared.policies.relations:
            denial = self.decision(relation).denial
            return denial if denial is not None and denial.reason in CALLER_LEVEL else None
        return None

    def visible_columns(self, relation: Relation) -> frozenset[str]:
        """The columns of a relation that exist for the caller; empty: the relation does not."""
        owner = self.shared.policy_relation(relation)
        if owner is not None:
            decision = self.decision(owner)
            return frozenset(column.name for column in decision.columns) - naming_columns(relation)
        expanded = relation.kind is RelationKind.VIEW and relation.view_sql is not None
        if expanded and (is_engine_view(relation) or self.sees_through(relation)):
            return frozenset(column.name for column in relation.columns)
        return frozenset()

    def sees_through(self, view: Relation) -> bool:
        """Whether every relation and column that a view depends on exists for the caller."""
        relations = self.shared.catalog.relations
        for name, column in view.view_columns:
            visible = self.visible_columns(relations[name]) if name in relations else frozenset()
            if not visible or (column and column not in visible):
                return False
        return bool(view.view_columns)

    def sight(self, relation: Relation) -> Seen:
        """How a relation stands in the caller's sight."""
        if self.catalog_guards.has(relation):
            return Seen.GUARDED
        owner = self.shared.policy_relation(relation)
        if owner is not None:
            decision = self.decision(owner)
            return Seen.GUARDED if decision.outcome is Outcome.PERMIT and self.visible_columns(relation) else Seen.NOT
        return Seen.EXPANDED if self.visible_columns(relation) else Seen.NOT

    def guard(self, relation: Relation) -> Guard:
        """The guard of a relation that stands GUARDED in the caller's sight."""
        if self.catalog_guards.has(relation):
            return self.catalog_guards.guard(relation)
        owner = self.shared.policy_relation(relation)
        if owner is None:
            raise InternalError("a relation without policy has no guard")
        return self.shared.guard(self.decision(owner), relation)

    def aim(self, relation: Relation, key: TargetKey) -> Target:
        """What a write to a relation in the caller's sight is held to; Refused where it is not permitted at all."""
        owner = self.shared.policy_relation(relation)
        if owner is None:
            raise Refused(f"{key.action.value} is not permitted on {relation.name}")
        seen, decided = self.decision(owner), self.decision(owner, key.action)
        if decided.denial is not None:
            refusal = Refused(f"{key.action.value} is not permitted on {relation.name}")
            refusal.audit_reason = f"{relation.name}: {decided.denial.reason.value}: {decided.denial.detail}"
            raise refusal
        visible = self.visible_columns(relation)
        for column in sorted(key.columns):
            if column not in visible:
                raise UndefinedColumn(f'column "{column}" of relation "{relation.name.name}" does not exist')
        refused = not_writable(seen, decided, key.columns)
        if refused:
            raise Refused(f'{key.action.value} of column "{refused[0]}" of {relation.name} is not permitted')
        if not self.shared.state_within:
            raise UnsupportedConstruct(
                "writes need the schema datagate in the same database; run `datagate init` there"
            )
        if CAPTURED.fullmatch(key.alias):
            raise UnsupportedConstruct(f"the name {key.alias} for what is written; give it another alias")
        return compile_target(seen, decided, key, relation, self.shared.catalog, CONSENTS)

    @property
    def told(self) -> str:
        """What a caller reads who may do nothing at all: an unknown mandate and an ended one sound alike."""
        if self.standing is None:
            return ""
        unknown = self.standing.reason is DenyReason.NO_MANDATE and self.caller.mandate is not None
        return CALLER_LEVEL[DenyReason.MANDATE_ENDED if unknown else self.standing.reason]

    def may_run(self, kind: str) -> bool:
        """Whether a policy grants a kind of statement to one of the principal's roles, and to nobody's delegate."""
        granted = self.shared.policies.statements.get(kind, frozenset())
        return self.caller.mandate is None and not granted.isdisjoint(self.facts.principal.roles)

    def may_lock(self, owner: RelationName) -> bool:
        """Whether the caller may lock rows: whoever may change or remove some (PostgreSQL asks for UPDATE)."""
        actions = (Action.UPDATE, Action.DELETE)
        return any(self.decision(owner, action).outcome is Outcome.PERMIT for action in actions)

    def still_current(self) -> bool:
        """Whether the facts are still in force, asked of the state."""
        ended = self.facts.valid_until is not None and self.facts.valid_until <= self.shared.instant()
        return not ended and self.shared.state.is_current(self.facts.epoch)

    def value(self, binding: Binding, decisions: tuple[Decision, ...]) -> object:
        """The value that travels for a binding."""
        parties = self.facts.epoch.parties
        if binding == PARTIES:
            return parties
        if binding == PARTY:
            return parties[0] if len(parties) <= _FEW_PARTIES else None
        if binding == SECOND_PARTY:
            return parties[1] if len(parties) == _FEW_PARTIES else None
        if binding == EPOCH:
            return self.facts.epoch.value
        if binding == VALID_UNTIL:
            return self.facts.valid_until
        if binding == PURPOSES:
            return tuple(sorted({purpose for decision in decisions for purpose in consent_purposes(decision)}))
        root, _, rest = binding.name.partition(".")
        if root == "key":
            return self.shared.keyring.binding(binding.name).value
        if root == "purpose" and rest:
            return rest
        if root == "consenting":
            return self._consenting(*json.loads(rest), decisions=decisions)
        if root == "catalog":
            return self.catalog_guards.value(binding)
        return _bound(binding, decisions)

    def _consenting(
        self, purpose: str, recipients: list[str], tags: list[str], *, decisions: tuple[Decision, ...]
    ) -> tuple[str, ...]:
        """The data subjects who consent, where the statement cannot ask by itself."""
        parties = [frozenset(_bound(Binding(name, ValueType.TEXT_ARRAY), decisions)) for name in recipients]
        chain = self.shared.policies.purposes.chain(Purpose(purpose))
        return self.shared.state.consenting(chain, self.instant, tags=tags, parties=parties)


def _bound(binding: Binding, decisions: tuple[Decision, ...]) -> Any:
    """The value that a decision gave a binding."""
    for decision in decisions:
        typed = decision.bindings.get(binding.name)
        if typed is not None:
            return typed.value
    raise InternalError("a policy value has no source; nothing was sent")
