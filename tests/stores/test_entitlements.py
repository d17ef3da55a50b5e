"""Entitlements: what a principal holds, from when to when."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import exc

from datagate.errors import StateError
from datagate.model.caller import Caller
from datagate.model.facts import NO_ENTITLEMENTS
from datagate.model.values import AttributeValue
from datagate.stores import EntitlementKind, StateStore
from tests.stores.conftest import NOW, State

DAY = timedelta(days=1)
ANN = Caller.of("ann")
NO_JSON = ("", "EU", "NaN", "[")


def test_nothing_is_known_of_a_stranger(store: StateStore) -> None:
    """A principal without entitlements has none; that is no error, and grants nothing."""
    facts = store.facts(Caller.of("stranger"), NOW)
    assert facts.principal == facts.actor == NO_ENTITLEMENTS
    assert facts.chain == ()
    assert facts.valid_until is None
    assert facts.epoch.parties == ("stranger",)


def test_facts_hold_roles_and_attributes_of_principal_and_actor(store: StateStore) -> None:
    """Each party has what was granted to it, and nothing of a third one's."""
    store.grant_role("ann", "analyst")
    store.grant_role("ann", "customer")
    store.grant_attribute("ann", "regions", ("EU", "US"))
    store.grant_role("bot", "assistant")
    store.grant_role("carl", "admin")
    facts = store.facts(Caller.of("ann", actor="bot"), NOW)
    assert facts.principal.roles == {"analyst", "customer"}
    assert facts.principal.attributes == {"regions": ("EU", "US")}
    assert facts.actor.roles == {"assistant"}
    assert facts.epoch.parties == ("ann", "bot")


@pytest.mark.parametrize(
    "value",
    [
        "EU",
        "",
        "naïve 😀",
        '{"date": "2026-01-01"}',
        0,
        -(2**63),
        10**40,
        True,
        False,
        Decimal("1.50"),
        Decimal("-0.00"),
        date(1, 1, 1),
        datetime(2026, 1, 1, 12, 30, 0, 1, tzinfo=UTC),
        UUID(int=7),
        b"",
        b"\x00\xff",
        (),
        ("EU", "US"),
        (1, 2, 2),
        (date(2026, 1, 31), date(2026, 2, 28)),
    ],
    ids=repr,
)
def test_an_attribute_comes_back_as_what_it_was(store: StateStore, value: AttributeValue) -> None:
    """Value and type survive, since a decision refuses an attribute of the wrong type."""
    store.grant_attribute("ann", "a", value)
    found = store.facts(ANN, NOW).principal.attributes["a"]
    assert found == value
    assert type(found) is type(value)
    assert str(found) == str(value)
    assert store.list_entitlements("ann")[0].value == value


def test_a_grant_takes_the_place_of_the_earlier_one(store: StateStore) -> None:
    """The present state has one value for an attribute, and one validity for a role."""
    store.grant_attribute("ann", "regions", ("EU",))
    store.grant_attribute("ann", "regions", ("US",))
    store.grant_role("ann", "analyst", valid_until=NOW + DAY)
    store.grant_role("ann", "analyst")
    facts = store.facts(ANN, NOW)
    assert facts.principal.attributes == {"regions": ("US",)}
    assert facts.valid_until is None


def test_a_role_and_an_attribute_may_share_a_name(store: StateStore) -> None:
    """Withdrawing one leaves the other."""
    store.grant_role("ann", "customer")
    store.grant_attribute("ann", "customer", 7)
    store.withdraw_entitlement("ann", EntitlementKind.ROLE, "customer")
    facts = store.facts(ANN, NOW)
    assert facts.principal.roles == frozenset()
    assert facts.principal.attributes == {"customer": 7}


def test_withdrawing_what_is_not_there_is_an_error(store: StateStore) -> None:
    """Whoever withdraws a misspelt role must learn that nothing was withdrawn."""
    store.grant_role("ann", "analyst")
    with pytest.raises(StateError, match="ann has no role analist"):
        store.withdraw_entitlement("ann", EntitlementKind.ROLE, "analist")


@pytest.mark.parametrize(
    ("instant", "holds", "turn"),
    [
        (NOW - timedelta(microseconds=1), False, NOW),
        (NOW, True, NOW + DAY),
        (NOW + DAY - timedelta(microseconds=1), True, NOW + DAY),
        (NOW + DAY, False, None),
    ],
)
def test_an_entitlement_holds_from_its_start_until_before_its_end(
    store: StateStore, instant: datetime, holds: bool, turn: datetime | None
) -> None:
    """The start is in, the end is out; facts say when the next of them comes."""
    store.grant_role("ann", "analyst", valid_from=NOW, valid_until=NOW + DAY)
    facts = store.facts(ANN, instant)
    assert ("analyst" in facts.principal.roles) is holds
    assert facts.valid_until == turn


def test_the_earliest_turn_of_any_party_ends_the_facts(store: StateStore) -> None:
    """An actor's entitlement that starts tomorrow counts like a principal's that ends the day after."""
    store.grant_role("ann", "analyst", valid_until=NOW + 2 * DAY)
    store.grant_role("bot", "assistant", valid_from=NOW + DAY)
    assert store.facts(ANN, NOW).valid_until == NOW + 2 * DAY
    assert store.facts(Caller.of("ann", actor="bot"), NOW).valid_until == NOW + DAY


def test_instants_are_the_same_in_every_zone(store: StateStore) -> None:
    """A validity given in another zone is the same instant, and comes back in UTC."""
    tokyo = timezone(timedelta(hours=9))
    store.grant_role("ann", "analyst", valid_from=NOW, valid_until=(NOW + DAY).astimezone(tokyo))
    assert store.list_entitlements("ann")[0].valid_until == NOW + DAY
    assert str(store.list_entitlements("ann")[0].valid_until) == str(NOW + DAY)


def test_what_is_no_entitlement_is_not_recorded(store: StateStore) -> None:
    """Names, values and times are checked before anything is written."""
    for principal, role in (("", "analyst"), ("ann", ""), ("ann", "a\0b"), ("ann", "a" * 256), ("ann\ud800", "x")):
        with pytest.raises(StateError):
            store.grant_role(principal, role)
    with pytest.raises(StateError, match="time zone"):
        store.grant_role("ann", "analyst", valid_until=datetime(2027, 1, 1))  # noqa: DTZ001 - refused for this
    with pytest.raises(StateError, match="ends before it begins"):
        store.grant_role("ann", "analyst", valid_from=NOW, valid_until=NOW)
    for value in (None, 1.5, {"a": 1}, ["EU"], (None,), "a\0b", datetime(2027, 1, 1)):  # noqa: DTZ001 - refused too
        with pytest.raises(StateError):
            store.grant_attribute("ann", "a", value)  # type: ignore[arg-type]
    assert store.list_entitlements() == []


@pytest.mark.parametrize(
    "value",
    [*NO_JSON, "null", "[null]", "[[1]]", "{}", '{"date": "soon"}', '{"float": "1"}', '{"a": 1, "a": 2}'],
)
def test_a_value_that_plain_sql_broke_is_no_fact(state: State, value: str) -> None:
    """Facts with garbage in them are an error, not facts without it; PostgreSQL does not even take what is no JSON."""
    statement = "INSERT INTO datagate.entitlements VALUES ('ann', 'attribute', 'a', :value, :valid_from, NULL)"
    values = {"value": value, "valid_from": "2026-01-01 00:00:00.000000"}
    if state.on_postgres and value in NO_JSON:
        with pytest.raises(exc.DataError):
            state.run(statement, **values)
        return
    state.run(statement, **values)
    with pytest.raises(StateError):
        state.store.facts(ANN, NOW)


def test_plain_sql_entitles_too(state: State) -> None:
    """Administrators may write JSON by hand: fractions are exact numbers."""
    state.run(
        "INSERT INTO datagate.entitlements VALUES ('ann', 'attribute', 'limits', '[1, 2.50]', :valid_from, NULL)",
        valid_from="2026-01-01 00:00:00.000000",
    )
    assert state.store.facts(ANN, NOW).principal.attributes == {"limits": (1, Decimal("2.50"))}
