"""Advisory locks through the gateway: they stay with their session, and none of them is one of datagate's own."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
import pytest

from datagate.model import locks
from tests.frontends.gateway.running import Running

HELD = """
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database =
        (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""


def held(gateway: Running) -> set[int]:
    """The keys of all advisory locks of one key that anybody holds."""
    with psycopg.connect(gateway.owner) as connection:
        return {key for (key,) in connection.execute(HELD)}


def one(rows: Iterable[tuple[object, ...]]) -> object:
    """The only value."""
    ((value,),) = rows
    return value


def test_a_lock_of_the_session_stays_with_it(gateway: Running) -> None:
    """Others wait for it or are told that it is taken, until it is given back or its session ends."""
    with gateway.connect("ana") as ana, gateway.connect("ada") as ada:
        ana.execute("SELECT pg_advisory_lock(4711)")
        for _ in range(3):
            # What comes between runs on the same connection, however many there are in the pool.
            ada.execute("SELECT 1")
            ana.execute("SELECT count(*) FROM bank.customers")
            assert one(ada.execute("SELECT pg_try_advisory_lock(4711)")) is False
        assert one(ana.execute("SELECT pg_advisory_unlock(4711)")) is True
        assert one(ada.execute("SELECT pg_try_advisory_lock(4711)")) is True
        assert one(ana.execute("SELECT pg_try_advisory_lock_shared(%s)", (4711,))) is False
    with gateway.connect("ana") as ana:
        assert one(ana.execute("SELECT pg_try_advisory_lock(4711)")) is True
        ana.execute("DISCARD ALL")
        with gateway.connect("ada") as ada:
            assert one(ada.execute("SELECT pg_try_advisory_lock(4711)")) is True


def test_a_lock_of_the_transaction_ends_with_it(gateway: Running) -> None:
    """As on a server; two keys do as well as one."""
    with gateway.connect("ana") as ana, gateway.connect("ada") as ada:
        for keys in ("4712", "8, 4712"):
            with ana.transaction():
                ana.execute(f"SELECT pg_advisory_xact_lock({keys})")
                assert one(ada.execute(f"SELECT pg_try_advisory_xact_lock({keys})")) is False
            assert one(ada.execute(f"SELECT pg_try_advisory_xact_lock({keys})")) is True


@pytest.mark.parametrize("key", sorted(locks.RESERVED))
def test_no_caller_holds_up_who_writes_the_state(gateway: Running, key: int) -> None:
    """Revocations and the audit take locks that a caller cannot take, by whatever spelling."""
    with gateway.connect("ana") as ana:
        for keys in (f"{key}, 0", f"{key}::int, 0", f"{key - 1} + 1, 0", f"0x{key:x}, 0"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ana.execute(f"SELECT pg_try_advisory_lock({keys})")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ana.execute("SELECT pg_try_advisory_lock(%s, 0)", (key,))


def test_only_rows_that_are_seen_are_locked(gateway: Running) -> None:
    """A function that does something is computed of the caller's own rows, wherever it stands."""
    statements = (
        "SELECT pg_advisory_xact_lock(customer_id) FROM bank.customers",
        "SELECT count(*) FROM bank.customers WHERE pg_try_advisory_xact_lock(customer_id)",
        "SELECT count(*) FROM bank.customers GROUP BY region ORDER BY pg_try_advisory_xact_lock(max(customer_id))",
        "SELECT c.region FROM bank.customers AS c ORDER BY pg_try_advisory_xact_lock(c.customer_id)",
        "SELECT 1 FROM bank.customers AS c JOIN bank.accounts AS a ON pg_try_advisory_xact_lock(c.customer_id)",
        "SELECT 1 FROM bank.customers AS c, LATERAL (SELECT pg_try_advisory_xact_lock(c.customer_id)) AS x(y) WHERE y",
    )
    for user in ("ada", "cora"):
        with gateway.connect(user) as connection:
            seen = {key for (key,) in connection.execute("SELECT customer_id FROM bank.customers")}
            assert seen
            for statement in statements:
                with connection.transaction():
                    connection.execute(statement)
                    taken = held(gateway)
                assert taken
                assert taken <= seen, statement
