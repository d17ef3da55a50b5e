"""DESIGN §3: the rules in play are those whose `to`, `for` and `when` match; no permit in play denies."""

from __future__ import annotations

import pytest

from datagate.model.caller import ActorKind, Caller
from datagate.model.decision import FALSE, ConsentLive, DenyReason, Outcome
from datagate.model.names import Purpose
from datagate.model.policy import Action, PurposeTree, Rule, When
from tests.decision.builders import (
    ACCOUNTS,
    ANN,
    BOT,
    CUSTOMERS,
    ask,
    customers,
    entitled,
    facts,
    handed,
    mandate,
    permit,
    policies,
    reason,
    restrict,
    scope,
    table,
)

ANALYST = facts(entitled("analyst"))


def test_a_relation_without_policy_is_denied() -> None:
    """Nobody said that it may be seen."""
    assert reason(policies(), ANALYST) is DenyReason.NO_POLICY


def test_no_permit_in_play_denies() -> None:
    """Restricts alone permit nothing; a denial holds nothing but its reason."""
    decision = ask(customers(restrict("r")), ANALYST)
    assert decision.denial is not None
    assert decision.denial.reason is DenyReason.NO_PERMIT
    assert (decision.outcome, decision.filter, decision.columns) == (Outcome.DENY, FALSE, ())
    assert (dict(decision.bindings), decision.rules) == ({}, ())


@pytest.mark.parametrize(
    ("to", "roles", "permitted"),
    [
        ("", "", True),
        ("analyst", "analyst", True),
        ("analyst customer", "customer", True),
        ("analyst", "customer", False),
    ],
)
def test_to_matches_the_principals_roles(to: str, roles: str, permitted: bool) -> None:
    """No role named: everybody; else one of them must be the principal's."""
    decision = ask(customers(permit("p", to=to, show="name")), facts(entitled(*roles.split())))
    assert (decision.outcome is Outcome.PERMIT) is permitted


@pytest.mark.parametrize(
    ("purposes", "purpose", "permitted"),
    [
        ("", None, True),
        ("", "tax", True),
        ("marketing", "marketing", True),
        ("marketing", "marketing.email", True),
        ("marketing.email", "marketing", False),
        ("tax marketing", "marketing.email", True),
        ("marketing", "tax", False),
        ("marketing", None, False),
    ],
)
def test_for_matches_the_purpose_or_what_contains_it(purposes: str, purpose: str | None, permitted: bool) -> None:
    """A permit for marketing serves marketing.email, not the other way round."""
    caller = Caller.of("ann", purpose=purpose)
    decision = ask(customers(permit("p", purposes=purposes, show="name")), ANALYST, caller)
    assert (decision.outcome is Outcome.PERMIT) is permitted


def test_an_unknown_purpose_is_refused() -> None:
    """Also where no rule asks for a purpose, and where the relation has no policy."""
    caller = Caller.of("ann", purpose="fun")
    assert reason(customers(permit("p", show="name")), ANALYST, caller) is DenyReason.UNKNOWN_PURPOSE
    assert reason(policies(), ANALYST, caller) is DenyReason.UNKNOWN_PURPOSE


@pytest.mark.parametrize("parents", [{"a": "b", "b": "a"}, {"a": "gone"}])
def test_a_purpose_without_a_root_is_unknown(parents: dict[str, str]) -> None:
    """A broken tree refuses, and ends."""
    tree = PurposeTree({Purpose(child): Purpose(parent) for child, parent in parents.items()})
    policy_set = policies(table(CUSTOMERS, "name", permit("p", show="name")), tree=tree)
    assert reason(policy_set, ANALYST, Caller.of("ann", purpose="a")) is DenyReason.UNKNOWN_PURPOSE


def test_when_matches_the_actor_kind() -> None:
    """A permit for persons does not serve a service."""
    policy_set = customers(permit("p", when=When(actor_kinds=frozenset({ActorKind.PERSON})), show="name"))
    assert reason(policy_set, ANALYST, ANN) is None
    assert reason(policy_set, ANALYST, Caller.of("ann", actor_kind="service")) is DenyReason.NO_PERMIT


def test_when_matches_delegation() -> None:
    """A restrict on delegates narrows a delegate and leaves the principal alone."""
    policy_set = customers(
        permit("p", show="name region"),
        restrict("delegates", "region = 'EU'", when=When(delegated=True)),
        scopes=[scope("all")],
    )
    assert [rule.name for rule in ask(policy_set, ANALYST).rules] == ["p"]
    decision = ask(policy_set, facts(entitled("analyst"), mandate("all")), BOT)
    assert [rule.name for rule in decision.rules] == ["p", "delegates"]


def test_when_matches_the_mandates_scope() -> None:
    """A restrict on one scope narrows mandates of that scope alone."""
    policy_set = customers(
        permit("p", show="name region"),
        restrict("narrow", "region = 'EU'", when=When(scopes=frozenset({"tax"}))),
        scopes=[scope("all"), scope("tax")],
    )
    for name, rules in (("all", ["p"]), ("tax", ["p", "narrow"])):
        decision = ask(policy_set, facts(entitled(), mandate(name)), BOT)
        assert [rule.name for rule in decision.rules] == rules
    assert [rule.name for rule in ask(policy_set, facts()).rules] == ["p"]


@pytest.mark.parametrize("action", list(Action))
def test_each_action_needs_a_permit_with_its_right(action: Action) -> None:
    """A permit to read writes nothing, and one to write reads nothing."""
    rights = {
        "select": permit("select", show="name"),
        "insert": permit("insert", insert="name"),
        "update": permit("update", update="name"),
        "delete": permit("delete", delete=True),
    }
    others = [rule for name, rule in rights.items() if name != action.value]
    assert reason(customers(*others), ANALYST, action=action) is DenyReason.NO_PERMIT


@pytest.mark.parametrize(
    ("action", "writing"),
    [
        (Action.INSERT, permit("write", "region = 'EU'", show="name", insert="name")),
        (Action.UPDATE, permit("write", "region = 'EU'", show="name", update="name")),
        (Action.DELETE, permit("write", "region = 'EU'", show="name", delete=True)),
    ],
)
def test_a_write_follows_the_permits_that_allow_it(action: Action, writing: Rule) -> None:
    """Rows that may only be read are not in the filter of a write."""
    reading = permit("read", "region = 'US'", show="name region")
    decision = ask(customers(reading, writing), ANALYST, action=action)
    alone = ask(customers(writing), ANALYST, action=action)
    assert (decision.filter, decision.columns) == (alone.filter, alone.columns)
    assert [rule.name for rule in decision.rules] == ["write"]


def test_consent_needs_a_purpose_to_be_asked_for() -> None:
    """Without a purpose no consent can be live, so the permit is not in play."""
    policy_set = customers(permit("p", consent=True, show="name"))
    assert reason(policy_set, ANALYST, ANN) is DenyReason.NO_PERMIT
    decision = ask(policy_set, ANALYST, Caller.of("ann", purpose="marketing.email"))
    lineage = (Purpose("marketing.email"), Purpose("marketing"))
    assert decision.filter == ConsentLive("customer_id", lineage, ("plain",), ("recipients.principal",))


def test_consent_needs_a_data_subject() -> None:
    """Rows about nobody have nobody's consent."""
    caller = Caller.of("ann", purpose="tax")
    required = permit("p", consent=True, show="name")
    assert (
        reason(policies(table(CUSTOMERS, "name", required, data_subject=None)), ANALYST, caller) is DenyReason.NO_PERMIT
    )
    narrowed = policies(
        table(CUSTOMERS, "name", permit("p", show="name"), restrict("r", consent=True), data_subject=None)
    )
    assert ask(narrowed, ANALYST, caller).filter == FALSE


def test_a_restrict_that_requires_consent_hides_all_without_a_purpose() -> None:
    """A restrict that cannot be checked restricts wholly."""
    policy_set = customers(permit("p", show="name"), restrict("r", consent=True))
    assert ask(policy_set, ANALYST, ANN).filter == FALSE


def test_rules_of_other_relations_play_no_part() -> None:
    """Each relation is decided by its own file."""
    policy_set = policies(
        table(CUSTOMERS, "name", permit("p", show="name")),
        table(ACCOUNTS, "iban", permit("q", to="customer", show="iban")),
    )
    assert reason(policy_set, ANALYST, relation=ACCOUNTS) is DenyReason.NO_PERMIT
    assert reason(policy_set, ANALYST) is None


def test_scope_names_every_relation_it_hands_over() -> None:
    """The near miss: the same mandate over a scope that lists the relation."""
    for relations, expected in (({ACCOUNTS: handed()}, DenyReason.MANDATE_SCOPE), ({CUSTOMERS: handed()}, None)):
        policy_set = customers(permit("p", show="name"), scopes=[scope("s", relations)])
        assert reason(policy_set, facts(entitled(), mandate("s")), BOT) is expected
