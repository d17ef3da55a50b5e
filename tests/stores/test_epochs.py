"""Epochs: no change of rights goes unnoticed, whoever makes it."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, exc

from datagate.errors import OperationalError, StateError
from datagate.model.caller import Caller
from datagate.model.facts import Epoch
from datagate.stores import EntitlementKind, StateStore
from datagate.stores.tables import SCHEMA_VERSION
from tests.stores.conftest import NOW, State

_ROLE = "('{}', 'role', '{}', NULL, '2026-01-01 00:00:00.000000', NULL)"
_MANDATE = (
    "('{}', '{}', '{}', 's', '{{}}', '[\"tax\"]', '2026-01-01 00:00:00.000000', NULL, NULL, NULL, 0)"  # id, from, to
)
_COLUMNS = (
    "(mandate_id, principal, holder, scope, parameters, purposes, valid_from, valid_until, revoked_at, parent,"
    " sub_delegable)"
)
_CHANGES = {
    "insert": ("INSERT INTO datagate.entitlements VALUES " + _ROLE.format("ann", "new"), {"ann"}),
    "insert of many": (
        f"INSERT INTO datagate.entitlements VALUES {_ROLE.format('ann', 'new')}, {_ROLE.format('carl', 'new')}",
        {"ann", "carl"},
    ),
    "update": ("UPDATE datagate.entitlements SET valid_until = '2027-01-01' WHERE principal = 'ann'", {"ann"}),
    "update of the principal": (
        "UPDATE datagate.entitlements SET principal = 'dora' WHERE principal = 'ann'",
        {"ann", "dora"},
    ),
    "delete": ("DELETE FROM datagate.entitlements WHERE principal = 'ann'", {"ann"}),
    "upsert": (
        "INSERT INTO datagate.entitlements VALUES "
        + _ROLE.format("ann", "analyst")
        + " ON CONFLICT (principal, kind, name) DO UPDATE SET valid_until = '2027-01-01'",
        {"ann"},
    ),
    "mandate insert": (
        f"INSERT INTO datagate.mandates {_COLUMNS} VALUES " + _MANDATE.format("m2", "ann", "bot"),
        {"ann", "bot"},
    ),
    "mandate update": ("UPDATE datagate.mandates SET revoked_at = '2026-02-01'", {"bob", "acc"}),
    "mandate handed to another": ("UPDATE datagate.mandates SET holder = 'bot'", {"bob", "acc", "bot"}),
    "mandate delete": ("DELETE FROM datagate.mandates", {"bob", "acc"}),
    "consent": (
        (
            "INSERT INTO datagate.consents (data_subject, purpose, granted, valid_from, valid_until)"
            " VALUES ('1', 'tax', true, '2026-01-01 00:00:00.000000', NULL)"
        ),
        set(),
    ),
}
_PARTIES = ("acc", "ann", "bob", "bot", "carl", "dora")


@pytest.fixture
def peopled(state: State) -> State:
    """Two principals with a role each, and a mandate of bob's in acc's hands."""
    state.store.grant_role("ann", "analyst")
    state.store.grant_role("carl", "analyst")
    state.store.issue_mandate("bob", "acc", "s", purposes=["tax"], mandate_id="m1")
    return state


def _epochs(store: StateStore) -> dict[str, Epoch]:
    return {party: store.facts(Caller.of(party), NOW).epoch for party in _PARTIES}


@pytest.mark.parametrize("change", _CHANGES)
def test_plain_sql_advances_whom_it_concerns(peopled: State, change: str) -> None:
    """Every kind of statement moves the epochs of the parties concerned, and of nobody else."""
    statement, concerned = _CHANGES[change]
    before = _epochs(peopled.store)
    peopled.run(statement)
    after = _epochs(peopled.store)
    assert {party for party in _PARTIES if before[party] != after[party]} == concerned
    assert all(after[party].value >= before[party].value for party in _PARTIES)


def test_the_store_advances_whom_it_concerns(peopled: State) -> None:
    """Each method that changes rights does; one that finds nothing to change does not."""
    store = peopled.store

    def advanced(before: dict[str, Epoch]) -> set[str]:
        return {party for party in _PARTIES if not store.is_current(before[party])}

    before = _epochs(store)
    store.grant_role("ann", "auditor")
    assert advanced(before) == {"ann"}
    before = _epochs(store)
    store.withdraw_entitlement("carl", EntitlementKind.ROLE, "analyst")
    assert advanced(before) == {"carl"}
    before = _epochs(store)
    store.issue_mandate("ann", "bot", "s", purposes=["tax"])
    assert advanced(before) == {"ann", "bot"}
    before = _epochs(store)
    store.revoke_mandate("m1")
    assert advanced(before) == {"bob", "acc"}
    before = _epochs(store)
    store.revoke_mandate("m1")
    assert advanced(before) == set()


def test_a_change_that_is_undone_is_a_change(peopled: State) -> None:
    """The state may be the same again; the epoch is not."""
    before = peopled.store.facts(Caller.of("ann"), NOW)
    peopled.store.grant_role("ann", "other")
    peopled.store.withdraw_entitlement("ann", EntitlementKind.ROLE, "other")
    after = peopled.store.facts(Caller.of("ann"), NOW)
    assert after.principal == before.principal
    assert not peopled.store.is_current(before.epoch)
    assert peopled.store.is_current(after.epoch)


def test_revoking_a_link_advances_all_that_hang_below(state: State) -> None:
    """The epoch of a caller three links down changes with the top one."""
    store = state.store
    store.issue_mandate("ann", "a1", "s", purposes=["tax"], mandate_id="m1", sub_delegable=2)
    store.issue_mandate("ann", "a2", "s", purposes=["tax"], mandate_id="m2", parent="m1", sub_delegable=1)
    store.issue_mandate("ann", "a3", "s", purposes=["tax"], mandate_id="m3", parent="m2")
    facts = store.facts(Caller.of("ann", actor="a3", mandate="m3"), NOW)
    assert facts.epoch.parties == ("a1", "a2", "a3", "ann")
    store.revoke_mandate("m1")
    assert not store.is_current(facts.epoch)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE datagate.epochs SET value = value - 1 WHERE party = 'ann'",
        "UPDATE datagate.epochs SET value = value WHERE party = 'ann'",
        "UPDATE datagate.epochs SET value = value + 1, party = 'zoe' WHERE party = 'ann'",
        "DELETE FROM datagate.epochs WHERE party = 'ann'",
    ],
)
def test_epochs_only_grow(peopled: State, statement: str) -> None:
    """What was read under one epoch cannot be made to look current again, not even by an administrator's mistake."""
    with pytest.raises(exc.DBAPIError, match="epochs only grow"):
        peopled.run(statement)


def test_replacing_a_mandate_on_sqlite_advances_those_it_belonged_to(peopled: State) -> None:
    """SQLite's INSERT OR REPLACE deletes without a DELETE trigger; the old parties are advanced all the same."""
    if peopled.on_postgres:
        with pytest.raises(exc.ProgrammingError):
            peopled.run(
                f"INSERT OR REPLACE INTO datagate.mandates {_COLUMNS} VALUES " + _MANDATE.format("m1", "ann", "bot")
            )
        return
    before = _epochs(peopled.store)
    peopled.run(f"INSERT OR REPLACE INTO datagate.mandates {_COLUMNS} VALUES " + _MANDATE.format("m1", "ann", "bot"))
    after = _epochs(peopled.store)
    assert {party for party in _PARTIES if before[party] != after[party]} == {"bob", "acc", "ann", "bot"}


def test_creating_again_changes_nothing(peopled: State) -> None:
    """The state survives, and so do its epochs."""
    before = _epochs(peopled.store)
    peopled.store.create()
    assert _epochs(peopled.store) == before
    assert peopled.store.facts(Caller.of("ann"), NOW).principal.roles == {"analyst"}


def test_state_of_another_version_is_refused(state: State) -> None:
    """A newer layout is named, and left alone, whatever is asked; an older one is to be migrated first."""
    try:
        for version, words in ((99, "version 99, which a newer datagate made"), (1, r"version 1; .*datagate init")):
            state.run(f"UPDATE datagate.schema_version SET version = {version}")
            for ask in (
                lambda store: store.facts(Caller.of("ann")),
                lambda store: store.grant_role("ann", "analyst"),
                *([StateStore.create] if version == 99 else []),
            ):
                with pytest.raises(StateError, match=words):
                    ask(StateStore(state.engine))
    finally:
        state.run(f"UPDATE datagate.schema_version SET version = {SCHEMA_VERSION}")


def test_a_database_without_state_is_an_error_of_ours() -> None:
    """What goes wrong in the database comes as datagate's own error."""
    engine = create_engine("sqlite://")
    try:
        with pytest.raises(OperationalError, match="no such table"):
            StateStore(engine).facts(Caller.of("ann"), NOW)
        with pytest.raises(StateError, match="only on PostgreSQL"):
            StateStore(engine).grant_service_role("svc")
    finally:
        engine.dispose()


def test_the_clock_is_the_databases_where_none_is_given(state: State) -> None:
    """What is granted now holds now, without a word about time."""
    store = StateStore(state.engine)
    store.grant_role("ann", "analyst")
    assert store.facts(Caller.of("ann")).principal.roles == {"analyst"}
