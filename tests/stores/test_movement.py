"""An old snapshot does not keep old rights: changes that committed after it are seen, those under way are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.model.caller import Caller
from datagate.model.facts import Facts
from datagate.model.names import PrincipalId
from datagate.stores import StateStore
from datagate.stores.postgres import CHANNEL, STALE_SQLSTATE
from datagate.stores.signals import consent_parties

Connection = psycopg.Connection[tuple[object, ...]]
LEVELS = [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
ROLE = "INSERT INTO datagate.entitlements VALUES (%s, 'role', %s, NULL, '2020-01-01', NULL)"


@pytest.fixture
def store(empty_dsn: str) -> Iterator[StateStore]:
    """A new state in which ann and bob are analysts, and data subject 1 agreed to marketing."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
    store = StateStore(engine)
    store.create()
    store.grant_role("ann", "analyst")
    store.grant_role("bob", "analyst")
    store.give_consent("1", "marketing")
    yield store
    engine.dispose()


@pytest.fixture
def open_one(empty_dsn: str) -> Iterator[ExitStack]:  # noqa: ARG001 - dropped after they are closed
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


def session(stack: ExitStack, dsn: str, level: psycopg.IsolationLevel | None = None) -> Connection:
    connection = stack.enter_context(psycopg.connect(dsn, autocommit=level is None))
    stack.callback(connection.close)
    connection.isolation_level = level
    return connection


def stale(connection: Connection, facts: Facts, *purposes: str) -> bool:
    """Whether the check fails as it should, or passes; the transaction goes on either way."""
    given = (list(facts.epoch.parties), facts.epoch.value, facts.valid_until, list(purposes))
    # The first statement of a transaction takes its snapshot; what follows is a savepoint in it.
    connection.execute("SELECT 1")
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    raised: psycopg.Error | None = None
    try:
        with connection.transaction():
            connection.execute("SELECT datagate.still_current(%s, %s, %s, %s, NULL)", given)
    except psycopg.Error as error:
        raised = error
    assert raised is None or raised.sqlstate == STALE_SQLSTATE
    return raised is not None


@pytest.mark.parametrize("level", LEVELS)
def test_a_change_counts_from_its_commit(
    store: StateStore, open_one: ExitStack, empty_dsn: str, level: psycopg.IsolationLevel
) -> None:
    """Under way it does not count yet, rolled back never, committed at once, whatever the reader's snapshot says."""
    facts = store.facts(Caller.of("ann"))
    reader = session(open_one, empty_dsn, level)
    writer = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
    assert not stale(reader, facts)
    writer.execute(ROLE, ("ann", "other"))
    assert not stale(reader, facts)
    writer.rollback()
    assert not stale(reader, facts)
    writer.execute("DELETE FROM datagate.entitlements WHERE principal = 'ann'")
    assert not stale(reader, facts)
    writer.commit()
    assert stale(reader, facts)
    assert stale(reader, store.facts(Caller.of("ann")))
    reader.rollback()
    assert stale(reader, facts)
    assert not stale(reader, store.facts(Caller.of("ann")))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("between", ["nothing", "rolled back"])
def test_a_later_change_under_way_does_not_hide_one_that_committed(
    store: StateStore, open_one: ExitStack, empty_dsn: str, level: psycopg.IsolationLevel, between: str
) -> None:
    """The shard's latest writer is not the one that counts; the last one that committed is remembered beside it."""
    facts = store.facts(Caller.of("ann"))
    reader = session(open_one, empty_dsn, level)
    assert not stale(reader, facts)
    store.grant_role("ann", "other")
    if between == "rolled back":
        aborted = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
        aborted.execute(ROLE, ("ann", "third"))
        aborted.rollback()
    writer = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
    writer.execute(ROLE, ("ann", "fourth"))
    assert stale(reader, facts)


@pytest.mark.parametrize("level", LEVELS)
def test_another_shard_does_not_matter(
    store: StateStore, open_one: ExitStack, empty_dsn: str, level: psycopg.IsolationLevel
) -> None:
    """Whoever is of another shard goes on in the old transaction."""
    with psycopg.connect(empty_dsn) as connection:
        shards = connection.execute(
            "SELECT datagate.shard_of('party', 'ann'), datagate.shard_of('party', 'bob')"
        ).fetchone()
    assert shards is not None
    assert shards[0] != shards[1]
    reader = session(open_one, empty_dsn, level)
    facts = store.facts(Caller.of("ann"))
    assert not stale(reader, facts)
    store.grant_role("bob", "other")
    assert not stale(reader, facts)


@pytest.mark.parametrize("level", LEVELS)
def test_consent_taken_back_ends_old_snapshots_and_a_new_yes_does_not(
    store: StateStore, open_one: ExitStack, empty_dsn: str, level: psycopg.IsolationLevel
) -> None:
    """A withdrawal, a limit and a deletion count for statements that read that purpose, and for no others."""
    facts = store.facts(Caller.of("ann"))
    reader = session(open_one, empty_dsn, level)
    plain = session(open_one, empty_dsn)
    changes: list[Callable[[], object]] = [
        lambda: store.withdraw_consent("1", "marketing"),
        lambda: store.give_consent("2", "marketing", categories=["name"]),
        lambda: plain.execute("DELETE FROM datagate.consents WHERE purpose = 'marketing'"),
        lambda: plain.execute("TRUNCATE datagate.consents"),
    ]
    for number, change in enumerate(changes):
        assert not stale(reader, facts, "marketing")
        store.give_consent(f"new {number}", "marketing")
        assert not stale(reader, facts, "marketing")
        change()
        assert stale(reader, facts, "marketing")
        assert not stale(reader, facts)
        assert not stale(reader, facts, "tax")
        reader.rollback()


def test_a_clock_goes_on_in_an_old_snapshot(store: StateStore, open_one: ExitStack, empty_dsn: str) -> None:
    """What ends by itself ends for old transactions too."""
    store.grant_role("ann", "guest", valid_until=datetime.now(UTC) + timedelta(days=1))
    facts = store.facts(Caller.of("ann"))
    reader = session(open_one, empty_dsn, LEVELS[0])
    assert not stale(reader, facts)
    ended = Facts(facts.principal, facts.actor, (), facts.epoch, datetime.now(UTC))
    assert stale(reader, ended)


def test_uses_and_suspension_count_in_old_snapshots(store: StateStore, open_one: ExitStack, empty_dsn: str) -> None:
    """Suspending and resuming are changes like any other."""
    store.issue_mandate("bob", "bot", "s", purposes=["tax"], mandate_id="m1")
    caller = Caller.of("bob", actor="bot", mandate="m1")
    for change in (store.suspend_mandate, store.resume_mandate, store.revoke_mandate):
        facts = store.facts(caller)
        reader = session(open_one, empty_dsn, LEVELS[0])
        assert not stale(reader, facts)
        change("m1")
        assert stale(reader, facts)


def test_ids_of_another_cluster_fail_closed_and_heal(store: StateStore, open_one: ExitStack, empty_dsn: str) -> None:
    """After a dump was restored elsewhere, old snapshots are refused until the state is written or set up again."""
    facts = store.facts(Caller.of("ann"))
    session(open_one, empty_dsn).execute(
        "SELECT setval('datagate.party_last_' || s, 900000000000) FROM generate_series(0, 63) AS s"
    )
    reader = session(open_one, empty_dsn, LEVELS[0])
    with pytest.raises(psycopg.Error):
        reader.execute("SELECT datagate.still_current(%s, %s, NULL)", (list(facts.epoch.parties), facts.epoch.value))
    reader.rollback()
    store.create()
    assert not stale(reader, facts)


def test_changes_are_told_on_commit(store: StateStore, open_one: ExitStack, empty_dsn: str) -> None:
    """Listeners of the channel learn the parties or purposes, by plain SQL too; of what is rolled back nothing."""
    listener = session(open_one, empty_dsn)
    listener.execute(f"LISTEN {CHANNEL}".encode())
    plain = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
    plain.execute(ROLE, ("eve", "analyst"))
    plain.rollback()
    plain.execute(ROLE, ("eve", "analyst"))
    plain.commit()
    store.issue_mandate("bob", "bot", "s", purposes=["tax"], mandate_id="m1")
    store.give_consent("5", "tax")
    store.withdraw_consent("5", "tax")
    plain.execute(
        "INSERT INTO datagate.entitlements SELECT 'p' || n, 'role', 'r', NULL, now() FROM generate_series(1, 5000) AS n"
    )
    plain.commit()
    told = [json.loads(each.payload) for each in listener.notifies(timeout=20, stop_after=4)]
    assert told == [
        {"parties": store.epochs([PrincipalId("eve")]), "roles": {"eve": ["analyst"]}},
        {"parties": store.epochs([PrincipalId("bob"), PrincipalId("bot")])},
        {"purposes": ["tax"]},
        {"everything": True},
    ]


SOON = "clock_timestamp() + interval '1 day'"
QUIET = {
    "a repeated yes": "('1', 'tax', true, now(), NULL, NULL, NULL)",
    "a longer yes": "('2', 'tax', true, now(), NULL, NULL, NULL)",
    "the same limited yes": "('3', 'tax', true, now(), NULL, '{name}', '{bot}')",
    "a yes less limited": "('3', 'tax', true, now(), NULL, '{email,name}', NULL)",
    "a yes after a no": "('4', 'tax', true, now(), NULL, NULL, NULL)",
    "a first yes": f"('5', 'tax', true, {SOON}, NULL, NULL, NULL)",
}
TOLD = {
    "a shorter yes": f"('1', 'tax', true, now(), {SOON}, NULL, NULL)",
    "a yes that is not yet": f"('1', 'tax', true, {SOON}, NULL, NULL, NULL)",
    "a yes more limited": "('1', 'tax', true, now(), NULL, '{name}', NULL)",
    "a yes limited otherwise": "('3', 'tax', true, now(), NULL, '{email}', '{bot}')",
    "a yes to fewer": "('3', 'tax', true, now(), NULL, '{name}', '{other}')",
    "a limited yes after a no": "('4', 'tax', true, now(), NULL, '{name}', NULL)",
    "a no": "('1', 'tax', false, now(), NULL, NULL, NULL)",
    "a first limited yes": "('5', 'tax', true, now(), NULL, '{name}', NULL)",
    "a first no": "('5', 'tax', false, now(), NULL, NULL, NULL)",
}


@pytest.mark.parametrize("name", [*QUIET, *TOLD])
def test_only_answers_that_can_take_something_are_told(
    store: StateStore, open_one: ExitStack, empty_dsn: str, name: str
) -> None:
    """Whoever says the same yes again, or a wider one, ends nobody's statement; all that is narrower does."""
    plain = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
    plain.autocommit = True
    columns = ("granted", "valid_from", "valid_until", "categories", "recipients")
    into = f"INSERT INTO datagate.consents (data_subject, purpose, {', '.join(columns)})"
    sets = ", ".join(f"{column} = excluded.{column}" for column in columns)
    again = f" ON CONFLICT (data_subject, purpose) DO UPDATE SET {sets}"
    plain.execute(
        f"{into} VALUES ('1', 'tax', true, '2020-01-01', NULL, NULL, NULL), ('2', 'tax', true, '2020-01-01', {SOON},"
        " NULL, NULL), ('3', 'tax', true, '2020-01-01', NULL, '{name}', '{bot}'),"
        " ('4', 'tax', false, '2020-01-01', NULL, NULL, NULL)".encode()
    )
    before = store.epochs(consent_parties(["tax"]))
    plain.execute(f"{into} VALUES {(QUIET | TOLD)[name]} {again}".encode())
    assert (store.epochs(consent_parties(["tax"])) != before) == (name in TOLD)


def test_taking_a_no_away_is_not_told(store: StateStore, open_one: ExitStack, empty_dsn: str) -> None:
    """A deleted no leaves no answer, or the wider one of a parent purpose; a deleted yes is told."""
    plain = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
    plain.autocommit = True
    store.withdraw_consent("1", "tax")
    store.give_consent("2", "tax")
    before = store.epochs(consent_parties(["tax"]))
    plain.execute("DELETE FROM datagate.consents WHERE data_subject = '1'")
    assert store.epochs(consent_parties(["tax"])) == before
    plain.execute("DELETE FROM datagate.consents WHERE data_subject = '2'")
    assert store.epochs(consent_parties(["tax"])) != before


def test_an_entitlement_that_stays_ends_nothing(store: StateStore, open_one: ExitStack, empty_dsn: str) -> None:
    """Granting again what is in force, or for longer, is no change; another value, or a shorter time, is one."""
    plain = session(open_one, empty_dsn, psycopg.IsolationLevel.READ_COMMITTED)
    plain.autocommit = True
    plain.execute(ROLE, ("eve", "analyst"))
    parties = [PrincipalId("eve")]
    changes = {
        "valid_from = now()": False,
        f"valid_until = {SOON}": True,
        f"valid_until = {SOON} + interval '1 day'": False,
        "valid_until = NULL": False,
        f"valid_from = {SOON}": True,
        "valid_from = now() - interval '1 day'": True,
        "kind = 'attribute', value = '1'": True,
        "value = '2'": True,
        "principal = 'other'": True,
    }
    for change, told in changes.items():
        before = store.epochs(parties)
        plain.execute(f"UPDATE datagate.entitlements SET {change} WHERE principal = 'eve'".encode())
        assert (store.epochs(parties) != before) == told, change
