"""The bits of consents say what the answers say, whatever is done to these, by whom, and however many at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import create_engine

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.stores import StateStore
from datagate.stores.blocks import BLOCKS
from tests.stores.chance import Chance

Connection = psycopg.Connection[Any]

_PLAIN = """
SELECT purpose, data_subject_number FROM datagate.consents
WHERE data_subject_number IS NOT NULL AND valid_from <= now()
    AND (valid_until IS NULL OR valid_until > now()) AND {condition}
"""
_BITS = f"""
SELECT b.purpose, (b.block << 10) + n FROM datagate.{BLOCKS} AS b, generate_series(0::bigint, 1023) AS n
WHERE now() < b.holds_until AND get_bit(b.{{bits}}, n) = 1
"""
ISOLATIONS = (
    psycopg.IsolationLevel.READ_COMMITTED,
    psycopg.IsolationLevel.REPEATABLE_READ,
    psycopg.IsolationLevel.SERIALIZABLE,
)
_LIMITED = "(categories IS NOT NULL OR recipients IS NOT NULL)"
MEANINGS = {"yes": f"granted AND NOT {_LIMITED}", "no": "NOT granted", "asked": f"granted AND {_LIMITED}"}
_ENDED = f"SELECT purpose, block FROM datagate.{BLOCKS} WHERE holds_until <= now()"


@pytest.fixture
def dsn(empty_dsn: str) -> Iterator[str]:
    """A database with a new state."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
    StateStore(engine).create()
    yield empty_dsn
    engine.dispose()


@pytest.fixture
def session(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def assert_bits_are_right(session: Connection) -> None:
    """Of every block that holds, each bit is what the answers say; and each answer has a block."""
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ended = set(session.execute(_ENDED).fetchall())
        for bits, condition in MEANINGS.items():
            said = set(session.execute(_BITS.format(bits=bits).encode()).fetchall())
            meant = set(session.execute(_PLAIN.format(condition=condition).encode()).fetchall())
            assert said == {(purpose, number) for purpose, number in meant if (purpose, number >> 10) not in ended}
        for place in (f"{BLOCKS} AS b WHERE b.purpose = c.purpose AND", "consent_numbers AS b WHERE"):
            without = (
                "SELECT purpose, data_subject FROM datagate.consents AS c WHERE data_subject_number IS NOT NULL"
                f" AND NOT EXISTS (SELECT FROM datagate.{place} b.block = c.data_subject_number >> 10)"
            )
            assert session.execute(without.encode()).fetchall() == []


@pytest.mark.parametrize("seed", range(4))
def test_bits_follow_every_change(session: Connection, seed: int) -> None:
    """Whatever one statement does to however many answers, the next finds their bits, or a block that has ended."""
    chance = Chance(seed)
    for step in range(60):
        session.execute(*chance.change())
        if chance.random.random() < 0.1:
            with session.transaction(force_rollback=True):
                session.execute(*chance.change())
        if step % 25 == 24:
            session.execute("TRUNCATE datagate.consents")
        assert_bits_are_right(session)
    session.execute("SELECT datagate.renew_blocks(1000000)")
    assert_bits_are_right(session)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_bits_of_one_block_written_by_many_at_once(dsn: str, isolation: psycopg.IsolationLevel) -> None:
    """No writer undoes the bits of another; who cannot see the other's is told to start over."""

    def write(seed: int) -> None:
        chance = Chance(seed)
        with psycopg.connect(dsn) as connection:
            connection.isolation_level = isolation
            for _ in range(8):
                changes = [chance.change() for _ in range(chance.random.randrange(1, 4))]
                while True:
                    try:
                        for statement, values in changes:
                            connection.execute(statement.encode(), values)
                        connection.commit()
                        break
                    except (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation):
                        connection.rollback()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(100, 103)))
    with psycopg.connect(dsn, autocommit=True) as session:
        assert_bits_are_right(session)


@pytest.mark.parametrize("isolation", ISOLATIONS[1:])
def test_an_old_snapshot_does_not_write_over_a_newer_block(dsn: str, isolation: psycopg.IsolationLevel) -> None:
    """It gets 40001, also where the block was not there when it began; and its answer is not recorded."""
    give = "INSERT INTO datagate.consents VALUES (%s, 'tax', true, now())"
    for first, second in (("1", "2"), ("3", "4")):
        with psycopg.connect(dsn) as old, psycopg.connect(dsn, autocommit=True) as new:
            old.isolation_level = isolation
            old.execute("SELECT 1")
            new.execute(give, (first,))
            with pytest.raises(errors.SerializationFailure):
                old.execute(give, (second,))
            assert new.execute("SELECT FROM datagate.consents WHERE data_subject = %s", (second,)).rowcount == 0
            assert_bits_are_right(new)


@pytest.mark.parametrize("isolation", ISOLATIONS[1:])
def test_no_bit_outlives_a_truncation_in_an_old_snapshot(dsn: str, isolation: psycopg.IsolationLevel) -> None:
    """TRUNCATE takes answers away that its snapshot does not show: their bits would go on saying yes."""
    with psycopg.connect(dsn) as old, psycopg.connect(dsn, autocommit=True) as new:
        old.isolation_level = isolation
        old.execute("SELECT 1")
        new.execute("INSERT INTO datagate.consents VALUES ('1', 'tax', true, now())")
        with pytest.raises(errors.SerializationFailure, match="READ COMMITTED"):
            old.execute("TRUNCATE datagate.consents")
        old.rollback()
        assert_bits_are_right(new)
        assert new.execute("SELECT data_subject FROM datagate.consents").fetchall() == [("1",)]


def test_two_writers_of_a_new_block_wait_for_each_other(dsn: str, session: Connection) -> None:
    """Both bits are there afterwards, and one alone where the other rolls back."""
    give = "INSERT INTO datagate.consents VALUES (%s, 'tax', true, now())"
    for base, keeps in ((0, True), (10_000, False)):
        with psycopg.connect(dsn) as first, ThreadPoolExecutor(1) as pool:
            first.execute(give, (str(base),))
            second = pool.submit(session.execute, give, (str(base + 1),))
            blocked = "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            while first.execute(blocked).rowcount == 0:
                assert not second.done()
            (first.commit if keeps else first.rollback)()
            second.result()
        bits = {number for _, number in session.execute(_BITS.format(bits="yes").encode()).fetchall()}
        assert ({base, base + 1} & bits) == ({base, base + 1} if keeps else {base + 1})


@pytest.mark.parametrize("seed", range(2))
def test_bits_outlive_writers_that_are_killed(dsn: str, session: Connection, seed: int) -> None:
    """A writer whose server process ends in the middle leaves answers and bits as they were before."""
    chance = Chance(1000 + seed)
    for _ in range(10):
        with psycopg.connect(dsn) as writer:
            pid = writer.info.backend_pid
            ending = threading.Timer(chance.random.uniform(0.001, 0.02), _terminate, (dsn, pid))
            ending.start()
            try:
                while True:
                    writer.execute(*chance.change())
                    if chance.random.random() < 0.5:
                        writer.commit()
            except psycopg.OperationalError:
                ending.join()
        assert_bits_are_right(session)


def _terminate(dsn: str, pid: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_a_block_ends_when_an_answer_does(session: Connection) -> None:
    """What begins or ends by itself is no bit beyond its time, and what was renewed is bits again."""
    session.execute(
        "INSERT INTO datagate.consents VALUES ('1', 'tax', true, now(), clock_timestamp() + interval '500 ms'),"
        " ('2', 'tax', true, clock_timestamp() + interval '510 ms', NULL), ('3', 'tax', true, now(), NULL)"
    )
    assert session.execute(f"SELECT holds_until > now() FROM datagate.{BLOCKS}".encode()).fetchall() == [(True,)]
    session.execute("SELECT pg_sleep(0.55)")
    assert len(session.execute(_ENDED).fetchall()) == 1
    assert_bits_are_right(session)
    assert session.execute("SELECT datagate.renew_blocks(10)").fetchone() == (1,)
    bits = session.execute(_BITS.format(bits="yes").encode()).fetchall()
    assert sorted(number for _, number in bits) == [2, 3]
    assert session.execute("SELECT datagate.renew_blocks(10)").fetchone() == (0,)


def test_renewing_waits_for_nobody(dsn: str, session: Connection) -> None:
    """A block that a writer holds is left to it."""
    session.execute("INSERT INTO datagate.consents VALUES ('1', 'tax', true, now())")
    with psycopg.connect(dsn) as writer:
        writer.execute(f"UPDATE datagate.{BLOCKS} SET holds_until = '-infinity'".encode())
        writer.commit()
        writer.execute(f"SELECT FROM datagate.{BLOCKS} FOR UPDATE".encode())
        assert session.execute("SELECT datagate.renew_blocks(10)").fetchone() == (0,)
    assert session.execute("SELECT datagate.renew_blocks(10)").fetchone() == (1,)
    assert_bits_are_right(session)


def test_who_may_change_answers_cannot_write_bits(postgres: EmbeddedPostgres, session: Connection) -> None:
    """A role that writes consents keeps their bits by doing so, and cannot write them otherwise."""
    session.execute("CREATE ROLE consents_of_test LOGIN; GRANT USAGE ON SCHEMA datagate TO consents_of_test")
    session.execute("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON datagate.consents TO consents_of_test")
    try:
        own = postgres.dsn_for(session.info.dbname, user="consents_of_test")
        with psycopg.connect(own, autocommit=True) as writer:
            writer.execute("INSERT INTO datagate.consents VALUES ('1', 'tax', true, now())")
            writer.execute("UPDATE datagate.consents SET granted = false")
            for statement in (
                f"UPDATE datagate.{BLOCKS} SET yes = no",
                "SELECT datagate.keep_block('tax', 0, NULL)",
                "SELECT datagate.renew_blocks(1)",
            ):
                with pytest.raises(errors.InsufficientPrivilege):
                    writer.execute(statement.encode())
        assert_bits_are_right(session)
    finally:
        session.execute("DROP OWNED BY consents_of_test; DROP ROLE consents_of_test")
