"""The pool by itself: turns, limits, back-off, cleaning; with connections that end in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from datagate.errors import OperationalError
from datagate.frontends.gateway.pool import CLEAN, Pool, PoolLimits, Turn
from datagate.frontends.gateway.protocol import backend
from datagate.frontends.gateway.upstream import PLAIN, Upstream


class Wire(asyncio.Transport):
    """The server's end: answers what the pool asks of its own accord."""

    def __init__(self, upstream: Upstream, answer: bytes) -> None:
        super().__init__()
        self._upstream = upstream
        self._answer = answer
        self.closed = False
        self.asked: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a question."""
        self.asked.append(bytes(data))
        if data == CLEAN and self._answer:
            asyncio.get_running_loop().call_soon(self._upstream.data_received, self._answer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept here."""

    def abort(self) -> None:
        """Close."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._upstream.connection_lost, None)

    close = abort


AT_ONCE = 0
CLEANED = backend.command_complete("DISCARD ALL") + backend.ready(backend.IDLE)
UNCLEAN = backend.error({"S": "ERROR", "C": "XX000", "M": "no"}) + backend.ready(backend.IDLE)


class Server:
    """Opens connections, or does not."""

    def __init__(self, answer: bytes = CLEANED) -> None:
        self.answer = answer
        self.down: set[int] = set()
        self.calls: list[int] = []
        self.wires: list[Wire] = []

    async def open(self, host: int) -> Upstream:
        """A connection."""
        self.calls.append(host)
        await asyncio.sleep(AT_ONCE)
        if host in self.down:
            raise OperationalError("refused", sqlstate="08001")
        upstream = Upstream(1, b"key", {}, host)
        wire = Wire(upstream, self.answer)
        upstream.connection_made(wire)
        self.wires.append(wire)
        return upstream


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())


async def turn() -> None:
    """Let everything happen that is due."""
    for _ in range(20):
        await asyncio.sleep(AT_ONCE)


def test_callers_are_served_in_turns() -> None:
    """Who asks for many connections at once gets one, then the others get theirs; nobody gets more than its share."""

    async def work() -> None:
        pool = Pool(Server().open, 1, PoolLimits(size=1, per_caller=1))
        first = await pool.take("greedy", PLAIN)
        order: list[str] = []

        async def wait(caller: str) -> None:
            upstream = await pool.take(caller, PLAIN)
            order.append(caller)
            await asyncio.sleep(AT_ONCE)
            pool.give(caller, upstream)

        tasks = [asyncio.ensure_future(wait(name)) for name in ["greedy"] * 4 + ["modest", "quiet"]]
        await turn()
        pool.give("greedy", first)
        await asyncio.gather(*tasks)
        assert order[:3] == ["greedy", "modest", "quiet"]
        assert pool.size == 1
        await pool.close()

    run(work)


def test_waiting_ends() -> None:
    """Who waits too long is told so with 53300, and leaves nothing behind, not even where its turn came just then."""

    async def work() -> None:
        pool = Pool(Server().open, 1, PoolLimits(size=1, queue_seconds=0.2))
        held = await pool.take("a", PLAIN)
        with pytest.raises(OperationalError) as caught:
            await pool.take("b", PLAIN)
        assert caught.value.sqlstate == "53300"
        assert pool.queued == 0
        late = asyncio.ensure_future(pool.take("b", PLAIN))
        await turn()
        pool.give("a", held)
        late.cancel()
        await turn()
        assert (pool.idle, pool.queued) == (1, 0)
        assert await pool.take("c", PLAIN) is held
        await pool.close()

    run(work)


def test_turns_without_a_task() -> None:
    """Who lines up is called in its turn, once, and not any more after it has left; who waits too long is told."""

    async def work() -> None:
        pool = Pool(Server().open, 1, PoolLimits(size=1, queue_seconds=0.2))
        held = await pool.take("a", PLAIN)
        got: list[str] = []
        refused: list[OperationalError] = []

        def line_up(name: str) -> Turn:
            return pool.line_up("b", lambda _: got.append(name), refused.append)

        line_up("first")
        second = line_up("second")
        third = line_up("third")
        pool.leave(second)
        pool.leave(second)
        pool.give("a", held)
        assert (got, pool.queued) == (["first"], 1)
        pool.give("b", held)
        assert (got, pool.queued) == (["first", "third"], 0)
        pool.leave(third)
        line_up("late")
        while not refused:
            await turn()
        assert [each.sqlstate for each in refused] == ["53300"]
        assert (got, pool.queued) == (["first", "third"], 0)
        await pool.close()

    run(work)


def test_a_share_is_a_share() -> None:
    """A caller that has all that it may have waits, although connections are idle; another does not."""

    async def work() -> None:
        pool = Pool(Server().open, 1, PoolLimits(size=3, per_caller=1, queue_seconds=0.2))
        await pool.take("a", PLAIN)
        with pytest.raises(OperationalError, match="became free"):
            await pool.take("a", PLAIN)
        await pool.take("b", PLAIN)
        await pool.close()

    run(work)


@pytest.mark.parametrize(("answer", "kept"), [(CLEANED, 1), (UNCLEAN, 0), (b"", 0)])
def test_cleaning(answer: bytes, kept: int) -> None:
    """A connection on which something stayed is cleaned before anybody has it; where that fails it is closed."""

    async def work() -> None:
        server = Server(answer)
        pool = Pool(server.open, 1, PoolLimits(size=1, clean_seconds=5 if answer else 0.1))
        upstream = await pool.take("a", PLAIN)
        upstream.dirty = True
        pool.give("a", upstream)
        assert pool.idle == 0
        while pool.idle != kept or (not kept and pool.size):
            await turn()
        assert server.wires[0].asked == [CLEAN]
        assert (await pool.take("b", PLAIN) is upstream) is bool(kept)
        await pool.close()

    run(work)


def test_another_host_answers_for_one_that_does_not() -> None:
    """Hosts are tried in order, and the one that answered is asked first from then on."""

    async def work() -> None:
        server = Server()
        server.down.add(0)
        pool = Pool(server.open, 2, PoolLimits(size=2))
        assert (await pool.take("a", PLAIN)).host == 1
        assert (await pool.take("a", PLAIN)).host == 1
        assert server.calls == [0, 1, 1]
        await pool.close()

    run(work)


def test_a_server_that_is_away_is_asked_less_and_less_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told after a while; one attempt at a time goes on, with longer pauses, until one succeeds."""
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await real(0)

    async def work() -> None:
        server = Server()
        server.down.add(0)
        pool = Pool(server.open, 1, PoolLimits(size=5))
        waiting = [asyncio.ensure_future(pool.take(f"caller {number}", PLAIN)) for number in range(5)]
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert {each.sqlstate for each in told if isinstance(each, OperationalError)} == {"08001"}
        assert len(told) == 5
        while len(pauses) < 12:
            await real(0)
        assert pauses == sorted(pauses)
        assert pauses[0] <= 0.1
        assert pauses[-1] == 5.0
        assert pool.failures
        server.down.clear()
        while pool.failures:
            await real(0)
        assert pool.idle == 1
        await pool.close()

    monkeypatch.setattr("datagate.frontends.gateway.pool.asyncio.sleep", sleep)
    run(work)


def test_connections_do_not_stay_for_ever() -> None:
    """What nobody needed for long is closed, and so is what is old, as soon as it comes back."""
    now = [0.0]

    async def work() -> None:
        pool = Pool(Server().open, 1, PoolLimits(size=2, idle_seconds=10, life_seconds=100), lambda: now[0])
        first, second = await pool.take("a", PLAIN), await pool.take("a", PLAIN)
        pool.give("a", first)
        now[0] = 9.0
        pool.give("a", second)
        pool.trim()
        assert pool.idle == 2
        now[0] = 11.0
        pool.trim()
        assert pool.idle == 1
        assert await pool.take("a", PLAIN) is second
        now[0] = 101.0
        pool.give("a", second)
        await turn()
        assert (pool.idle, pool.size) == (0, 0)
        await pool.close()

    run(work)
