"""Class 52: rights that ended, callers that are made up, rewritings that are shared, records that are missing.

What: going on after a revocation in open transactions and cursors; mandates and purposes that are not one's own; texts
that another caller asked before; statements that leave no record.
Why: facts are read once and kept; a rewriting is kept under its text; a frontend may send before it records.
Defence: each statement checks the epochs in its own snapshot; the cache's key holds the decisions' shapes; the record
comes before the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import permutations
from typing import Any

import psycopg
import pytest

from datagate.audit import AuditRecord
from datagate.errors import AuditUnavailable, Refused, RightsChanged, UndefinedRelation
from datagate.frontends import driver
from datagate.model.caller import Caller
from datagate.stores import EntitlementKind
from tests.attacks.arena import CALLERS, Bank, canaries, observe

COUNT = "select count(*) from bank.customers"
Connection = driver.Connection[Any]


@contextmanager
def hired(bank: Bank, name: str, **how: Any) -> Iterator[Connection]:
    """An adviser of his own, on a connection of his own."""
    bank.store.grant_role(name, "adviser")
    bank.store.grant_attribute(name, "regions", ("EU", "APAC"))
    with driver.connect(bank.service, caller=Caller.of(name, purpose="advice"), gate=bank.gate, **how) as connection:
        yield connection
        connection.rollback()


def fire(bank: Bank, name: str) -> None:
    """Take the role away."""
    bank.store.withdraw_entitlement(name, EntitlementKind.ROLE, "adviser")


def test_after_a_revocation(bank: Bank) -> None:
    """Within the transaction: RightsChanged; in the next one, in autocommit, and of prepared statements: nothing."""
    with hired(bank, "art") as connection:
        assert connection.execute(COUNT).fetchone() == (31,)
        fire(bank, "art")
        with pytest.raises(RightsChanged):
            connection.execute(COUNT)
        connection.rollback()
        with pytest.raises(UndefinedRelation):
            connection.execute(COUNT)
    with hired(bank, "bea", autocommit=True, prepare_threshold=0) as connection:
        for _ in range(3):
            assert connection.execute(COUNT, prepare=True).fetchone() == (31,)
        fire(bank, "bea")
        with pytest.raises(UndefinedRelation):
            connection.execute(COUNT, prepare=True)
        assert connection.execute("select count(*) from pg_class where oid >= 16384").fetchone() == (0,)


def test_in_a_pipeline(bank: Bank) -> None:
    """What is queued when the right ends gives no rows."""
    with hired(bank, "cid", autocommit=True) as connection:
        assert connection.execute(COUNT).fetchone() == (31,)
        fire(bank, "cid")
        with connection.pipeline(), pytest.raises(RightsChanged):
            connection.execute(COUNT).fetchall()


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_in_an_old_snapshot(bank: Bank, level: psycopg.IsolationLevel) -> None:
    """A transaction that keeps its snapshot does not keep the rights."""
    with hired(bank, f"dan{level}") as connection:
        connection.isolation_level = level
        assert connection.execute(COUNT).fetchone() == (31,)
        fire(bank, f"dan{level}")
        with pytest.raises((RightsChanged, UndefinedRelation)):
            connection.execute(COUNT)


@pytest.mark.parametrize("withhold", [False, True])
def test_in_an_open_cursor(bank: Bank, withhold: bool) -> None:
    """A cursor that is open when the right ends gives no more rows."""
    with hired(bank, f"eve{withhold}") as connection:
        assert connection.execute(COUNT).fetchone() == (31,)
        with connection.cursor("c", withhold=withhold) as cursor:
            cursor.execute("select customer_id from bank.customers")
            assert len(cursor.fetchmany(3)) == 3
            fire(bank, f"eve{withhold}")
            with pytest.raises((RightsChanged, UndefinedRelation)):
                cursor.fetchmany(3)


FORGED = {
    "somebody else's mandate": Caller.of("zoe", actor="bot", mandate="assist-1", purpose="assistance"),
    "a mandate in other hands": Caller.of("cora", actor="eve", mandate="assist-1", purpose="assistance"),
    "no mandate": Caller.of("cora", actor="bot", purpose="assistance"),
    "a mandate that is not": Caller.of("cora", actor="bot", mandate="assist-2", purpose="assistance"),
    "another spelling": Caller.of("cora", actor="bot", mandate="ASSIST-1", purpose="assistance"),
    "an empty mandate": Caller.of("cora", actor="bot", mandate="", purpose="assistance"),
    "a quoted mandate": Caller.of("cora", actor="bot", mandate="assist-1' or '1'='1", purpose="assistance"),
    "one's own hands": Caller.of("cora", mandate="assist-1", purpose="assistance"),
    "the holder's own name": Caller.of("bot", mandate="assist-1", purpose="assistance"),
    "a purpose beyond": Caller.of("cora", actor="bot", mandate="assist-1", purpose="self-service"),
    "a purpose in capitals": Caller.of("cora", purpose="Self-Service"),
    "a purpose with a blank": Caller.of("cora", purpose="self-service "),
    "a part of no purpose": Caller.of("ana", purpose="analytics.more"),
    "a purpose for others": Caller.of("ana", purpose="compliance"),
    "no purpose": Caller.of("cora"),
    "an empty purpose": Caller.of("cora", purpose=""),
    "a principal in capitals": Caller.of("CORA", purpose="self-service"),
    "a look-alike": Caller.of("соrа", purpose="self-service"),  # noqa: RUF001 - Cyrillic letters are the attack
    "a quoted principal": Caller.of("x' or true --", purpose="self-service"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_callers(bank: Bank, name: str) -> None:
    """Nobody gets rows by another's name, mandate or purpose."""
    with driver.connect(bank.service, caller=FORGED[name], gate=bank.gate) as connection:
        told = observe(connection, "select * from bank.customers")
        assert told.sqlstate in (Refused.sqlstate, UndefinedRelation.sqlstate)
        assert not canaries("stranger", told.told)


SHARED = (
    "select * from bank.customers order by 1",
    "select * from bank.customer_balances order by 1",
    "select count(*), min(customer_id) from bank.accounts",
    "select * from bank.notes order by 1",
    "select relname from pg_class where oid >= 16384 order by 1",
    "select 'bank.notes'::regclass::text",
)


def test_rewritings_are_not_shared_too_widely(bank: Bank) -> None:
    """Whoever asks first, each caller's answer to the same text is his own."""
    answers: dict[tuple[str, str], set[Any]] = {}
    for number, order in enumerate(permutations(CALLERS)):
        if number % 30:
            continue
        for text in SHARED:
            for caller in order:
                with bank.connected(caller, least_privileged=False) as connection:
                    told = observe(connection, f"{text} -- {number}")
                assert not canaries(caller, told.told)
                answers.setdefault((caller, text), set()).add(told)
    assert {key: len(told) for key, told in answers.items() if len(told) > 1} == {}


def test_everything_is_recorded(bank: Bank) -> None:
    """Permits, refusals and session statements leave a record each, also cached, streamed, prepared, and in cursors."""
    with bank.connected("analyst", least_privileged=True) as connection:
        before = len(bank.audit.records)
        for text in (
            COUNT,
            COUNT,
            "select * from bank.canary_vault",
            "copy bank.customers from stdin",
            "begin",
            "selec",
        ):
            observe(connection, text)
        connection.rollback()
        list(connection.cursor().stream(COUNT))
        connection.execute(COUNT, prepare=True)
        with connection.transaction(), connection.cursor("c") as cursor:
            cursor.execute(COUNT)
        records = bank.audit.records[before:]
    assert [record.permitted for record in records] == [True, True, False, False, True, False, True, True, True]


class Broken:
    """A sink that cannot record."""

    def record(self, record: AuditRecord, instant: datetime) -> None:
        raise AuditUnavailable(f"no record of {record.permitted} at {instant}")


def test_no_record_no_rows(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a statement cannot be recorded, nothing of it is sent, cached or not."""
    with bank.connected("analyst", least_privileged=True) as connection:
        assert not observe(connection, COUNT).sqlstate
        monkeypatch.setattr(bank.audit, "record", Broken().record)
        for text in (COUNT, f"{COUNT} where true", "begin"):
            assert observe(connection, text).sqlstate == AuditUnavailable.sqlstate
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
