"""Mandates: issued, handed on, revoked; and the chain that a decision reads."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from datagate.errors import StateError
from datagate.model.caller import Caller
from datagate.stores import StateStore
from tests.stores.conftest import NOW, State

DAY = timedelta(days=1)


def test_a_mandate_comes_back_as_it_was_issued(store: StateStore) -> None:
    """Scope, typed parameters, purposes and validity survive."""
    issued = store.issue_mandate(
        "ann",
        "acc",
        "tax-files",
        purposes=["tax", "audit", "tax"],
        parameters={"year": date(2025, 1, 1), "accounts": (1, 2)},
        valid_until=NOW + DAY,
        sub_delegable=1,
        mandate_id="m1",
    )
    assert (issued.id, issued.principal, issued.holder, issued.scope) == ("m1", "ann", "acc", "tax-files")
    assert issued.parameters == {"year": date(2025, 1, 1), "accounts": (1, 2)}
    assert issued.purposes == {"tax", "audit"}
    assert (issued.valid_from, issued.valid_until, issued.revoked_at) == (NOW, NOW + DAY, None)
    assert (issued.parent, issued.sub_delegable) == (None, 1)
    assert (
        store.list_mandates() == store.list_mandates(principal="ann") == store.list_mandates(holder="acc") == [issued]
    )
    assert store.list_mandates(principal="acc") == []


def test_an_id_is_made_where_none_is_given(store: StateStore) -> None:
    """Two mandates of the same words are two."""
    first = store.issue_mandate("ann", "acc", "s", purposes=["tax"])
    second = store.issue_mandate("ann", "acc", "s", purposes=["tax"])
    assert first.id != second.id
    with pytest.raises(StateError):
        store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id=first.id)


def test_facts_hold_the_chain_from_the_callers_mandate_up(store: StateStore) -> None:
    """The caller's own link comes first; all holders are parties, their entitlements are not facts."""
    store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id="m1", sub_delegable=2)
    store.issue_mandate("ann", "firm", "s", purposes=["tax"], mandate_id="m2", parent="m1", sub_delegable=1)
    store.issue_mandate("ann", "bot", "s", purposes=["tax"], mandate_id="m3", parent="m2")
    store.issue_mandate("ann", "zoe", "s", purposes=["tax"], mandate_id="m9", parent="m1")
    facts = store.facts(Caller.of("ann", actor="bot", mandate="m3"), NOW)
    assert [mandate.id for mandate in facts.chain] == ["m3", "m2", "m1"]
    assert facts.epoch.parties == ("acc", "ann", "bot", "firm")
    assert store.facts(Caller.of("ann", actor="acc", mandate="m1"), NOW).epoch.parties == ("acc", "ann")


def test_a_mandate_that_is_not_there_leaves_the_chain_empty(store: StateStore) -> None:
    """A decision says no to that; facts are no place for it."""
    assert store.facts(Caller.of("ann", actor="bot", mandate="m0"), NOW).chain == ()


def test_start_end_and_revocation_of_every_link_end_the_facts(store: StateStore) -> None:
    """Each is an instant from which decisions of before must not be used."""
    caller = Caller.of("ann", actor="bot", mandate="m2")
    store.issue_mandate(
        "ann", "acc", "s", purposes=["tax"], mandate_id="m1", sub_delegable=1, valid_until=NOW + 9 * DAY
    )
    store.issue_mandate("ann", "bot", "s", purposes=["tax"], mandate_id="m2", parent="m1", valid_from=NOW + 5 * DAY)
    assert store.facts(caller, NOW).valid_until == NOW + 5 * DAY
    assert store.facts(caller, NOW + 5 * DAY).valid_until == NOW + 9 * DAY
    store.revoke_mandate("m1", at=NOW + 2 * DAY)
    assert store.facts(caller, NOW).valid_until == NOW + 2 * DAY


def test_the_first_revocation_stands(store: StateStore) -> None:
    """Revoking again changes nothing, but may come earlier than one that was announced."""
    store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id="m1")
    assert store.revoke_mandate("m1", at=NOW + DAY).revoked_at == NOW + DAY
    assert store.revoke_mandate("m1").revoked_at == NOW
    assert store.revoke_mandate("m1", at=NOW + DAY).revoked_at == NOW
    with pytest.raises(StateError, match="no mandate m0"):
        store.revoke_mandate("m0")


def test_a_link_hangs_only_where_it_may(store: StateStore) -> None:
    """The parent is the same principal's, has not ended, and allows as many links."""
    store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id="m1", sub_delegable=1)
    store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id="over", valid_from=NOW - DAY, valid_until=NOW)

    def hang(principal: str, parent: str, sub_delegable: int = 0) -> None:
        store.issue_mandate(principal, "bot", "s", purposes=["tax"], parent=parent, sub_delegable=sub_delegable)

    hang("ann", "m1")
    with pytest.raises(StateError, match="not one of carl"):
        hang("carl", "m1")
    with pytest.raises(StateError, match="allows 1 links below it, not 2"):
        hang("ann", "m1", sub_delegable=1)
    with pytest.raises(StateError, match="has ended"):
        hang("ann", "over")
    with pytest.raises(StateError, match="no mandate m0"):
        hang("ann", "m0")
    store.revoke_mandate("m1", at=NOW + DAY)
    with pytest.raises(StateError, match="has ended"):
        hang("ann", "m1")
    assert len(store.list_mandates(holder="bot")) == 1


def test_what_is_no_mandate_is_not_recorded(store: StateStore) -> None:
    """Everybody is named, somebody else holds it, and it is for something."""
    with pytest.raises(StateError, match="own name"):
        store.issue_mandate("ann", "ann", "s", purposes=["tax"])
    with pytest.raises(StateError, match="needs a purpose"):
        store.issue_mandate("ann", "acc", "s", purposes=[])
    with pytest.raises(StateError, match="0 or more"):
        store.issue_mandate("ann", "acc", "s", purposes=["tax"], sub_delegable=-1)
    with pytest.raises(StateError, match="scope"):
        store.issue_mandate("ann", "acc", "", purposes=["tax"])
    with pytest.raises(StateError, match="ends before it begins"):
        store.issue_mandate("ann", "acc", "s", purposes=["tax"], valid_until=NOW - DAY)
    assert store.list_mandates() == []


def test_a_loop_that_plain_sql_made_ends(state: State) -> None:
    """Facts of a loop are finite; a decision refuses them, since their chain has no top."""
    state.store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id="m1", sub_delegable=1)
    state.store.issue_mandate("ann", "bot", "s", purposes=["tax"], mandate_id="m2", parent="m1")
    state.run("UPDATE datagate.mandates SET parent = 'm2' WHERE mandate_id = 'm1'")
    chain = state.store.facts(Caller.of("ann", actor="bot", mandate="m2"), NOW).chain
    assert [mandate.id for mandate in chain[:3]] == ["m2", "m1", "m2"]
    assert chain[-1].parent is not None


@pytest.mark.parametrize("parameters", ["[]", "1", "{"])
def test_parameters_that_plain_sql_broke_are_no_facts(state: State, parameters: str) -> None:
    """A mandate that cannot be read is an error, not a mandate without limits."""
    state.store.issue_mandate("ann", "acc", "s", purposes=["tax"], mandate_id="m1")
    if not (state.on_postgres and parameters == "{"):
        state.run("UPDATE datagate.mandates SET parameters = :parameters", parameters=parameters)
        with pytest.raises(StateError):
            state.store.facts(Caller.of("ann", actor="acc", mandate="m1"), NOW)
