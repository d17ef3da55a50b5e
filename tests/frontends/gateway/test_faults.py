"""Faults of the server, of clients and of the machine: no hang, nothing left behind, nobody else's rows.

``pytest -m slow tests/frontends/gateway/test_faults.py`` has the long ones: two callers for ten minutes, 10,000
connections.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datagate.frontends.gateway.limits import Limits
from datagate.frontends.gateway.pool import PoolLimits
from tests.frontends.gateway.running import SERVICE, Running
from tests.frontends.gateway.test_service import Served, serve

FLOOD = "select repeat('x', 1000) from generate_series(1, 10000000)"
LONG = "select count(*) from bank.customers a, bank.customers b, bank.customers c, bank.customers d"
COUNT = "select count(*) from bank.customers"


@pytest.fixture
def owner(gateway: Running) -> Iterator[psycopg.Connection[Any]]:
    """Who sees all that goes on at the server; afterwards nothing is left there but what the pool holds."""
    with psycopg.connect(gateway.owner, autocommit=True) as connection:
        yield connection
        settle(connection, gateway)


def settle(owner: psycopg.Connection[Any], *gateways: Running) -> None:
    """Wait until no client is left, and the server has no connection but those of these pools, all of them idle."""

    def state(gateway: Running) -> Callable[[], Coroutine[Any, Any, tuple[int, int, int]]]:
        async def asked() -> tuple[int, int, int]:
            worker = gateway.worker
            return worker.clients, worker.pool.size, worker.pool.idle

        return asked

    while True:
        states = [gateway.do(state(gateway)) for gateway in gateways]
        clients, size, idle = (sum(each) for each in zip(*states, strict=True))
        there = owner.execute(
            "select state from pg_stat_activity where usename = %s and application_name = 'datagate'", (SERVICE,)
        ).fetchall()
        if clients == 0 and size == idle == len(there) and all(each == ("idle",) for each in there):
            return


def end_backends(owner: psycopg.Connection[Any], state: str) -> None:
    """End the service role's connections that are in a state, as soon as there is one."""
    ended = 0
    while not ended:
        ended = owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s and state = %s", (SERVICE, state)
        ).rowcount


# The server.


def read_all(connection: psycopg.Connection[Any], statement: str, begun: threading.Event) -> None:
    """Read a result to its end; tell when it has begun."""
    if statement == FLOOD:
        for _ in connection.cursor().stream(statement):
            begun.set()
    else:
        with connection.cursor().copy(statement) as copy:
            for _ in copy:
                begun.set()


@pytest.mark.parametrize("statement", [FLOOD, f"copy ({FLOOD}) to stdout"])
def test_the_server_ends_in_mid_stream(gateway: Running, owner: psycopg.Connection[Any], statement: str) -> None:
    """The client that was being served is told so; another goes on, and so does a new one."""
    begun = threading.Event()

    def end() -> None:
        begun.wait(60)
        end_backends(owner, "active")

    with gateway.connect("ada") as other, closing(gateway.connect("ana")) as ana:
        assert other.execute("select 1").fetchone() == (1,)
        ender = threading.Thread(target=end)
        ender.start()
        with pytest.raises(psycopg.OperationalError):
            read_all(ana, statement, begun)
        ender.join()
        assert other.execute("select 1").fetchone() == (1,)
    with gateway.connect("ana") as again:
        assert again.execute("select 1").fetchone() == (1,)


def test_the_server_ends_between_statements(gateway: Running, owner: psycopg.Connection[Any]) -> None:
    """Connections that nobody has may all go: the next statement has a new one, prepared statements included."""
    with gateway.connect("ana") as ana:
        first = ana.execute(COUNT, prepare=True).fetchone()
        end_backends(owner, "idle")

        async def none_is_left() -> bool:
            return gateway.worker.pool.size == 0

        while not gateway.do(none_is_left):
            pass
        assert ana.execute(COUNT, prepare=True).fetchone() == first


# The client.


def test_a_client_is_killed(gateway: Running, owner: psycopg.Connection[Any]) -> None:
    """What it ran ends on the server too, and does not go on for nobody."""
    with subprocess.Popen(["psql", "-X", "-c", LONG, gateway.dsn("ana")]) as psql:
        while not owner.execute(
            "select 1 from pg_stat_activity where usename = %s and state = 'active' and query like '%%count(*)%%'",
            (SERVICE,),
        ).fetchone():
            pass
        psql.kill()


def test_a_byte_at_a_time(gateway: Running, owner: psycopg.Connection[Any]) -> None:
    """However slowly it comes, what comes is read right."""
    del owner
    with socket.create_server(("127.0.0.1", 0)) as server:

        def carry(source: socket.socket, sink: socket.socket, most: int) -> None:
            with suppress(OSError):
                while data := source.recv(most):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        def serve_one() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(("127.0.0.1", gateway.port)) as behind:
                behind.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=carry, args=(behind, client, 65536))
                back.start()
                carry(client, behind, 1)
                back.join()

        thread = threading.Thread(target=serve_one)
        thread.start()
        with gateway.connect("ana", port=server.getsockname()[1]) as ana:
            assert ana.execute("select %s::text", ("é" * 50,)).fetchone() == ("é" * 50,)
        thread.join()


@pytest.mark.parametrize("kind", [b"Q", b"P", b"B", b"E", b"D", b"C", b"S", b"d", b"F", b"p", b"?"])
def test_a_gigabyte_is_refused_before_it_comes(gateway: Running, owner: psycopg.Connection[Any], kind: bytes) -> None:
    """A message that announces a gigabyte ends the session at once, logged in or not."""
    del owner
    with closing(gateway.connect("ana")) as ana, socket.socket(fileno=os.dup(ana.fileno())) as line:
        line.setblocking(True)
        line.sendall(kind + struct.pack("!I", 1 << 30))
        assert b"C08P01\0" in line.makefile("rb").read()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as line:
        body = b"\0\x03\0\0user\0ana\0\0"
        line.sendall(struct.pack("!I", len(body) + 4) + body)
        assert line.recv(1) == b"R"
        line.sendall(kind + struct.pack("!I", 1 << 30))
        assert b"C08P01\0" in line.makefile("rb").read()


def test_dead_peers_are_noticed(gateway: Running, owner: psycopg.Connection[Any]) -> None:
    """The system is told to look after two minutes at most whether a silent client is still there."""
    del owner

    async def options() -> tuple[int, ...]:
        (client,) = gateway.worker._door.clients  # type: ignore[union-attr]
        assert client._transport is not None
        sock = client._transport.get_extra_info("socket")
        wanted = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        return tuple(sock.getsockopt(socket.IPPROTO_TCP, each) for each in wanted)

    with gateway.connect("ana"):
        idle, interval, count = gateway.do(options)
    assert idle + interval * count <= 120


def knock(port: int, number: int, database: str) -> tuple[int, int]:
    """Have so many clients come at once; how many were let in as far as to a password, and how many were told 53300."""
    body = b"\0\x03\0\0" + f"user\0ana\0database\0{database}\0\0".encode()
    startup = struct.pack("!I", len(body) + 4) + body
    told = [0, 0]
    done = asyncio.Event()

    async def one(gate: asyncio.Semaphore) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(startup)
            kind = await reader.readexactly(1)
            if kind == b"R":
                told[0] += 1
                await done.wait()
            else:
                answer = await reader.read()
                told[1] += b"C53300\0" in answer and b"too many clients" in answer
                if sum(told) == number:
                    done.set()
            writer.close()

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(number if number < 1000 else 900)
        async with asyncio.timeout(300):
            await asyncio.gather(*(one(gate) for _ in range(number)))

    asyncio.run(all_of_them())
    return told[0], told[1]


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_too_many_are_refused_politely(gateway: Running, tmp_path: Path, number: int) -> None:
    """Each of those that come at once is served, or told that there are too many; afterwards all is as before."""
    allowed = Limits(clients=20, login_seconds=600)
    with Running(gateway.owner, tmp_path, gate=gateway.gate, allowed=allowed) as small:
        assert knock(small.port, number, small.database) == (20, number - 20)
        with small.connect("ana") as ana:
            assert ana.execute("select 1").fetchone() == (1,)


# The machine.


@pytest.fixture(scope="module")
def users(gateway: Running) -> Path:
    """The users of the gateway in this process."""
    return gateway.users._path


def memory(process: int) -> int:
    """The resident memory of a process, in KiB."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def test_clients_that_do_not_read_cost_little(gateway: Running, users: Path) -> None:
    """Of a result of 10 GB that a client does not read, less than 1 MiB is kept; when it is gone, nothing."""
    with serve(gateway.owner, users, "--pool", "25") as served:
        served.hear("listening")
        with served.connect() as ana:
            ana.execute("select 1")
        before = memory(served.process.pid)
        lines = []
        for _ in range(20):
            connection = served.connect()
            line = socket.socket(fileno=os.dup(connection.fileno()))
            line.setblocking(True)
            text = FLOOD.encode() + b"\0"
            line.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
            lines.append((connection, line))
        for _, line in lines:
            line.recv(1)
        stalled(served)
        assert memory(served.process.pid) - before < 20 * 1024
        for connection, line in lines:
            line.close()
            connection.close()
        while served.measure("datagate_clients"):
            pass
        with served.connect() as ana:
            assert ana.execute("select 1").fetchone() == (1,)


def query(text: str) -> bytes:
    """A simple query."""
    body = text.encode() + b"\0"
    return b"Q" + struct.pack("!I", len(body) + 4) + body


def pour(line: socket.socket, what: bytes) -> None:
    """Send the same again and again, reading nothing, until no more is taken; 100 MB would be far too much."""
    line.settimeout(1)
    taken = 0
    with suppress(TimeoutError):
        while taken < 100_000_000:
            taken += line.send(what)
    assert taken < 100_000_000


@pytest.mark.parametrize("text", ["select repeat('x', 1000)", "show datagate.purpose", "select nothing from nowhere"])
def test_clients_that_only_talk_cost_little(gateway: Running, users: Path, text: str) -> None:
    """Whoever sends statements and reads no answer is not listened to any more, as at a server; others are."""
    with serve(gateway.owner, users) as served:
        served.hear("listening")
        with served.connect() as ana:
            ana.execute("select 1")
        before = memory(served.process.pid)
        with served.connect() as talker:
            line = socket.socket(fileno=os.dup(talker.fileno()))
            with line:
                pour(line, query(text) * 100)
                assert memory(served.process.pid) - before < 8 * 1024
                with served.connect() as ana:
                    assert ana.execute("select 1").fetchone() == (1,)
                line.shutdown(socket.SHUT_RDWR)
        while served.measure("datagate_clients"):
            pass


def test_a_connection_is_read_from_after_a_client_that_was_slow(gateway: Running, tmp_path: Path) -> None:
    """Whoever gets it next has its answer, wherever in its own the slow one had stopped to read."""
    one = PoolLimits(size=1)
    with (
        Running(gateway.owner, tmp_path, gate=gateway.gate, limits=one) as running,
        running.connect("ana") as slow,
        running.connect("ada") as other,
        socket.socket(fileno=os.dup(slow.fileno())) as line,
        ThreadPoolExecutor(1) as executor,
    ):
        line.setblocking(True)

        async def come_to_rest() -> bool:
            clients = running.worker._door.clients  # type: ignore[union-attr]
            return any(each._quiet for each in clients) or running.worker.pool.idle == 1

        for size in range(500_000, 8_000_000, 125_000):
            line.sendall(query(f"select repeat('x', {size})"))
            line.recv(1, socket.MSG_PEEK)
            while not running.do(come_to_rest):
                pass
            asked = executor.submit(lambda: other.execute("select 1").fetchone())
            tail = b""
            while not tail.endswith(b"Z\0\0\0\5I"):
                tail = tail[-5:] + line.recv(1 << 20)
            try:
                assert asked.result(60) == (1,)
            except TimeoutError:
                with socket.socket(fileno=os.dup(other.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
                raise


def stalled(served: Served) -> None:
    """Wait until the gateway has nothing more to do: it has used no time of the processor for a while."""

    def used() -> int:
        fields = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    quiet, last = 0, used()
    while quiet < 20:
        with suppress(subprocess.TimeoutExpired):
            served.process.wait(0.01)
        quiet, last = (quiet + 1 if used() == last else 0), used()


def test_no_room_for_the_record(gateway: Running, users: Path, tmp_path: Path) -> None:
    """What cannot be recorded is refused with 58030, and nothing else ends; with room again all goes on."""
    with serve(gateway.owner, users, "--audit", str(tmp_path / "audit.jsonl")) as served:
        served.hear("listening")
        with served.connect() as ana:
            rows = ana.execute(COUNT).fetchone()
            process = served.process.pid
            size = (tmp_path / "audit.jsonl").stat().st_size
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            for _ in range(3):
                with pytest.raises(psycopg.Error) as caught:
                    ana.execute(COUNT)
                assert caught.value.sqlstate == "58030"
            with pytest.raises(psycopg.Error), served.connect() as other:
                other.execute(COUNT)
            resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert ana.execute(COUNT).fetchone() == rows


_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(_FAKETIME is None, reason="libfaketime is not there (Debian: apt install faketime)")
def test_the_clock_is_set(gateway: Running, users: Path, tmp_path: Path) -> None:
    """A day ahead, then one back: nobody's session or statement ends of it, and rights end by the server's clock."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    named = {"LD_PRELOAD": str(_FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock)}
    day, hour = timedelta(days=1), timedelta(hours=1)
    for mandate, until in {"clock-holds": hour, "clock-ended": -hour}.items():
        gateway.store.issue_mandate(
            "cora", "tom", "tax-accountant", purposes=("tax",), parameters={"customer_id": 7}, mandate_id=mandate,
            valid_from=datetime.now(UTC) - day, valid_until=datetime.now(UTC) + until,
        )  # fmt: skip
    options = "-c datagate.on_behalf_of=cora -c datagate.mandate="
    faked = {**named, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    with serve(gateway.owner, users, "--limit", "idle-seconds=3600", environment=faked) as served:
        served.hear("listening")
        with served.connect() as ana, served.connect(user="tom", options=options + "clock-holds") as tom:
            rows = ana.execute(COUNT).fetchone()
            accounts = tom.execute("select count(*) from bank.accounts").fetchone()
            for step in (day, -day, 0 * day):
                running = threading.Thread(
                    target=ana.execute, args=("select count(*) from generate_series(1, 3000000)",)
                )
                running.start()
                clock.write_text(f"{step.total_seconds():+.0f}")
                with (
                    served.connect(user="tom", options=options + "clock-ended") as late,
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                ):
                    late.execute("select count(*) from bank.accounts")
                running.join()
                told = datetime.fromisoformat(str(served.hear("logout")["time"]))
                assert abs(told - datetime.now(UTC) - step) < hour
                assert ana.execute(COUNT).fetchone() == rows
                assert tom.execute("select count(*) from bank.accounts").fetchone() == accounts


# Callers side by side.


class Hammer:
    """One client that asks again and again for what only its caller may see, and marks it with a word of its own."""

    def __init__(self, gateway: Running, user: str, masked: bool, seed: int) -> None:
        self._gateway = gateway
        self._user = user
        self._masked = masked
        self._chance = random.Random(seed)
        self._word = f"canary of {user} {seed}"
        self.asked = 0

    def run(self, goes_on: Callable[[int], bool]) -> None:
        """Ask until told to stop."""
        while goes_on(self.asked):
            with self._gateway.connect(self._user) as connection:
                for _ in range(self._chance.randint(1, 12)):
                    self._step(connection)
                    self.asked += 1

    def _step(self, connection: psycopg.Connection[Any]) -> None:
        steps = (self._plain, self._prepared, self._in_transaction, self._failing, self._streamed, self._pinned)
        self._chance.choice(steps)(connection)

    def _check(self, rows: list[tuple[Any, ...]]) -> None:
        assert rows
        for word, name in rows:
            assert word == self._word
            assert (name == "***") is self._masked

    def _plain(self, connection: psycopg.Connection[Any]) -> None:
        query = f"select '{self._word}', full_name from bank.customers limit {self._chance.randint(1, 50)}"
        self._check(connection.execute(query).fetchall())

    def _prepared(self, connection: psycopg.Connection[Any]) -> None:
        query = "select %s::text, full_name from bank.customers limit %s"
        self._check(connection.execute(query, (self._word, self._chance.randint(1, 50)), prepare=True).fetchall())

    def _in_transaction(self, connection: psycopg.Connection[Any]) -> None:
        with suppress(ZeroDivisionError), connection.transaction():
            self._prepared(connection)
            if self._chance.random() < 0.3:
                raise ZeroDivisionError

    def _failing(self, connection: psycopg.Connection[Any]) -> None:
        for statement in ("select 1/0", "select * from bank.nowhere", f"select '{self._word}'::int"):
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement)
            assert "canary" not in str(caught.value).replace(self._word, "")

    def _streamed(self, connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            connection.execute(f"declare c cursor for select '{self._word}', full_name from bank.customers")
            self._check(connection.execute("fetch 20 from c").fetchall())

    def _pinned(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"set application_name = '{self._word}'")
        assert connection.execute("show application_name").fetchone() == (self._word,)


def hammer(gateway: Running, goes_on: Callable[[int], bool]) -> None:
    """Two callers, three clients each, at once."""
    hammers = [
        Hammer(gateway, user, masked, seed) for seed in range(3) for user, masked in (("ana", True), ("ada", False))
    ]
    with ThreadPoolExecutor(len(hammers)) as executor:
        for done in [executor.submit(each.run, goes_on) for each in hammers]:
            done.result()
    assert all(each.asked for each in hammers)


def test_two_callers_on_one_pool(gateway: Running, tmp_path: Path) -> None:
    """Each sees its own rows and words, while policies are read anew and connections end under them."""
    small = PoolLimits(size=2, per_caller=1)
    with (
        Running(gateway.owner, tmp_path, gate=gateway.gate, limits=small) as running,
        psycopg.connect(gateway.owner, autocommit=True) as owner,
    ):
        reading = threading.Thread(target=lambda: [running.gate.reload() for _ in range(2)])
        reading.start()
        hammer(running, lambda asked: asked < 20)
        reading.join()
        settle(owner, running, gateway)


@pytest.mark.slow
def test_two_callers_for_ten_minutes(gateway: Running, tmp_path: Path) -> None:
    """The same for ten minutes; afterwards memory is back to where it was after the first."""
    small = PoolLimits(size=2, per_caller=1)
    with (
        Running(gateway.owner, tmp_path, gate=gateway.gate, limits=small) as running,
        psycopg.connect(gateway.owner, autocommit=True) as owner,
    ):
        sizes = []
        for _ in range(10):
            end = time.monotonic() + 60
            hammer(running, lambda _, end=end: time.monotonic() < end)  # type: ignore[misc]
            settle(owner, running, gateway)
            gateway.sink.records.clear()
            gateway.sink.instants.clear()
            sizes.append(memory(os.getpid()))
        assert sizes[-1] - sizes[1] < 64 * 1024, sizes


@pytest.mark.slow
def test_signals_under_load(gateway: Running, users: Path) -> None:
    """A worker that is killed is begun anew, and those whom others serve notice nothing."""
    with serve(gateway.owner, users, "--workers", "2") as served:
        workers = [served.hear("listening"), served.hear("listening")]
        assert {each["worker"] for each in workers} == {0, 1}
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        served.hear("worker-ended")
        served.hear("listening")
        for _ in range(10):
            with served.connect() as ana:
                assert ana.execute("select 1").fetchone() == (1,)
