"""Every change is a fact that stays: who, when, why; the present and any past instant are read from the same store."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import exc

from datagate.errors import StateError
from datagate.model.caller import ActorKind
from datagate.stores import EntitlementKind
from tests.stores.conftest import State


def _instant(state: State) -> datetime:
    """What the database's own clock says, which dates the history."""
    if not state.on_postgres:
        return datetime.now(UTC)
    with state.engine.connect() as connection:
        found: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return found


def _pass(state: State) -> datetime:
    """An instant that is after all that was recorded, and before all that will be (SQLite's has milliseconds)."""
    first = _instant(state)
    while (_instant(state) - first).total_seconds() < 0.003:
        threading.Event().wait(0.001)
    between = _instant(state)
    while (_instant(state) - between).total_seconds() < 0.003:
        threading.Event().wait(0.001)
    return between


def test_entitlements_are_read_at_any_instant(state: State) -> None:
    """Granted, changed, withdrawn: each state is there at its instant, and the history says who and why."""
    store = state.store
    before = _pass(state)
    store.grant_attribute("h1", "regions", ("EU",), by="steward", why="hired")
    first = _pass(state)
    store.grant_attribute("h1", "regions", ("EU", "US"), by="boss")
    second = _pass(state)
    store.withdraw_entitlement("h1", EntitlementKind.ATTRIBUTE, "regions", by="steward", why="left")
    read = [[each.value for each in store.list_entitlements("h1", at=at)] for at in (before, first, second)]
    assert read == [[], [("EU",)], [("EU", "US")]]
    assert store.list_entitlements("h1") == store.list_entitlements("h1", at=_pass(state)) == []
    facts = store.entitlement_history("h1")
    assert [(fact.present, fact.recorded_by, fact.why, fact.what.value) for fact in facts] == [
        (True, "steward", "hired", ("EU",)),
        (True, "boss", None, ("EU", "US")),
        (False, "steward", "left", ("EU", "US")),
    ]
    assert before < facts[0].recorded_at < first < facts[1].recorded_at < second < facts[2].recorded_at


def test_consents_and_mandates_are_read_at_any_instant(state: State) -> None:
    """A yes that was withdrawn, and a mandate that rested and was resumed, as they stood."""
    store = state.store
    store.give_consent("h2", "tax", categories=["name"], evidence="call 7", by="desk")
    store.issue_mandate("h2", "acc", "s", purposes=["tax"], mandate_id="h2", by="h2")
    given = _pass(state)
    store.withdraw_consent("h2", "tax", by="desk", why="by letter")
    store.suspend_mandate("h2", by="h2", why="on leave")
    rests = _pass(state)
    store.resume_mandate("h2", by="h2")
    assert [(each.granted, each.categories, each.evidence) for each in store.list_consents("h2", at=given)] == [
        (True, ("name",), "call 7")
    ]
    assert [each.granted for each in store.list_consents("h2", at=rests)] == [False]
    suspended = [
        [each.suspended_at is not None for each in store.list_mandates(principal="h2", at=at)]
        for at in (given, rests, _pass(state))
    ]
    assert suspended == [[False], [True], [False]]
    assert [fact.why for fact in store.mandate_history("h2")] == [None, "on leave", None]
    assert [fact.recorded_by for fact in store.consent_history("h2")] == ["desk", "desk"]


def test_plain_sql_is_recorded_too(state: State) -> None:
    """Updates, changes of the key, and deletions, under the name of who is connected."""
    state.store.grant_role("h3", "analyst", by="steward")
    state.run("UPDATE datagate.entitlements SET valid_until = '2999-01-01 00:00:00.000000' WHERE principal = 'h3'")
    state.run("UPDATE datagate.entitlements SET principal = 'h4' WHERE principal = 'h3'")
    state.run("DELETE FROM datagate.entitlements WHERE principal = 'h4'")
    assert [fact.present for fact in state.store.entitlement_history("h3")] == [True, True, False]
    facts = state.store.entitlement_history("h4")
    assert [fact.present for fact in facts] == [True, False]
    assert {fact.recorded_by for fact in facts} == {"postgres" if state.on_postgres else "sqlite"}


@pytest.mark.parametrize("history", ["entitlement_history", "consent_history", "mandate_history"])
def test_facts_stay(state: State, history: str) -> None:
    """Nothing that was recorded is changed or removed."""
    state.store.grant_role("h5", "analyst")
    state.store.give_consent("h5", "tax")
    state.store.issue_mandate("h5", "acc", "s", purposes=["tax"])
    for statement in (f"UPDATE datagate.{history} SET why = 'so'", f"DELETE FROM datagate.{history}"):
        with pytest.raises(exc.DBAPIError, match="stay as they were recorded"):
            state.run(statement)


def test_what_rests_and_what_ended(state: State) -> None:
    """Suspending twice is once; what was revoked is not resumed; nothing hangs from what rests."""
    store = state.store
    store.issue_mandate("h6", "acc", "s", purposes=["tax"], mandate_id="h6", sub_delegable=1)
    first = store.suspend_mandate("h6")
    assert store.suspend_mandate("h6") == first
    with pytest.raises(StateError, match="suspended"):
        store.issue_mandate("h6", "bot", "s", purposes=["tax"], parent="h6")
    assert store.resume_mandate("h6").suspended_at is None
    assert store.resume_mandate("h6").suspended_at is None
    store.revoke_mandate("h6")
    with pytest.raises(StateError, match="was revoked"):
        store.resume_mandate("h6")
    assert len(store.mandate_history("h6")) == 4


def test_uses_are_counted_for_the_whole_chain(state: State) -> None:
    """A session counts once for each link that has a number; one more than there are is refused, and counts nowhere."""
    store = state.store
    top = store.issue_mandate("h7", "acc", "s", purposes=["tax"], mandate_id="h7a", sub_delegable=1, max_uses=2)
    part = store.issue_mandate(
        "h7", "bot", "s", purposes=["tax"], mandate_id="h7b", parent="h7a", max_uses=5, actor_kinds=["agent"]
    )
    assert (part.max_uses, part.actor_kinds) == (5, frozenset({ActorKind.AGENT}))
    assert [store.use_mandates((part, top), session) for session in ("s1", "s1", "s2")] == [None] * 3
    assert store.use_mandates((part, top), "s3") == "h7a"
    assert (store.uses_of("h7a"), store.uses_of("h7b")) == (2, 2)
    assert store.use_mandates((part, top), "s2") is None
    wrongs: list[dict[str, Any]] = [{"max_uses": 0}, {"actor_kinds": []}, {"actor_kinds": ["robot"]}]
    for wrong in wrongs:
        with pytest.raises(StateError):
            store.issue_mandate("h7", "acc", "s", purposes=["tax"], **wrong)


def test_uses_do_not_race(state: State) -> None:
    """Of many sessions that start at once, as many are let in as there are uses."""
    store = state.store
    mandate = store.issue_mandate("h8", "acc", "s", purposes=["tax"], mandate_id="h8", max_uses=3)
    start = threading.Barrier(8)
    refused: list[object] = []

    def run(session: str) -> None:
        start.wait()
        refused.append(store.use_mandates((mandate,), session))

    threads = [threading.Thread(target=run, args=(f"s{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, refused)) == ["None"] * 3 + ["h8"] * 5
    assert store.uses_of("h8") == 3
