"""Policies and facts in one line each, for tests of the decision."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from datagate.decision import decide
from datagate.model.caller import ActorKind, Caller
from datagate.model.decision import Decision, DenyReason, Request
from datagate.model.facts import NO_ENTITLEMENTS, Entitlements, Epoch, Facts, Mandate
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import MandateId, PrincipalId, Purpose, RelationName
from datagate.model.policy import (
    Action,
    Effect,
    PolicySet,
    Predicate,
    PurposeTree,
    RelationPolicy,
    RowRule,
    Rule,
    Scope,
    ScopeRelation,
    Through,
    When,
)
from datagate.model.source import NOWHERE, SourceRef
from datagate.model.values import AttributeValue, ValueType

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUSTOMERS = RelationName("bank", "customers")
ACCOUNTS = RelationName("bank", "accounts")
PURPOSES = PurposeTree(
    {
        Purpose("marketing"): None,
        Purpose("marketing.email"): Purpose("marketing"),
        Purpose("analytics"): None,
        Purpose("tax"): None,
    }
)
ATTRIBUTES = {
    "regions": ValueType.TEXT_ARRAY,
    "region": ValueType.TEXT,
    "customer_id": ValueType.INT,
    "limit": ValueType.NUMERIC,
}


def predicate(text: str, line: int = 1) -> Predicate:
    """A predicate with its placeholders read from the text."""
    placeholders = tuple(dict.fromkeys(re.findall(r"(?<!:):([a-z_.]+)", text)))
    return Predicate(text, placeholders, (), SourceRef("p.yaml", line, 1))


def through(relation: RelationName, own: str, there: str | None = None) -> Through:
    """Rows visible through another relation."""
    return Through(relation, ((own, there or own),), NOWHERE)


def mask(kind: MaskKind, **options: str | int | Decimal) -> Mask:
    """A mask that no file holds."""
    return Mask(kind, tuple(options.items()), NOWHERE)


def _rule(name: str, effect: Effect, rows: RowRule | str | None, when: When | None, **parts: object) -> Rule:
    defaults: dict[str, object] = {
        "to": (),
        "purposes": (),
        "consent": False,
        "show": (),
        "masks": {},
        "insert": (),
        "update": (),
        "delete": False,
        "line": 1,
    }
    assert not parts.keys() - defaults.keys(), parts
    given = defaults | parts
    sets = {key: frozenset(_strings(given[key])) for key in ("to", "show", "insert", "update")}
    masks = given["masks"]
    assert isinstance(masks, Mapping)
    return Rule(
        name=name,
        effect=effect,
        purposes=frozenset(map(Purpose, _strings(given["purposes"]))),
        when=when or When(),
        rows=predicate(rows) if isinstance(rows, str) else rows,
        consent=bool(given["consent"]),
        masks=tuple(masks.items()),
        delete=bool(given["delete"]),
        source=SourceRef("p.yaml", int(str(given["line"])), 1),
        **sets,
    )


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    assert isinstance(value, Iterable)
    return [str(each) for each in value]


def permit(name: str, rows: RowRule | str | None = None, *, when: When | None = None, **parts: object) -> Rule:
    """A permit; sets are given as words in one string."""
    return _rule(name, Effect.PERMIT, rows, when, **parts)


def restrict(name: str, rows: RowRule | str | None = None, *, when: When | None = None, **parts: object) -> Rule:
    """A restrict; sets are given as words in one string."""
    return _rule(name, Effect.RESTRICT, rows, when, **parts)


def table(
    relation: RelationName, columns: str, *rules: Rule, data_subject: str | None = "customer_id"
) -> RelationPolicy:
    """One relation's policy."""
    tagged = tuple((column, "plain") for column in columns.split())
    return RelationPolicy(relation, tagged, data_subject, rules, "owner@bank.example", "test", NOWHERE)


def policies(*relations: RelationPolicy, scopes: Iterable[Scope] = (), tree: PurposeTree = PURPOSES) -> PolicySet:
    """A policy set over the given relations."""
    return PolicySet(
        version="v1",
        purposes=tree,
        roles=frozenset({"analyst", "customer"}),
        attributes=ATTRIBUTES,
        tags=frozenset({"plain"}),
        scopes={scope.name: scope for scope in scopes},
        functions=frozenset(),
        relations={policy.relation: policy for policy in relations},
    )


def customers(*rules: Rule, scopes: Iterable[Scope] = ()) -> PolicySet:
    """A policy set over bank.customers (customer_id, name, region)."""
    return policies(table(CUSTOMERS, "customer_id name region", *rules), scopes=scopes)


def entitled(*roles: str, **attributes: AttributeValue) -> Entitlements:
    """Roles and attributes in force."""
    return Entitlements(frozenset(roles), attributes)


def facts(principal: Entitlements = NO_ENTITLEMENTS, *chain: Mandate, actor: Entitlements | None = None) -> Facts:
    """Facts of one caller; the actor is the principal unless said otherwise."""
    return Facts(principal, principal if actor is None else actor, chain, Epoch((), 0), None)


def scope(
    name: str,
    relations: Mapping[RelationName, ScopeRelation] | None = None,
    *,
    parameters: Mapping[str, ValueType] | None = None,
    intersect_actor: bool = False,
) -> Scope:
    """A scope; over all of bank.customers unless said otherwise."""
    over = {CUSTOMERS: handed()} if relations is None else relations
    return Scope(name, tuple((parameters or {}).items()), over, intersect_actor, NOWHERE)


def handed(
    columns: str | None = None, rows: str | None = None, actions: Iterable[Action] = (Action.SELECT,)
) -> ScopeRelation:
    """What a scope hands over of one relation."""
    return ScopeRelation(
        None if columns is None else frozenset(columns.split()),
        frozenset(actions),
        None if rows is None else predicate(rows),
    )


def mandate(
    scope_name: str,
    *,
    id: str = "m1",  # noqa: A002 - the noun's own word
    holder: str = "bot",
    principal: str = "ann",
    purposes: str = "tax",
    valid_from: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    valid_until: datetime | None = None,
    revoked_at: datetime | None = None,
    parent: str | None = None,
    sub_delegable: int = 0,
    **parameters: AttributeValue,
) -> Mandate:
    """A live mandate of ann's for bot, for tax, unless said otherwise."""
    return Mandate(
        MandateId(id),
        PrincipalId(principal),
        PrincipalId(holder),
        scope_name,
        parameters,
        frozenset(map(Purpose, purposes.split())),
        valid_from,
        valid_until,
        revoked_at,
        None if parent is None else MandateId(parent),
        sub_delegable,
    )


ANN = Caller.of("ann")
ANN_FOR_TAX = Caller.of("ann", purpose="tax")
BOT = Caller.of("ann", actor="bot", actor_kind=ActorKind.AGENT, mandate="m1", purpose="tax")


def ask(
    policy_set: PolicySet,
    known: Facts,
    caller: Caller = ANN,
    *,
    relation: RelationName = CUSTOMERS,
    action: Action = Action.SELECT,
    instant: datetime = NOON,
) -> Decision:
    """Decide."""
    return decide(Request(caller, relation, action, instant), policy_set, known)


def reason(
    policy_set: PolicySet,
    known: Facts,
    caller: Caller = ANN,
    *,
    relation: RelationName = CUSTOMERS,
    action: Action = Action.SELECT,
    instant: datetime = NOON,
) -> DenyReason | None:
    """Why the decision denies, or None where it permits."""
    denial = ask(policy_set, known, caller, relation=relation, action=action, instant=instant).denial
    return None if denial is None else denial.reason
