"""Limits for each user, and time-outs: what is refused, in which words, and that others go on."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagate.errors import OperationalError, ProgrammingError
from datagate.frontends.gateway.limits import Allowances, Budget, Limits, Meter
from datagate.frontends.gateway.patience import GRACE_SECONDS, Patience, State
from datagate.frontends.gateway.pool import PoolLimits
from datagate.frontends.gateway.protocol import backend
from datagate.frontends.gateway.rowcount import RowCount
from tests.frontends.gateway.running import Running

LONG = "select count(*) from bank.customers a, bank.customers b, bank.customers c, bank.customers d"


class Limited:
    """Makes gateways with limits of their own, before the same bank and by the same gate."""

    def __init__(self, gateway: Running, folder: Path) -> None:
        self._gateway = gateway
        self._folder = folder

    def __call__(self, *, pool: PoolLimits | None = None, **limits: Any) -> Running:
        """A gateway with these limits."""
        gateway, given = self._gateway, Limits(**limits)
        return Running(gateway.owner, self._folder, gate=gateway.gate, allowed=given, limits=pool or PoolLimits())


@pytest.fixture
def limited(gateway: Running, tmp_path: Path) -> Limited:
    return Limited(gateway, tmp_path)


def test_connections(limited: Limited) -> None:
    """One user's connections are counted, and given back; all clients' are, too."""
    with limited(connections_per_user=2, clients=3) as gateway:
        with gateway.connect("ana") as first, gateway.connect("ana"):
            with pytest.raises(psycopg.OperationalError, match="too many connections for user"):
                gateway.connect("ana")
            with gateway.connect("ada"), pytest.raises(psycopg.OperationalError, match="too many clients already"):
                gateway.connect("cora")
            assert first.execute("select 1").fetchone() == (1,)
        for _ in range(3):
            again = gateway.connect("ana")
            again.close()
            _until_gone(gateway)


def _until_gone(gateway: Running) -> None:
    """Wait until the gateway has noticed that its clients are gone."""

    async def clients() -> int:
        return gateway.worker.clients

    while gateway.do(clients):
        pass


@pytest.mark.parametrize("prepare", [False, True])
def test_statements(limited: Limited, prepare: bool) -> None:
    """Who has run all that a minute allows is told when to come back, on each of its connections; others go on."""
    with (
        limited(statements_per_minute=5) as gateway,
        gateway.connect("ana") as one,
        gateway.connect("ana") as two,
        gateway.connect("ada") as ada,
    ):
        for number in range(5):
            (one, two)[number % 2].execute("select 1", prepare=prepare)
        for connection in (one, two):
            with pytest.raises(
                psycopg.errors.ConfigurationLimitExceeded, match=r"limit of 5 statements .* try again in"
            ):
                connection.execute("select 1", prepare=prepare)
        assert ada.execute("select 1").fetchone() == (1,)


def test_rows(limited: Limited) -> None:
    """Not one row more than a minute allows comes out, and what is cut short is not taken for all there is."""
    with limited(rows_per_minute=100) as gateway:
        with gateway.connect("ana") as ana:
            assert len(ana.execute("select customer_id from bank.customers limit 90").fetchall()) == 90
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="limit of 100 rows"):
                ana.execute("select customer_id from bank.customers")
        with gateway.connect("ana") as ana, pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            ana.execute("select 1")
        with (
            gateway.connect("ada") as ada,
            ada.cursor().copy("copy (select 1 from generate_series(1, 1000)) to stdout") as rows,
            pytest.raises(psycopg.errors.ConfigurationLimitExceeded),
        ):
            list(rows)


def test_bytes(limited: Limited) -> None:
    """What a statement sends beyond its user's bytes ends it, in the middle, and the session goes on."""
    with limited(bytes_per_minute=1_000_000) as gateway, gateway.connect("ana") as ana:
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="limit of 1e"):
            ana.execute("select repeat('x', 1000) from generate_series(1, 10000000)")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            ana.execute("select 1")
        assert not ana.broken


def test_a_statement_that_takes_too_long(limited: Limited) -> None:
    """It ends with 57014, whatever the session has set; the session goes on, in a transaction as after any error."""
    with limited(statement_seconds=1.5) as gateway, gateway.connect("ana") as ana:
        ana.execute("set statement_timeout = 0")
        for _ in range(2):
            with pytest.raises(psycopg.errors.QueryCanceled, match="canceling statement due to statement timeout"):
                ana.execute(LONG)
            assert ana.execute("select 1").fetchone() == (1,)


def test_silence(limited: Limited) -> None:
    """A session that says nothing ends with 57P05, in a transaction with 25P03, and holds nothing after that."""
    with limited(idle_seconds=2, idle_in_transaction_seconds=1.5) as gateway:
        idle, within = gateway.connect("ana"), gateway.connect("ada")
        within.execute("begin; select 1")
        for connection, sqlstate in ((within, b"C25P03\0"), (idle, b"C57P05\0")):
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.setblocking(True)
                told = line.makefile("rb").read()
            connection.close()
            assert sqlstate in told
            assert b"FATAL" in told
        _until_gone(gateway)
        assert gateway.worker.pool.size == gateway.worker.pool.idle


def test_a_client_that_does_not_read(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither it nor its connection to the server stays for ever, though what it was sent is never taken."""
    for module in ("patience", "client"):
        monkeypatch.setattr(f"datagate.frontends.gateway.{module}.GRACE_SECONDS", 0.3)
    with limited(statement_seconds=1.5, idle_seconds=1.5) as gateway:
        ana = gateway.connect("ana")
        text = b"select repeat('x', 1000) from generate_series(1, 10000000)\0"
        with socket.socket(fileno=os.dup(ana.fileno())) as line:
            line.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
            _until_gone(gateway)
        ana.close()
        assert gateway.worker.pool.size == gateway.worker.pool.idle
        with gateway.connect("ada") as ada:
            assert ada.execute("select 1").fetchone() == (1,)


def test_waiting_for_a_connection(limited: Limited) -> None:
    """Who waits too long for a connection to the server is told so; who waits a little gets one."""
    with (
        limited(pool=PoolLimits(size=1, queue_seconds=2)) as gateway,
        gateway.connect("ana") as ana,
        gateway.connect("ada") as ada,
    ):
        ana.execute("begin")
        with pytest.raises(psycopg.OperationalError, match="became free in time"):
            ada.execute("select 1")
        ana.execute("commit")
    with (
        limited(pool=PoolLimits(size=1)) as gateway,
        gateway.connect("ana") as ana,
        gateway.connect("ada") as ada,
    ):
        ana.execute("begin")
        timer = threading.Timer(0.1, lambda: ana.execute("commit"))
        timer.start()
        assert ada.execute("select 1").fetchone() == (1,)
        timer.join()


def test_silence_at_the_start(limited: Limited) -> None:
    """Who says nothing, half of a start-up packet, or no password, is left after the time that a login may take."""
    body = b"\0\x03\0\0user\0ana\0\0"
    startup = struct.pack("!I", len(body) + 4) + body
    said = {b"": b"", b"\0\0\0": b"", b"\0\0\0\x08\x04\xd2\x16\x2f": b"N", startup: b"R"}
    with limited(login_seconds=1.5) as gateway:
        lines = [
            (socket.create_connection(("127.0.0.1", gateway.port), timeout=30), answer) for answer in said.values()
        ]
        for (line, _), sent in zip(lines, said, strict=True):
            line.sendall(sent)
        for line, answer in lines:
            with line, line.makefile("rb") as heard:
                assert heard.read()[:1] == answer
        _until_gone(gateway)


# Without sockets.


def test_limits_by_name() -> None:
    """Limits are read by their names; an unknown one, and what is no positive number, are refused."""
    found = Limits.read({"statements-per-minute": "60", "idle_seconds": "1.5"})
    assert (found.statements_per_minute, found.idle_seconds) == (60, 1.5)
    for name, value in (
        ("nonsense", "1"),
        ("clients", "0"),
        ("clients", "1.5"),
        ("idle-seconds", "inf"),
        ("clients", ""),
    ):
        with pytest.raises(ProgrammingError, match="limit"):
            Limits.read({name: value})


def test_a_budget_fills_up_again() -> None:
    """A minute's budget comes back by the second, and never exceeds a minute's."""
    now = [0.0]
    budget = Budget(60, lambda: now[0])
    assert budget.use(60)
    assert not budget.use(1)
    now[0] = 2.0
    assert budget.use(1)
    assert not budget.use(1)
    now[0] = 1000.0
    assert budget.left == 60


def test_a_users_connections_share_an_allowance() -> None:
    """What one connection has used the other has not, also after one has left; 53400 says what and when."""
    allowances = Allowances(Limits(bytes_per_minute=100), lambda: 0.0)
    one, two = Meter(allowances.enter("ana")), Meter(allowances.enter("ana"))
    assert one.refusal() is None
    one.passed(150)
    one.leave()
    refusal = two.refusal()
    assert refusal is not None
    assert (refusal.sqlstate, refusal.message) == (
        "53400",
        "limit of 100 bytes per minute is reached; try again in 31 s",
    )
    assert Meter(allowances.enter("ada")).refusal() is None


@given(st.lists(st.sampled_from([b"D", b"d", b"C", b"T", b"Z"]), max_size=12), st.integers(0, 8), st.data())
def test_rows_are_counted_however_they_are_cut(kinds: list[bytes], allowed: int, data: st.DataObject) -> None:
    """In any chunks: as many rows pass as may, each whole, and nothing after the first that may not."""
    stream = [kind + struct.pack("!I", 4 + number) + b"x" * number for number, kind in enumerate(kinds)]
    left = [allowed]

    def row() -> OperationalError | None:
        left[0] -= 1
        return OperationalError("too many") if left[0] < 0 else None

    count = RowCount(row)
    whole = b"".join(stream)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    passed = b"".join(count.take(whole[a:b]) for a, b in zip([0, *places], [*places, len(whole)], strict=True))
    rows = [number for number, kind in enumerate(kinds) if kind in (b"D", b"d")]
    expected = whole if len(rows) <= allowed else b"".join(stream[: rows[allowed]])
    assert passed == expected
    assert (count.refusal is None) is (len(rows) <= allowed)


def test_patience() -> None:
    """A statement is cancelled once, and its session ends where that does not help; silence ends a session."""
    limits = Limits(statement_seconds=10, idle_seconds=20, idle_in_transaction_seconds=5)
    patience = Patience(limits)
    assert patience.look(State.ACTIVE, 1, 0) is None
    assert patience.look(State.ACTIVE, 1, 9) is None
    verdict = patience.look(State.ACTIVE, 1, 10)
    assert verdict is not None
    assert (verdict.cancel, verdict.error.sqlstate) == (True, "57014")
    assert patience.look(State.ACTIVE, 1, 11) is None
    verdict = patience.look(State.ACTIVE, 1, 10 + GRACE_SECONDS)
    assert verdict is not None
    assert not verdict.cancel
    assert patience.look(State.ACTIVE, 2, 21) is None, "another statement has its own time"
    assert patience.look(State.IN_TRANSACTION, 7, 22) is None
    assert patience.look(State.IN_TRANSACTION, 8, 27) is None, "something was said"
    verdict = patience.look(State.IN_TRANSACTION, 8, 32)
    assert verdict is not None
    assert verdict.error.sqlstate == "25P03"
    assert patience.look(State.IDLE, 8, 40) is None
    verdict = patience.look(State.IDLE, 8, 60)
    assert verdict is not None
    assert verdict.error.sqlstate == "57P05"


def test_ready_is_no_row() -> None:
    """The gateway's own messages pass uncounted."""
    count = RowCount(lambda: OperationalError("none may pass"))
    assert count.take(backend.ready(backend.IDLE)) == backend.ready(backend.IDLE)
    with contextlib.suppress(StopIteration):
        assert count.take(backend.data_row([b"x"])) == b""
    assert count.refusal is not None
