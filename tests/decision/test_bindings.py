"""Placeholders: where their values come from, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datagate.model.caller import ActorKind, Caller
from datagate.model.decision import DenyReason, Where
from datagate.model.policy import PolicySet, When
from datagate.model.values import AttributeValue, TypedValue, ValueType
from tests.decision.builders import (
    ACCOUNTS,
    ANN_FOR_TAX,
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
    through,
)

TEXT = ValueType.TEXT


def showing(rows: str) -> PolicySet:
    """One permit with those rows."""
    return customers(permit("p", rows, show="name"))


@pytest.mark.parametrize(
    ("placeholder", "binding", "value"),
    [
        ("principal.region", "principal.region", TypedValue(TEXT, "EU")),
        ("principal.regions", "principal.regions", TypedValue(ValueType.TEXT_ARRAY, ("EU", "US"))),
        ("principal.id", "principal.id", TypedValue(TEXT, "ann")),
        ("actor.kind", "actor.kind", TypedValue(TEXT, "person")),
        ("purpose", "purpose", TypedValue(TEXT, "tax")),
        # Without delegation the actor is the principal: one value, one binding.
        ("actor.region", "principal.region", TypedValue(TEXT, "EU")),
        ("actor.id", "principal.id", TypedValue(TEXT, "ann")),
    ],
)
def test_placeholders_are_tied_to_bindings(placeholder: str, binding: str, value: TypedValue) -> None:
    """The predicate says which placeholder takes which binding; the decision has its value."""
    decision = ask(showing(f"x = :{placeholder}"), facts(entitled(region="EU", regions=("EU", "US"))), ANN_FOR_TAX)
    assert isinstance(decision.filter, Where)
    assert decision.filter.bindings == ((placeholder, binding),)
    assert dict(decision.bindings) == {binding: value}


def test_now_has_no_binding() -> None:
    """It is the statement's own timestamp."""
    decision = ask(showing("born < :now"), facts())
    assert isinstance(decision.filter, Where)
    assert (decision.filter.bindings, dict(decision.bindings)) == ((), {})


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        ("principal.region", DenyReason.MISSING_ATTRIBUTE),
        ("actor.region", DenyReason.MISSING_ATTRIBUTE),
        ("principal.undeclared", DenyReason.MISSING_ATTRIBUTE),
        ("principal.kind", DenyReason.MISSING_ATTRIBUTE),
        ("principal", DenyReason.MISSING_ATTRIBUTE),
        ("purpose", DenyReason.MISSING_ATTRIBUTE),
        ("purpose.x", DenyReason.MISSING_ATTRIBUTE),
        ("nonsense", DenyReason.MISSING_ATTRIBUTE),
        ("mandate.customer_id", DenyReason.MISSING_PARAMETER),
    ],
)
def test_a_missing_value_refuses(placeholder: str, expected: DenyReason) -> None:
    """It is never '' or NULL."""
    assert reason(showing(f"x = :{placeholder}"), facts(entitled(undeclared="x", kind="x"))) is expected


def test_a_value_missing_for_one_of_two_permits_refuses() -> None:
    """Also where the other permit shows every row: what a rule in play needs must be there."""
    missing = permit("p", "region = :principal.region", show="name")
    known = facts(entitled(customer_id=1))
    assert reason(customers(permit("all", show="name"), missing), known) is DenyReason.MISSING_ATTRIBUTE
    assert reason(customers(permit("all", show="name"), restrict("r", missing.rows)), known) is not None


def test_of_several_missing_values_the_first_is_named() -> None:
    """In file order."""
    policy_set = customers(
        permit("p", "customer_id = :principal.customer_id", show="name", line=1),
        permit("q", "region = :principal.region", show="name", line=2),
    )
    assert reason(policy_set, facts(entitled(customer_id="x"))) is DenyReason.BAD_ATTRIBUTE
    assert reason(policy_set, facts(entitled(region=1))) is DenyReason.MISSING_ATTRIBUTE


@pytest.mark.parametrize("placeholder", ["principal.kind", "actor.id", "principal.id"])
def test_reserved_names_are_never_attributes(placeholder: str) -> None:
    """A policy that declares an attribute `id` or `kind` cannot have it stand for who somebody is."""
    policy_set = replace(showing(f"x = :{placeholder}"), attributes={"id": TEXT, "kind": TEXT})
    decision = ask(policy_set, facts(entitled(id="forged", kind="forged")))
    assert all(value.value == "ann" for value in decision.bindings.values())
    assert (decision.denial is None) is placeholder.endswith("id")


def test_a_rule_out_of_play_needs_no_value() -> None:
    """The near miss: the same rule for a role that the principal has not."""
    out = permit("p", "region = :principal.region", to="analyst", show="name")
    assert reason(customers(permit("all", show="name"), out), facts()) is None


@pytest.mark.parametrize("value", ["1", True, 2**31, (1,)])
def test_a_value_of_another_type_refuses(value: AttributeValue) -> None:
    """The policy set declares customer_id an int."""
    policy_set = showing("customer_id = :principal.customer_id")
    assert reason(policy_set, facts(entitled(customer_id=value))) is DenyReason.BAD_ATTRIBUTE
    assert reason(policy_set, facts(entitled(customer_id=1))) is None


def test_a_denial_says_which_value_but_not_what_it_is() -> None:
    """The audit names the predicate's place and the placeholder."""
    decision = ask(showing("customer_id = :principal.customer_id"), facts(entitled(customer_id="secret")))
    assert decision.denial is not None
    assert decision.denial.detail == "p.yaml:1:1: :principal.customer_id (in person)"


def test_only_the_bindings_that_are_named_are_kept() -> None:
    """A permit that another makes needless leaves no trace in the shape."""
    policy_set = customers(permit("all", show="name"), permit("p", "region = :principal.region", show="name"))
    decision = ask(policy_set, facts(entitled(region="EU")))
    assert dict(decision.bindings) == {}


def test_bindings_of_the_relation_that_is_referred_to_are_there() -> None:
    """Its filter is part of this one."""
    policy_set = policies(
        table(CUSTOMERS, "customer_id", permit("p", "region = :principal.region", show="customer_id")),
        table(ACCOUNTS, "customer_id", permit("q", through(CUSTOMERS, "customer_id"), show="customer_id")),
    )
    decision = ask(policy_set, facts(entitled(region="EU")), relation=ACCOUNTS)
    assert dict(decision.bindings) == {"principal.region": TypedValue(TEXT, "EU")}


def test_parameters_of_each_link_have_names_of_their_own() -> None:
    """The caller's own mandate is link 0; each scope's rows read their own link."""
    scopes = [
        scope("wide", {CUSTOMERS: handed(rows="region = :mandate.region")}, parameters={"region": TEXT}),
        scope("one", {CUSTOMERS: handed(rows="customer_id = :mandate.id_")}, parameters={"id_": ValueType.INT}),
    ]
    policy_set = customers(permit("p", show="name"), scopes=scopes)
    chain = (
        mandate("one", id="m1", parent="m0", id_=7),
        mandate("wide", id="m0", holder="eve", sub_delegable=1, region="EU"),
    )
    decision = ask(policy_set, facts(entitled(), *chain), BOT)
    assert dict(decision.bindings) == {
        "mandate.0.id_": TypedValue(ValueType.INT, 7),
        "mandate.1.region": TypedValue(TEXT, "EU"),
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"region": "EU"}, None),
        ({}, DenyReason.MISSING_PARAMETER),
        ({"region": 1}, DenyReason.BAD_ATTRIBUTE),
    ],
)
def test_a_mandate_must_give_what_its_scope_asks(given: dict[str, AttributeValue], expected: DenyReason | None) -> None:
    """A parameter left out or of another type refuses."""
    asking = scope("s", {CUSTOMERS: handed(rows="region = :mandate.region")}, parameters={"region": TEXT})
    policy_set = customers(permit("p", show="name"), scopes=[asking])
    assert reason(policy_set, facts(entitled(), replace(mandate("s"), parameters=given)), BOT) is expected


def test_a_parameter_that_the_scope_does_not_declare_is_missing() -> None:
    """It has no type, whatever the mandate says."""
    asking = scope("s", {CUSTOMERS: handed(rows="region = :mandate.region")})
    policy_set = customers(permit("p", show="name"), scopes=[asking])
    assert reason(policy_set, facts(entitled(), mandate("s", region="EU")), BOT) is DenyReason.MISSING_PARAMETER


def test_a_delegates_restrict_reads_the_actors_attributes() -> None:
    """Under delegation the actor's values have names of their own."""
    policy_set = customers(
        permit("p", show="name"),
        restrict("r", "region = :actor.region AND by = :actor.id", when=When(delegated=True)),
        scopes=[scope("s")],
    )
    known = facts(entitled(region="EU"), mandate("s"), actor=entitled(region="US"))
    bindings = dict(ask(policy_set, known, BOT).bindings)
    assert bindings == {"actor.region": TypedValue(TEXT, "US"), "actor.id": TypedValue(TEXT, "bot")}


def test_the_actor_kind_is_the_callers() -> None:
    """In every standing."""
    policy_set = showing("kind = :actor.kind")
    caller = Caller.of("ann", actor_kind=ActorKind.SERVICE)
    assert dict(ask(policy_set, facts(), caller).bindings) == {"actor.kind": TypedValue(TEXT, "service")}
