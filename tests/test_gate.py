"""The one road, seen from outside: what a caller gets, what is recorded, what is shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.audit import JsonLinesSink, MemorySink
from datagate.audit.record import AuditRecord
from datagate.errors import (
    AuditUnavailable,
    OperationalError,
    PolicyError,
    Refused,
    StateError,
    UndefinedRelation,
)
from datagate.gate import Gate, GateSession, state_engine
from datagate.model.caller import Caller
from datagate.stores import EntitlementKind, StateStore
from datagate.stores.keyring import Keyring

POLICIES = Path(__file__).parent.parent / "policies"
KEYS = Keyring({"default": b"k" * 32})
ANN = Caller.of("ann", purpose="analytics")
BEA = Caller.of("bea", purpose="analytics")


@pytest.fixture
def sink() -> MemorySink:
    """What was recorded."""
    return MemorySink()


@pytest.fixture
def store(bank_dsn: str) -> Iterator[StateStore]:
    """The state in the bank's own database, with two regional analysts and ten consents."""
    engine = state_engine(bank_dsn)
    state = StateStore(engine)
    grant_all(state)
    yield state
    engine.dispose()


def grant_all(state: StateStore) -> None:
    """Two analysts of different regions; customers 1 to 400 consent."""
    for principal, region in (("ann", "EU"), ("bea", "US")):
        state.grant_role(principal, "analyst")
        state.grant_attribute(principal, "regions", (region,))
    state.give_consents([str(number) for number in range(1, 401)], "analytics")


@pytest.fixture
def gate(bank_dsn: str, store: StateStore, sink: MemorySink) -> Gate:
    """The gate before the bank."""
    return Gate.open(bank_dsn, policies=POLICIES, state=store, keyring=KEYS, audit=sink)


@pytest.fixture
def bank(bank_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A raw connection, for running what was admitted and for looking behind the gate."""
    with psycopg.connect(bank_dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        yield connection


def rows(session: GateSession, bank: psycopg.Connection[Any], text: str, *own: object) -> list[tuple[Any, ...]]:
    """Run what the gate admits."""
    admitted = session.admit(text)
    values: Sequence[object] = [list(v) if isinstance(v, tuple) else v for v in admitted.parameters]
    return bank.execute(admitted.text, [*own, *values]).fetchall()


def test_the_same_text_gives_each_caller_his_own(gate: Gate, bank: psycopg.Connection[Any]) -> None:
    """Two analysts, one statement, one rewriting: each sees the consenting customers of his regions."""
    text = "SELECT DISTINCT region FROM bank.customers"
    ann, bea = (gate.session(caller, frontend="test") for caller in (ANN, BEA))
    assert rows(ann, bank, text) == [("EU",)]
    assert rows(bea, bank, text) == [("US",)]
    assert ann.admit(text).text is bea.admit(text).text
    (count,) = rows(ann, bank, "SELECT count(*) FROM bank.customers")[0]
    behind = bank.execute("SELECT count(*) FROM bank.customers WHERE region = 'EU' AND customer_id <= 400")
    assert (count,) == behind.fetchone()


def test_denied_and_missing_look_alike(gate: Gate) -> None:
    """A relation that is denied answers as one that does not exist, spelled as the caller did."""
    session = gate.session(Caller.of("nobody", purpose="analytics"), frontend="test")
    messages = []
    for name in ("bank.customers", "bank.no_such", "datagate.consents"):
        with pytest.raises(UndefinedRelation) as caught:
            session.admit(f"SELECT * FROM {name}")
        messages.append((caught.value.message.replace(name, "?"), caught.value.sqlstate))
    assert len(set(messages)) == 1


def test_every_outcome_is_recorded(gate: Gate, sink: MemorySink) -> None:
    """Permits and refusals are recorded with who, what and why; the reason of a refusal stays inside."""
    session = gate.session(ANN, frontend="test")
    for _ in range(2):
        session.admit("SELECT region FROM bank.customers")
    with pytest.raises(UndefinedRelation) as caught:
        session.admit('SELECT * FROM bank."KycReview"')
    with pytest.raises(Refused):
        session.admit("SELECT pg_read_file('/etc/passwd')")
    assert [record.permitted for record in sink.records] == [True, True, False, False]
    assert sink.records[0].relations == ("bank.customers",)
    assert sink.records[0].rules[0].source.file.endswith("customers.yaml")
    assert "no-permit" in (sink.records[2].reason or "")
    assert "permit" not in caught.value.message


def test_a_statement_that_cannot_be_recorded_is_refused(bank_dsn: str, store: StateStore) -> None:
    """A broken sink refuses known and new statements alike."""

    class Broken:
        on = False

        def record(self, record: AuditRecord, instant: datetime) -> None:
            if self.on:
                raise AuditUnavailable(f"disk full before {record.text} at {instant}")

    sink = Broken()
    session = Gate.open(bank_dsn, policies=POLICIES, state=store, keyring=KEYS, audit=sink).session(
        ANN, frontend="test"
    )
    session.admit("SELECT 1")
    sink.on = True
    for text in ("SELECT 1", "SELECT 2", "BEGIN"):
        with pytest.raises(AuditUnavailable):
            session.admit(text)


def test_json_lines_keep_one_record_a_line(bank_dsn: str, store: StateStore, tmp_path: Path) -> None:
    """The file sink writes a line a statement, readable by nobody else."""
    path = tmp_path / "audit.jsonl"
    sink = JsonLinesSink(path)
    session = Gate.open(bank_dsn, policies=POLICIES, state=store, keyring=KEYS, audit=sink).session(
        ANN, frontend="test"
    )
    session.admit("SELECT region FROM bank.customers")
    sink.close()
    line, checkpoint = path.read_text().splitlines()
    assert '"kind":"checkpoint"' in checkpoint
    assert '"principal":"ann"' in line
    assert path.stat().st_mode & 0o077 == 0


def test_a_withdrawn_consent_counts_in_the_next_statement(
    gate: Gate, store: StateStore, bank: psycopg.Connection[Any]
) -> None:
    """Consent is read inside the statement: nothing needs to be refreshed."""
    session = gate.session(ANN, frontend="test")
    text = "SELECT count(*) FROM bank.customers"
    ((before,),) = rows(session, bank, text)
    store.withdraw_consent("1", "analytics")
    assert rows(session, bank, text) == [(before - 1,)]


def test_changed_rights_stop_a_cached_statement(gate: Gate, store: StateStore, bank: psycopg.Connection[Any]) -> None:
    """A statement admitted under old facts raises DG001 at the server; after a refresh the new facts decide."""
    session = gate.session(ANN, frontend="test")
    text = "SELECT DISTINCT region FROM bank.customers"
    assert rows(session, bank, text) == [("EU",)]
    store.grant_attribute("ann", "regions", ("APAC",))
    with pytest.raises(psycopg.Error) as caught:
        rows(session, bank, text)
    assert caught.value.sqlstate == "DG001"
    session.refresh()
    assert rows(session, bank, text) == [("APAC",)]
    store.withdraw_entitlement("ann", EntitlementKind.ROLE, "analyst")
    session.refresh()
    with pytest.raises(UndefinedRelation):
        rows(session, bank, text)


def test_a_new_right_counts_in_the_next_statement(gate: Gate, store: StateStore, bank: psycopg.Connection[Any]) -> None:
    """A session that was refused is let in once the right is granted, without being told to refresh."""
    session = gate.session(Caller.of("eve", purpose="analytics"), frontend="test")
    with pytest.raises(UndefinedRelation):
        session.admit("SELECT * FROM bank.customers")
    store.grant_role("eve", "analyst")
    store.grant_attribute("eve", "regions", ("US",))
    assert rows(session, bank, "SELECT DISTINCT region FROM bank.customers") == [("US",)]


def test_a_mandate_that_ended_refuses_before_any_relation_is_looked_at(gate: Gate, store: StateStore) -> None:
    """Whatever the statement names, an ended mandate gives the same plain answer."""
    now = datetime.now(UTC)
    store.issue_mandate(
        "carla",
        "axel",
        "tax-accountant",
        purposes=["tax"],
        parameters={"customer_id": 1},
        valid_from=now - timedelta(days=2),
        valid_until=now - timedelta(days=1),
        mandate_id="m1",
    )
    session = gate.session(Caller.of("carla", actor="axel", mandate="m1", purpose="tax"), frontend="test")
    for name in ("bank.customers", "bank.no_such"):
        with pytest.raises(Refused, match="mandate of this session is not in force"):
            session.admit(f"SELECT * FROM {name}")


def test_the_state_may_lie_elsewhere(bank_dsn: str, tmp_path: Path, bank: psycopg.Connection[Any]) -> None:
    """With the state in SQLite each statement reads it anew: entitlements and consents."""
    engine = create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    state = StateStore(engine)
    state.create()
    grant_all(state)
    gate = Gate.open(bank_dsn, policies=POLICIES, state=state, keyring=KEYS, audit=MemorySink())
    session = gate.session(ANN, frontend="test")
    text = "SELECT count(*) FROM bank.customers WHERE region = 'EU'"
    ((before,),) = rows(session, bank, text)
    state.withdraw_consent("1", "analytics")
    assert rows(session, bank, text) == [(before - 1,)]
    state.withdraw_entitlement("ann", EntitlementKind.ROLE, "analyst")
    with pytest.raises(UndefinedRelation):
        session.admit(text)
    engine.dispose()


def test_policies_that_do_not_fit_the_database_do_not_load(empty_dsn: str) -> None:
    """A gate opens only before a database that has what the policies speak of."""
    with pytest.raises(PolicyError, match=r"customers\.yaml:\d+:\d+: "):
        Gate.open(empty_dsn, policies=POLICIES, keyring=KEYS)


def test_a_gate_reads_facts_with_a_role_that_may_only_read(
    bank_dsn: str, store: StateStore, bank: psycopg.Connection[Any]
) -> None:
    """The state's reader may read all of it and write none; the gate needs no more."""
    bank.execute("DROP ROLE IF EXISTS facts_reader")
    bank.execute("CREATE ROLE facts_reader LOGIN")
    store.grant_state_reader("facts_reader")
    reader = psycopg.conninfo.make_conninfo(bank_dsn, options="-c role=facts_reader")
    engine = state_engine(reader)
    gate = Gate.open(bank_dsn, policies=POLICIES, state=StateStore(engine), keyring=KEYS, audit=MemorySink())
    assert rows(gate.session(ANN, frontend="test"), bank, "SELECT DISTINCT region FROM bank.customers") == [("EU",)]
    with pytest.raises((StateError, OperationalError)):
        StateStore(engine).grant_role("ann", "adviser")
    engine.dispose()
    bank.execute("DROP OWNED BY facts_reader")
    bank.execute("DROP ROLE facts_reader")
