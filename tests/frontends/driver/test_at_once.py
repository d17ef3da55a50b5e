"""Rights that end while a statement runs, a transaction is old, or a cursor is open: on real connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from time import monotonic
from typing import Any, Self

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from datagate import errors
from datagate.audit import MemorySink
from datagate.frontends import driver
from datagate.gate import Gate, lookout
from datagate.model.caller import Caller
from datagate.model.names import PrincipalId, Purpose
from datagate.stores import StateStore
from datagate.stores.records import Consent, EntitlementKind

POLICIES = Path(__file__).parents[3] / "policies"
ADVISER = Caller.of("ada", purpose="advice")
ANALYST = Caller.of("ana", purpose="analytics")
ACCOUNTANT = Caller.of("cora", actor="tom", mandate="tax-1", purpose="tax")
LONG = "SELECT count(*) FROM bank.customers AS a, bank.customers AS b, bank.customers AS c, bank.customers AS d"
"""Takes far longer than any test."""


@dataclass(frozen=True)
class Scene:
    """The bank behind a gate, with two callers in it."""

    dsn: str
    gate: Gate
    store: StateStore
    engine: sa.Engine
    observer: psycopg.Connection[Any]

    def connect(self, caller: Caller, **more: Any) -> driver.Connection[Any]:
        return driver.connect(self.dsn, caller=caller, gate=self.gate, options="-c statement_timeout=30s", **more)

    def running(self, count: int = 1) -> None:
        """Wait until that many long statements run."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ '^SELECT (count|a.customer_id)'"
            " AND backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        deadline = monotonic() + 20
        while self.observer.execute(query).fetchone() != (count,):
            assert monotonic() < deadline


@pytest.fixture
def scene(bank_dsn: str) -> Iterator[Scene]:
    """Everybody as they should be, whatever an earlier test left."""
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(bank_dsn))
    store = StateStore(engine)
    for principal, role in (("ada", "adviser"), ("ana", "analyst"), ("cora", "customer")):
        store.grant_role(principal, role)
    for principal in ("ada", "ana"):
        store.grant_attribute(principal, "regions", ("EU", "US", "APAC", "LATAM"))
    store.grant_attribute("cora", "customer_id", 7)
    store.give_consents([str(number) for number in range(1, 900)], "analytics")
    gate = Gate.open(bank_dsn, policies=POLICIES, state=store, audit=MemorySink())
    with psycopg.connect(bank_dsn, autocommit=True) as observer:
        yield Scene(bank_dsn, gate, store, engine, observer)
    engine.dispose()


class Running:
    """A statement in a thread of its own, and what came of it."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.result: object = None
        self._thread = threading.Thread(target=self._run, args=(run,))
        self._thread.start()

    def _run(self, run: Callable[[], object]) -> None:
        try:
            self.result = run()
        except errors.DatagateError as error:
            self.result = error

    def end(self) -> object:
        """What came of it."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result


def revoke_role(scene: Scene) -> None:
    with psycopg.connect(scene.dsn, autocommit=True) as plain:
        plain.execute("DELETE FROM datagate.entitlements WHERE principal = 'ada' AND kind = 'role'")


@pytest.mark.parametrize("autocommit", [True, False])
def test_what_runs_is_cancelled_and_then_refused(scene: Scene, autocommit: bool) -> None:
    """Plain SQL takes the caller's role away: the statement ends at once; run again by itself, it is refused."""
    with scene.connect(ADVISER, autocommit=autocommit) as connection:
        running = Running(lambda: connection.execute(LONG).fetchall())
        scene.running()
        revoke_role(scene)
        assert isinstance(running.end(), errors.UndefinedRelation)


def test_what_has_ended_already_is_no_trouble(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A cancel that comes when the connection is closed has nothing to do, and warns nobody."""
    connection = scene.connect(ADVISER)
    connection.close()
    connection.revoke()
    assert not caplog.records


def test_later_in_a_transaction_the_caller_is_told(scene: Scene) -> None:
    """Where the statement cannot be run again by itself, the error says what happened, with the server's SQLSTATE."""
    with scene.connect(ADVISER) as connection:
        connection.execute("SELECT 1")
        running = Running(lambda: connection.execute(LONG).fetchall())
        scene.running()
        revoke_role(scene)
        error = running.end()
        assert isinstance(error, errors.RightsChanged)
        assert error.sqlstate == "57014"
        assert "rights" in error.message
        connection.rollback()


def test_a_cancel_that_hangs_keeps_no_other_waiting(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one server does not take a cancel, others' statements end all the same."""
    goes_on = threading.Event()
    with scene.connect(ADVISER, autocommit=True) as slow, scene.connect(ANALYST, autocommit=True) as other:
        cancel = slow.revoke

        def hang() -> None:
            assert goes_on.wait(20)
            cancel()

        monkeypatch.setattr(slow, "revoke", hang)
        first = Running(lambda: slow.execute(LONG).fetchall())
        second = Running(lambda: other.execute(LONG).fetchall())
        scene.running(2)
        scene.observer.execute("DELETE FROM datagate.entitlements WHERE principal = 'ada' AND kind = 'role'")
        scene.observer.execute("DELETE FROM datagate.entitlements WHERE principal = 'ana' AND kind = 'role'")
        assert isinstance(second.end(), errors.DatagateError)
        goes_on.set()
        assert isinstance(first.end(), errors.DatagateError)


def test_what_others_run_goes_on(scene: Scene) -> None:
    """Only the statements of those whose rights ended are cancelled; a cancel by the program itself is its own."""
    with scene.connect(ANALYST) as other, scene.connect(ADVISER) as connection:
        going_on = Running(lambda: other.execute(LONG).fetchall())
        running = Running(lambda: connection.execute(LONG).fetchall())
        scene.running(2)
        revoke_role(scene)
        assert isinstance(running.end(), errors.UndefinedRelation)
        scene.running(1)
        other.cancel_safe()
        error = going_on.end()
        assert isinstance(error, errors.OperationalError)
        assert error.sqlstate == "57014"


def test_a_mandate_revoked_ends_what_runs_under_it(scene: Scene) -> None:
    """The accountant's statement ends when cora takes the mandate back."""
    mandate = scene.store.issue_mandate(
        "cora", "tom", "tax-accountant", purposes=["tax"], parameters={"customer_id": 7}
    )
    caller = replace(ACCOUNTANT, mandate=mandate.id)
    text = LONG.replace("bank.customers AS a", "bank.customers AS a, generate_series(1, 1000000000) AS n")
    with scene.connect(caller, autocommit=True) as connection:
        running = Running(lambda: connection.execute(text).fetchall())
        scene.running()
        scene.store.revoke_mandate(mandate.id)
        error = running.end()
        assert isinstance(error, errors.Refused)
        assert "mandate" in error.message


def test_a_withdrawn_consent_ends_statements_that_ask_for_it(scene: Scene) -> None:
    """Statements whose decision asks for consent to that purpose are cancelled, and run anew without the row."""
    with scene.connect(ANALYST) as connection, scene.connect(ADVISER) as other:
        connection.execute("SELECT 1")
        running = Running(lambda: connection.execute(LONG).fetchall())
        going_on = Running(lambda: other.execute(LONG).fetchall())
        scene.running(2)
        scene.store.give_consent("950", "analytics")
        scene.store.withdraw_consent("5", "marketing")
        scene.running(2)
        scene.store.withdraw_consent("5", "analytics")
        assert isinstance(running.end(), errors.RightsChanged)
        scene.running(1)
        other.cancel_safe()
        going_on.end()
        connection.rollback()


def test_the_clock_ends_what_runs(scene: Scene) -> None:
    """A role that ends at an instant, and a token that does, end the statements that run then."""
    soon = datetime.now(UTC) + timedelta(seconds=0.7)
    scene.store.grant_role("ada", "adviser", valid_until=soon)
    with scene.connect(ADVISER, autocommit=True) as connection:
        assert isinstance(Running(lambda: connection.execute(LONG).fetchall()).end(), errors.UndefinedRelation)
    scene.store.grant_role("ada", "adviser")
    caller = replace(ADVISER, valid_until=datetime.now(UTC) + timedelta(seconds=0.7))
    with scene.connect(caller, autocommit=True) as connection:
        error = Running(lambda: connection.execute(LONG).fetchall()).end()
        assert isinstance(error, errors.Refused)
        assert "ended" in error.message


def test_a_clock_that_is_set_back_keeps_no_cursor_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role ends by the state's clock: where the gate's own is set back meanwhile, nothing is fetched for longer."""

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(datetime.now(tz).timestamp() - 3600, tz)

    scene.store.grant_role("ada", "adviser", valid_until=datetime.now(UTC) + timedelta(seconds=0.7))
    with scene.connect(ADVISER) as connection, connection.cursor("some") as cursor:
        cursor.execute("SELECT customer_id FROM bank.customers")
        monkeypatch.setattr(lookout, "datetime", SetBack)
        deadline = monotonic() + 20

        def go_on() -> None:
            while monotonic() < deadline:
                cursor.fetchmany(1)

        with pytest.raises(errors.RightsChanged):
            go_on()
        connection.rollback()


def test_streams_give_no_row_after_the_end(scene: Scene) -> None:
    """Rows that came before the revocation but were not yet handed on are withheld."""
    text = (
        "SELECT a.customer_id FROM bank.customers AS a, bank.customers AS b, bank.customers AS c, bank.customers AS d"
    )
    with scene.connect(ADVISER, autocommit=True) as connection:
        rows = connection.cursor().stream(text)
        next(rows)
        scene.running()
        revoke_role(scene)
        deadline = monotonic() + 20
        while not connection.revoked:
            assert monotonic() < deadline
        with pytest.raises(errors.RightsChanged):
            next(rows)


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
@pytest.mark.parametrize("by_sql", [True, False])
def test_old_snapshots_do_not_hide_a_change(scene: Scene, level: IsolationLevel, by_sql: bool) -> None:
    """In a transaction that still sees the old state, the next statement is refused all the same: rights, consents."""
    words = level.name.replace("_", " ")
    changes: list[tuple[Caller, Callable[[], None]]] = [
        (ADVISER, lambda: revoke_role(scene)),
        (ANALYST, lambda: scene.store.withdraw_consent("6", "analytics")),
    ]
    for caller, change in changes:
        with scene.connect(caller) as connection:
            if by_sql:
                connection.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {words}")
                connection.commit()
            else:
                connection.isolation_level = level
            query = "SELECT count(*) FROM bank.customers"
            connection.execute(query)
            connection.execute(query)
            change()
            with pytest.raises(errors.RightsChanged):
                connection.execute(query)
            assert connection.info.transaction_status == TransactionStatus.INERROR, "nothing more is answered in it"
            connection.rollback()


def test_cursors_are_held_to_the_present(scene: Scene) -> None:
    """Each FETCH from an open cursor checks again; what it was declared under does not come back."""
    query = "SELECT customer_id FROM bank.customers ORDER BY 1"
    with scene.connect(ADVISER) as connection, connection.cursor("portal") as cursor:
        cursor.execute(query)
        assert len(cursor.fetchmany(3)) == 3
        scene.store.give_consent("951", "analytics")
        assert len(cursor.fetchmany(3)) == 3
        revoke_role(scene)
        for _ in range(2):
            with pytest.raises(errors.RightsChanged):
                cursor.fetchmany(3)
        scene.store.grant_role("ada", "adviser")
        with pytest.raises(errors.RightsChanged):
            cursor.fetchone()
        connection.rollback()


def test_cursors_are_held_to_consents(scene: Scene) -> None:
    """A consent withdrawn ends the cursors that were open, the driver's and the caller's own."""
    query = "SELECT 1 FROM bank.customers"
    for by_driver in (True, False):
        with scene.connect(ANALYST) as connection, connection.cursor("portal") as cursor:
            cursor.execute(query)
            connection.execute(f"DECLARE written CURSOR FOR {query}")
            assert len(cursor.fetchmany(3)) == 3
            assert len(connection.execute("FETCH 3 FROM written").fetchall()) == 3
            scene.store.withdraw_consent("8", "analytics")
            with pytest.raises(errors.RightsChanged):
                cursor.fetchmany(3) if by_driver else connection.execute("FETCH 3 FROM written")
            connection.rollback()


@pytest.mark.parametrize("key", ["8", "no-number"])
@pytest.mark.parametrize("how", ["a yes ends", "a no begins", "a limited yes begins"])
def test_cursors_are_held_to_consents_that_end_by_themselves(scene: Scene, how: str, key: str) -> None:
    """When an answer ends what could be shown, the cursors that are open end at their next FETCH."""
    turn = scene.store.now() + timedelta(seconds=1)
    if how == "a yes ends":
        scene.store.give_consent(key, "analytics", valid_until=turn)
    elif how == "a no begins":
        scene.store.withdraw_consent(key, "analytics", at=turn)
    else:
        scene.store.give_consent(key, "analytics", valid_from=turn, categories=["plain"])
    query = "SELECT 1 FROM bank.customers"
    with scene.connect(ANALYST) as connection, connection.cursor("portal") as cursor:
        cursor.execute(query)
        connection.execute(f"DECLARE written CURSOR FOR {query}")
        assert len(cursor.fetchmany(3)) == 3
        assert len(connection.execute("FETCH 3 FROM written").fetchall()) == 3
        _await(scene, turn)
        for fetch in (lambda: cursor.fetchmany(3), lambda: connection.execute("FETCH 3 FROM written")):
            with pytest.raises(errors.RightsChanged):
                fetch()
        connection.rollback()
    with scene.connect(ANALYST) as connection, connection.cursor("portal") as cursor:
        cursor.execute(query)
        assert len(cursor.fetchmany(3)) == 3, "what ended before a cursor was opened does not concern it"


def test_cursors_go_on_where_nothing_is_taken_away(scene: Scene) -> None:
    """A yes that begins, a no that ends, and what is answered for another purpose end no cursor."""
    turn = scene.store.now() + timedelta(seconds=1)
    scene.store.give_consent("8", "analytics", valid_from=turn)
    scene.store.record_consents(
        [Consent("9", Purpose("analytics"), granted=False, valid_from=turn - timedelta(days=1), valid_until=turn)]
    )
    scene.store.give_consent("10", "marketing", valid_until=turn)
    with scene.connect(ANALYST) as connection, connection.cursor("portal") as cursor:
        cursor.execute("SELECT 1 FROM bank.customers")
        assert len(cursor.fetchmany(3)) == 3
        _await(scene, turn)
        assert len(cursor.fetchmany(3)) == 3


def test_bits_that_ended_are_read_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate has the bits of consents renewed that the clock has ended; until then statements look answers up."""
    monkeypatch.setattr(lookout, "_LONGEST", 0.05)
    with scene.connect(ANALYST, autocommit=True) as connection:
        before = connection.execute("SELECT count(*) FROM bank.customers").fetchall()
        scene.observer.execute("UPDATE datagate.consent_blocks SET holds_until = '-infinity', yes = no")
        assert connection.execute("SELECT count(*) FROM bank.customers").fetchall() == before
        deadline = monotonic() + 20
        while scene.observer.execute("SELECT FROM datagate.consent_blocks WHERE holds_until < now()").rowcount:
            assert monotonic() < deadline
        assert connection.execute("SELECT count(*) FROM bank.customers").fetchall() == before


def _await(scene: Scene, instant: datetime) -> None:
    """Wait until the state's clock has passed an instant."""
    while scene.observer.execute("SELECT clock_timestamp() > %s", (instant,)).fetchone() != (True,):
        assert scene.observer.execute("SELECT clock_timestamp() < %s + interval '1 minute'", (instant,)).fetchone()


def test_only_a_role_that_can_take_something_ends_what_runs(scene: Scene) -> None:
    """More rights end no statement; what could be fewer does: here a permit whose attribute is not there."""
    with scene.connect(ADVISER) as connection:
        # In the middle of a transaction nothing is started over.
        connection.execute("SELECT 1 FROM bank.customers LIMIT 1").fetchall()
        running = Running(lambda: connection.execute(LONG).fetchall())
        scene.running()
        before = scene.store.epochs([PrincipalId("ada")])
        scene.store.grant_role("ada", "support")
        assert scene.store.epochs([PrincipalId("ada")]) != before
        # Notices come in order, so the one of the first role was heard before the one that ends this.
        scene.running()
        scene.store.grant_role("eve", "support")
        scene.running()
        scene.store.grant_role("ada", "customer")
        assert isinstance(running.end(), errors.RightsChanged)
        connection.rollback()
    for role in ("support", "customer"):
        scene.store.withdraw_entitlement("ada", EntitlementKind.ROLE, role)


def test_a_change_too_great_to_name_concerns_everybody(scene: Scene) -> None:
    """The rights of thousands end in one statement, which no notice can name: what runs under one of them ends."""
    scene.observer.execute(
        "INSERT INTO datagate.entitlements (principal, kind, name, valid_from)"
        " SELECT 'many' || n, 'role', 'nobody', now() FROM generate_series(1, 2400) AS n"
    )
    with scene.connect(ADVISER, autocommit=True) as connection:
        running = Running(lambda: connection.execute(LONG).fetchall())
        scene.running()
        scene.observer.execute("DELETE FROM datagate.entitlements WHERE kind = 'role' AND principal ~ '^(ada|many)'")
        assert isinstance(running.end(), errors.UndefinedRelation)


def test_a_lost_channel_is_not_trusted(scene: Scene) -> None:
    """While nobody hears of changes facts are read for each statement; then all that ran is asked for, and ended."""
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
    )
    with scene.connect(ADVISER, autocommit=True) as connection:
        assert scene.gate.lookout.sound
        running = Running(lambda: connection.execute(LONG).fetchall())
        scene.running()
        scene.observer.execute("BEGIN")
        scene.observer.execute("DELETE FROM datagate.entitlements WHERE principal = 'ada' AND kind = 'role'")
        scene.observer.execute(kill)
        scene.observer.execute("COMMIT")
        assert isinstance(running.end(), errors.UndefinedRelation)
    assert not scene.gate.lookout.sound, "nothing is watched any more"


def test_asynchronous_statements_end_too(scene: Scene) -> None:
    """The same on an asynchronous connection."""

    async def story() -> object:
        connection = await driver.connect_async(
            scene.dsn, caller=ADVISER, gate=scene.gate, options="-c statement_timeout=30s"
        )
        async with connection:
            await connection.execute("SELECT 1")
            task = asyncio.ensure_future(connection.execute(LONG))
            await asyncio.to_thread(scene.running)
            await asyncio.to_thread(revoke_role, scene)
            try:
                return await task
            except errors.DatagateError as error:
                await connection.rollback()
                return error

    assert isinstance(asyncio.run(story()), errors.RightsChanged)
