"""Tokens at a real gate: the audit has the reason, and a token's end is the end of a session's rights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import datagate
from datagate.audit import MemorySink
from datagate.errors import Refused, RightsChanged, TokenRefused
from datagate.gate import Gate, state_engine
from datagate.identity import JwtVerifier
from datagate.stores import StateStore
from tests.identity.issuer import AUDIENCE, ISSUER, Fixed, claims, published, signed

POLICIES = Path(__file__).parents[2] / "policies"


@contextmanager
def opened(dsn: str, sink: MemorySink) -> Iterator[tuple[Gate, StateStore]]:
    """A gate before the bank, whose cora has the tax mandate tax-1 for tom."""
    engine = state_engine(dsn)
    store = StateStore(engine)
    store.grant_role("cora", "customer")
    store.grant_attribute("cora", "customer_id", 7)
    if not store.list_mandates(principal="cora"):
        store.issue_mandate(
            "cora", "tom", "tax-accountant", purposes=["tax"], parameters={"customer_id": 7}, mandate_id="tax-1"
        )
    yield Gate.open(dsn, policies=POLICIES, state=store, audit=sink), store
    engine.dispose()


def verifier() -> JwtVerifier:
    """By the machine's own clock."""
    return JwtVerifier(Fixed(published()), issuer=ISSUER, audience=AUDIENCE, leeway=timedelta(0))


def token(seconds: float = 600, **more: object) -> str:
    """A token from now on."""
    now = datetime.now(UTC)
    return signed(claims(iat=int(now.timestamp()) - 5, exp=(now + timedelta(seconds=seconds)).timestamp(), **more))


TOM = {"sub": "tom", "actor_kind": "person"}
DETAIL = {"type": "datagate_mandate", "mandate": "tax-1"}


def test_a_refused_token_is_recorded_with_its_reason(bank_dsn: str) -> None:
    """The outside reads one sentence; the audit reads why."""
    sink = MemorySink()
    with opened(bank_dsn, sink) as (gate, _):
        with pytest.raises(TokenRefused) as caught:
            gate.caller(token(aud="other"), verifier(), frontend="driver")
        assert str(caught.value) == "the token is not accepted; log in again"
        (record,) = sink.records
        assert not record.permitted
        assert record.reason == "token: meant for ['other']"
        assert gate.caller(token(), verifier(), frontend="driver").principal == "cora"


def test_a_token_narrows_what_the_mandate_shows(bank_dsn: str) -> None:
    """Through the driver: the mandate's columns, then those that the token leaves; another's parameter: no row."""
    statement = "SELECT * FROM bank.customers"
    with opened(bank_dsn, MemorySink()) as (gate, _):

        def seen(**more: object) -> tuple[list[str], int]:
            caller = gate.caller(token(act=TOM, authorization_details=[DETAIL | more]), verifier(), frontend="driver")
            with datagate.connect(bank_dsn, caller=caller, gate=gate) as connection:
                cursor = connection.execute(statement)
                return [column.name for column in cursor.description or ()], len(cursor.fetchall())

        every, rows = seen()
        assert (len(every), rows) == (7, 1)
        assert seen(relations={"bank.customers": ["region", "full_name", "email"]}) == (["full_name", "region"], 1)
        assert seen(parameters={"customer_id": 7}) == (every, 1)
        assert seen(parameters={"customer_id": 8}) == (every, 0)
        with pytest.raises(Refused, match="does not cover its purpose"):
            seen(purposes=["analytics"])
        with pytest.raises(datagate.UndefinedRelation):
            seen(relations={"bank.accounts": "all"})


def test_a_token_ends_within_a_session(bank_dsn: str) -> None:
    """Statements before the token's end run; those after it are refused, also on a connection long since open."""
    with opened(bank_dsn, MemorySink()) as (gate, _), psycopg.connect(bank_dsn, autocommit=True) as watch:
        caller = gate.caller(token(seconds=1.5), verifier(), frontend="driver")
        with datagate.connect(bank_dsn, caller=caller, gate=gate, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM bank.customers").fetchone() == (1,)
            _until(watch, caller.valid_until)
            for _ in range(2):
                with pytest.raises(Refused, match="login of this session has ended"):
                    connection.execute("SELECT count(*) FROM bank.customers")
            with pytest.raises(Refused):
                connection.execute("SELECT 1")


def test_a_token_ends_within_a_transaction(bank_dsn: str) -> None:
    """Inside a transaction RightsChanged comes first; the transaction that is run again is refused."""
    with opened(bank_dsn, MemorySink()) as (gate, _), psycopg.connect(bank_dsn, autocommit=True) as watch:
        caller = gate.caller(token(seconds=1.5), verifier(), frontend="driver")
        connection: datagate.Connection[Any]
        with datagate.connect(bank_dsn, caller=caller, gate=gate) as connection:
            connection.execute("SELECT count(*) FROM bank.customers")
            _until(watch, caller.valid_until)
            with pytest.raises(RightsChanged):
                connection.execute("SELECT count(*) FROM bank.customers")
            connection.rollback()
            with pytest.raises(Refused):
                connection.execute("SELECT count(*) FROM bank.customers")


def _until(watch: psycopg.Connection[Any], instant: datetime | None) -> None:
    """Have the server wait until its own clock has come to an instant."""
    assert instant is not None
    watch.execute("SELECT pg_sleep_until(%s)", (instant,))
