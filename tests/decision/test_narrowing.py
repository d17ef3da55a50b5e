"""What a token takes away from a mandate is a link below it: whatever it says, nothing is shown that was not before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from datagate.model.caller import Caller
from datagate.model.decision import Decision, DenyReason, Outcome
from datagate.model.facts import Facts, Mandate
from datagate.model.names import Purpose, RelationName
from datagate.model.narrowing import Narrowing
from datagate.model.policy import PolicySet
from datagate.model.values import ValueType
from tests.decision.builders import (
    ACCOUNTS,
    BOT,
    CUSTOMERS,
    NOON,
    ask,
    entitled,
    facts,
    handed,
    mandate,
    permit,
    policies,
    reason,
    scope,
    table,
    through,
)

SECOND = timedelta(seconds=1)
OWN = "customer_id = :mandate.customer_id"
STATE = facts(entitled(), mandate("own", customer_id=7))


def world() -> PolicySet:
    """Customers, accounts visible through them, and a scope over both."""
    return policies(
        table(CUSTOMERS, "customer_id name region", permit("p", show="customer_id name region")),
        table(ACCOUNTS, "account_id customer_id", permit("a", through(CUSTOMERS, "customer_id"), show="account_id")),
        scopes=[
            scope(
                "own",
                {CUSTOMERS: handed("customer_id name", rows=OWN), ACCOUNTS: handed()},
                parameters={"customer_id": ValueType.INT},
            )
        ],
    )


def because(caller: Caller, relation: RelationName = CUSTOMERS, state: Facts = STATE) -> DenyReason | None:
    """Why the caller is denied, or None."""
    return reason(world(), state, caller, relation=relation)


def under(narrowing: Narrowing, relation: RelationName = CUSTOMERS, state: Facts = STATE) -> Decision:
    """The decision for the bot with what its token takes away."""
    return ask(world(), state, replace(BOT, narrowing=narrowing), relation=relation)


def columns(decision: Decision) -> list[str]:
    """Those that exist."""
    return [column.name for column in decision.columns]


def test_nothing_taken_away_changes_nothing_that_is_seen() -> None:
    """An empty narrowing leaves rows and columns as they are."""
    assert columns(under(Narrowing())) == columns(ask(world(), STATE, BOT)) == ["customer_id", "name"]


def test_columns_and_relations_go() -> None:
    """Of the columns that the token names those stay that there were; a relation that it does not name is denied."""
    name = Narrowing(relations=((CUSTOMERS, frozenset({"name", "region", "nowhere"})),))
    assert columns(under(name)) == ["name"]
    assert because(replace(BOT, narrowing=name), ACCOUNTS) is DenyReason.MANDATE_SCOPE
    assert columns(under(Narrowing(relations=((CUSTOMERS, None),)))) == ["customer_id", "name"]
    nothing = Narrowing(relations=())
    assert because(replace(BOT, narrowing=nothing)) is DenyReason.MANDATE_SCOPE


def test_a_relation_is_seen_through_one_that_the_token_leaves_out() -> None:
    """Accounts are visible with their customers, which the mandate hands over though the token asks for none."""
    accounts = Narrowing(relations=((ACCOUNTS, None),))
    assert under(accounts, ACCOUNTS).filter == ask(world(), STATE, BOT, relation=ACCOUNTS).filter


def test_parameters_meet() -> None:
    """Both the mandate's own parameter and the token's must hold, so that another's record shows no row."""
    decision = under(Narrowing(parameters=(("customer_id", 8),)))
    assert {value.value for value in decision.bindings.values()} == {7, 8}
    unknown = Narrowing(parameters=(("region", "EU"),))
    assert because(replace(BOT, narrowing=unknown)) is DenyReason.MANDATE_SCOPE
    unfit = Narrowing(parameters=(("customer_id", "7"),))
    assert because(replace(BOT, narrowing=unfit)) is DenyReason.BAD_ATTRIBUTE


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (Narrowing(purposes=frozenset()), DenyReason.MANDATE_PURPOSE),
        (Narrowing(purposes=frozenset({Purpose("analytics")})), DenyReason.MANDATE_PURPOSE),
        (Narrowing(valid_from=NOON + SECOND), DenyReason.MANDATE_NOT_YET),
        (Narrowing(valid_until=NOON), DenyReason.MANDATE_ENDED),
        (Narrowing(valid_from=NOON, valid_until=NOON + SECOND), None),
    ],
)
def test_purposes_and_validity_meet(narrowing: Narrowing, expected: DenyReason | None) -> None:
    """The token's purposes and times must hold beside the mandate's."""
    assert because(replace(BOT, narrowing=narrowing)) is expected


@pytest.mark.parametrize("broken", ["ended", "revoked", "other purposes"])
def test_a_token_brings_no_mandate_back(broken: str) -> None:
    """What the state does not grant, no token grants, whatever validity and purposes it names."""
    mine: Mandate = STATE.chain[0]
    changed = {
        "ended": replace(mine, valid_until=NOON),
        "revoked": replace(mine, revoked_at=NOON),
        "other purposes": replace(mine, purposes=frozenset()),
    }[broken]
    wide = Narrowing(
        purposes=frozenset(map(Purpose, ("tax", "marketing", "analytics"))),
        relations=((CUSTOMERS, None),),
        valid_from=NOON - SECOND,
        valid_until=NOON + SECOND,
    )
    assert under(wide, state=replace(STATE, chain=(changed,))).outcome is Outcome.DENY


def test_narrowing_needs_a_mandate() -> None:
    """A principal in person has no mandate to take from."""
    person = Caller.of("ann", purpose="tax")
    assert because(person, state=facts(entitled())) is None
    assert because(replace(person, narrowing=Narrowing()), state=facts(entitled())) is not None


def test_a_caller_ends() -> None:
    """At the instant at which the token ends, every relation and action is denied; just before, none is."""
    for valid_until, expected in ((NOON, DenyReason.CALLER_ENDED), (NOON + SECOND, None)):
        assert because(replace(BOT, valid_until=valid_until)) is expected
    naive = replace(BOT, valid_until=(NOON + SECOND).replace(tzinfo=None))
    assert because(naive) is DenyReason.CALLER_ENDED
