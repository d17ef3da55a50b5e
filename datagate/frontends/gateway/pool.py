"""The connections to the server: as many as are allowed, given out fairly, cleaned before another has them.

Fair: callers that wait are served in turns, however many connections each of them asks for.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from datagate.errors import OperationalError
from datagate.frontends.gateway.asking import asked
from datagate.frontends.gateway.protocol import frontend
from datagate.frontends.gateway.upstream import PLAIN, Profile, Upstream

Opener = Callable[[int], Awaitable[Upstream]]
CLEAN = frontend.query(b"DISCARD ALL")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_PATIENT_ROUNDS = 7
"""After so many rounds, three seconds or so, those who wait are told; a server that restarts is back by then."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections there may be, and how long things may take, in seconds.

    ``idle_seconds``, ``life_seconds``: after which a connection is closed that nobody has, or that is this old.
    """

    size: int = 20
    per_caller: int = 20
    queue_seconds: float = 30.0
    clean_seconds: float = 5.0
    idle_seconds: float = 600.0
    life_seconds: float = 3_600.0


@dataclass(slots=True, eq=False)
class Turn:
    """Somebody who waits: is called once, with a connection, or with why there is none."""

    caller: str
    given: Callable[[Upstream], object]
    refused: Callable[[OperationalError], object]
    since: float


class Pool:
    """Connections to one server, or to the first of several that answers.

    Args:
        opener: Opens a connection to the host of that number.
        hosts: How many hosts there are.
        limits: See there.
        clock: Seconds that only grow.
    """

    def __init__(
        self, opener: Opener, hosts: int, limits: PoolLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._opener = opener
        self._hosts = hosts
        self._limits = limits
        self._idle: deque[Upstream] = deque()
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._alarm: asyncio.TimerHandle | None = None
        # What each caller has; not counted where one may have all.
        self._shares = limits.per_caller < limits.size
        self._held: dict[str, int] = {}
        self._open: set[Upstream] = set()
        self._opening = 0
        self._host = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        self.failures = 0

    @property
    def idle(self) -> int:
        """Connections that nobody has."""
        return len(self._idle)

    @property
    def size(self) -> int:
        """Connections that are open."""
        return len(self._open)

    @property
    def queued(self) -> int:
        """Who waits."""
        return sum(map(len, self._waiting.values()))

    def take_nowait(self, caller: str, profile: Profile) -> Upstream | None:
        """A connection that is there now, best one with these settings; None where one has to wait."""
        if self._waiting or not self._idle:
            return None
        if self._shares:
            if self._held.get(caller, 0) >= self._limits.per_caller:
                return None
            self._held[caller] = self._held.get(caller, 0) + 1
        upstream = self._idle.pop()
        if upstream.profile is not profile and upstream.profile != profile:
            other = next((each for each in self._idle if each.profile == profile), None)
            if other is not None:
                self._idle.remove(other)
                self._idle.append(upstream)
                return other
        return upstream

    async def take(self, caller: str, profile: Profile) -> Upstream:
        """A connection, as soon as it is this caller's turn.

        Raises:
            OperationalError: There is none in time, or the server cannot be reached.
        """
        found = self.take_nowait(caller, profile)
        if found is not None:
            return found
        future: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()

        def given(upstream: Upstream) -> None:
            if future.done():
                self.give(caller, upstream)
            else:
                future.set_result(upstream)

        def refused(error: OperationalError) -> None:
            if not future.done():
                future.set_exception(error)

        turn = self.line_up(caller, given, refused)
        taken: Upstream | None = None
        try:
            taken = await future
        finally:
            if taken is None:
                self.leave(turn)
                if future.done() and not future.cancelled() and future.exception() is None:
                    # It had come just then.
                    self.give(caller, future.result())
        return taken

    def line_up(
        self, caller: str, given: Callable[[Upstream], object], refused: Callable[[OperationalError], object]
    ) -> Turn:
        """Wait for a connection; see `Turn`.

        Raises:
            OperationalError: The gateway is shutting down.
        """
        if self.closed:
            raise OperationalError("the gateway is shutting down", sqlstate="57P01")
        turn = Turn(caller, given, refused, self._clock())
        self._waiting.setdefault(caller, deque()).append(turn)
        if self._alarm is None:
            # One clock for all that wait.
            self._alarm = asyncio.get_running_loop().call_later(self._limits.queue_seconds, self._ring)
        self._serve()
        return turn

    def leave(self, turn: Turn) -> None:
        """Wait no longer."""
        queue = self._waiting.get(turn.caller)
        if queue is not None:
            with suppress(ValueError):
                queue.remove(turn)
            if not queue:
                del self._waiting[turn.caller]

    def _ring(self) -> None:
        """Tell those who have waited for too long, and look again when the next of them will have."""
        late = self._clock() - self._limits.queue_seconds
        for queue in tuple(self._waiting.values()):
            while queue and queue[0].since <= late:
                turn = queue[0]
                self.leave(turn)
                fault = "no connection to the server became free in time; try again later"
                turn.refused(OperationalError(fault, sqlstate="53300"))
        self._alarm = None
        if self._waiting and not self.closed:
            first = min(queue[0].since for queue in self._waiting.values())
            self._alarm = asyncio.get_running_loop().call_later(first - late, self._ring)

    def give(self, caller: str, upstream: Upstream) -> None:
        """Take a connection back; it is cleaned if something of the session stayed on it."""
        if self._shares:
            left = self._held.get(caller, 1) - 1
            if left > 0:
                self._held[caller] = left
            else:
                self._held.pop(caller, None)
        if upstream.paused:
            # Whoever had it did not read, which is nobody else's concern.
            upstream.resume()
        if upstream.closed or self.closed or not upstream.between_messages:
            upstream.abort()
            self._serve()
        elif upstream.dirty or upstream.cancelling is not None:
            self._spawn(self._clean(upstream))
        else:
            self._rest(upstream)
            if self._waiting:
                self._serve()

    def _rest(self, upstream: Upstream) -> None:
        """Nobody has a connection any more: it waits for the next, or is too old to."""
        upstream.since = now = self._clock()
        if now - upstream.born < self._limits.life_seconds:
            self._idle.append(upstream)
        else:
            upstream.close()

    def trim(self) -> None:
        """Close what nobody needed for long, oldest first: those given back last are given out first."""
        while self._idle and self._clock() - self._idle[0].since >= self._limits.idle_seconds:
            self._idle.popleft().close()

    async def _clean(self, upstream: Upstream) -> None:
        """Make a connection as new, or close it."""
        try:
            if upstream.cancelling is not None:
                await asyncio.wait([upstream.cancelling])
                upstream.cancelling = None
            cleaned = await asked(upstream, CLEAN, self._limits.clean_seconds)
        except asyncio.CancelledError:
            upstream.abort()
            raise
        if cleaned and not self.closed:
            upstream.forget_statements()
            upstream.profile = PLAIN
            upstream.dirty = False
            self._rest(upstream)
        else:
            upstream.abort()
        self._serve()

    def _serve(self) -> None:
        """Give what is idle to who waits, and open what may be opened."""
        while self._waiting and self._idle:
            caller = self._next_caller()
            if caller is None:
                return
            queue = self._waiting[caller]
            turn = queue.popleft()
            if queue:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            if self._shares:
                self._held[caller] = self._held.get(caller, 0) + 1
            turn.given(self._idle.pop())
        if self.closed or not self._waiting or len(self._open) + self._opening >= self._limits.size:
            return
        wanted = min(self.queued - self._opening, self._limits.size - len(self._open) - self._opening)
        if self.failures:
            # One is enough to find out when the server is back.
            wanted = min(wanted, 1 - self._opening)
        for _ in range(wanted):
            self._opening += 1
            self._spawn(self._open_one())

    def _next_caller(self) -> str | None:
        """Whose turn it is, of those that may have one more."""
        if not self._shares:
            return next(iter(self._waiting))
        most = self._limits.per_caller
        return next((each for each in self._waiting if self._held.get(each, 0) < most), None)

    async def _open_one(self) -> None:
        """Open a connection; where no host answers, try again after longer and longer, until one does."""
        try:
            while not self.closed and (self._waiting or self.failures):
                if await self._opened():
                    return
                if self._opening > 1:
                    return
                await asyncio.sleep(min(_FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10), _LONGEST_PAUSE))
        finally:
            self._opening -= 1
            self._serve()

    async def _opened(self) -> bool:
        """Try each host once, from that on which answered last."""
        fault = OperationalError("the server closed the connection as soon as it was open", sqlstate="08001")
        for _ in range(self._hosts):
            try:
                upstream = await self._opener(self._host)
            except OperationalError as error:
                fault = error
                self._host = (self._host + 1) % self._hosts
                continue
            if upstream.closed:
                continue
            self._open.add(upstream)
            upstream.on_lost.append(self._lost)
            upstream.born = self._clock()
            self._rest(upstream)
            self.failures = 0
            return True
        if not self.failures or self._opening == 1:
            # Several that fail at once are one failure.
            self.failures += 1
        if self.failures > _PATIENT_ROUNDS:
            self._tell(fault)
        return False

    def _tell(self, fault: OperationalError) -> None:
        """The server does not answer: whoever waits is told so."""
        waiting, self._waiting = self._waiting, OrderedDict()
        for turn in (each for queue in waiting.values() for each in queue):
            turn.refused(OperationalError(fault.message, sqlstate="08001"))

    def _lost(self, upstream: Upstream) -> None:
        self._open.discard(upstream)
        if upstream in self._idle:
            self._idle.remove(upstream)
        if self._waiting:
            self._serve()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close all; who has one loses it. Returns when none is open."""
        self.closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for upstream in tuple(self._open):
            upstream.close()
        try:
            async with asyncio.timeout(self._limits.clean_seconds):
                while self._open:
                    await asyncio.sleep(0.001)
        except TimeoutError:
            for upstream in tuple(self._open):
                upstream.abort()
