"""What a conversation hears: from the server by its relay, from the gate's lookout, and that its client is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from datagate.backends.postgres.faults import from_revoking
from datagate.errors import DatagateError, OperationalError
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.again import Again
from datagate.frontends.gateway.deciding import Deciding
from datagate.frontends.gateway.pool import Pool
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.phases import Phase
from datagate.frontends.gateway.relay import Expectation
from datagate.frontends.gateway.sending import Sendable
from datagate.frontends.gateway.speech import SETTINGS, Calm, Line
from datagate.frontends.gateway.upstream import Profile
from datagate.frontends.gateway.way import Way

_ABOUT_TRANSACTIONS = frozenset((b"SAVEPOINT", b"RELEASE", b"COMMIT", b"ROLLBACK"))


class Hearing(Deciding):
    """The part of a conversation that hears.

    It is the gate's flight, too: what is under way on its connection is cancelled when the caller's rights end. The
    lookout's thread only leaves word; the request is sent from the loop, by which alone connections change hands, and
    no connection changes hands before the request is through (`Keys`, `Pool.give`).
    """

    def __init__(self, line: Line, way: Way, pool: Pool, profile: Profile) -> None:
        super().__init__(line, way, pool, profile)
        self.again = Again(self)
        self._loop = asyncio.get_running_loop()
        self._revoked = False
        self._revoked_at = 0.0
        self._failed = False
        self._quiet: asyncio.Future[None] | None = None
        way.flies(self)

    def begins(self, text: str | None, sendable: Sendable) -> None:
        """A statement is about to be sent."""
        self._revoked = False
        self.again.begins(text, sendable)

    # What the gate's lookout asks and tells, from its own thread.

    @property
    def under_way(self) -> bool:
        """Whether a statement runs now."""
        return bool(self.relay.expected)

    @property
    def revoked(self) -> bool:
        """Whether :meth:`withhold` was called since the last statement began."""
        return self._revoked

    def withhold(self) -> None:
        """Take what runs now for cancelled, since the caller's rights ended."""
        if not self._revoked:
            self._revoked_at = monotonic()
        self._revoked = True

    def revoke(self) -> None:
        """Have what runs now cancelled, too."""
        self.withhold()
        with contextlib.suppress(RuntimeError):  # The loop is closed, and the connection with it.
            self._loop.call_soon_threadsafe(self._cancel_revoked)

    def _cancel_revoked(self) -> None:
        if self.relay.expected and self.upstream is not None and self._revoked:
            self.line.cancel(from_revoking())

    def instead(self, diagnostics: backend.Diagnostics) -> bytes | None:
        """What the gateway itself cancelled ends for the gateway's reason."""
        if self._revoked:
            self.way.revoked(monotonic() - self._revoked_at)
            self.way.refresh()
            self.tables.forget()
        return super().instead(diagnostics)

    # What has to be waited for.

    async def quiet(self) -> None:
        """Wait until all that was sent is answered, so that it is known how it ended."""
        if self.relay.expected:
            self._quiet = self._loop.create_future()
            self._out.append(frontend.FLUSH_MESSAGE)
            self.flush()
            await self._quiet

    def _is_quiet(self) -> None:
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    def _pump(self) -> None:
        raise NotImplementedError

    def _stall(self, wait: Coroutine[Any, Any, None]) -> None:
        self.flush()
        self._task = asyncio.get_running_loop().create_task(self._waited(wait))
        self.line.stalled(True)

    async def _waited(self, wait: Coroutine[Any, Any, None]) -> None:
        try:
            await wait
        except OperationalError as error:
            self.end(answers.of_error(error, severity="FATAL"))
        self._task = None
        self.line.stalled(False)
        self._pump()

    def refuse_query(self, error: DatagateError) -> None:
        """Tell that what was to be run again is refused."""
        self._refuse(frontend.QUERY, error)

    # Its end.

    def end(self, last_words: bytes) -> None:
        """End the conversation."""
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self.inbox.clear()
        self._current = None
        if last_words:
            self.line.write(last_words)
        self._drop_upstream()
        self.line.hang_up()

    def gone(self) -> None:
        """The client is gone: nothing that it began goes on."""
        self.phase = Phase.ENDED
        self.inbox.clear()
        self._drop_upstream()

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        self.calm = Calm.NO
        self.leave_turn()
        self._out.clear()
        self._is_quiet()
        self.way.leave()
        self.relay.broken_off()
        if upstream is None:
            return
        upstream.attach(None)
        upstream.resume()
        if (
            self.relay.expected
            or self.relay.status != backend.IDLE
            or self.relay.unsynced
            or not upstream.between_messages
        ):
            upstream.abort()
        elif self.pinned:
            upstream.dirty = True
        self.pool.give(self._holder, upstream)

    def leave_turn(self) -> None:
        """Wait for a connection no longer, nor keep what waited."""
        turn, self._turn, self._parked = self._turn, None, None
        if turn is not None:
            self.pool.leave(turn)

    # What the relay tells.

    def hear(self, parts: list[bytes]) -> None:
        """Bytes for the client."""
        for part in parts:
            self.line.write(part)

    def ended(self, status: int) -> None:
        """The server is ready again."""
        self.turns, self.ending = self.turns + 1, None
        self._settle_wishes(status)
        if status == backend.IDLE:
            self.portals.clear()
            if not self.read_by_settled:
                # What was SET stays or not, as the transaction ended; what was SET LOCAL is over.
                self.read_by, self.read_by_settled = next(SETTINGS), True
        if not self.relay.expected:
            self.again.settled(status)
        self.restore(status)

    def _settle_wishes(self, status: int) -> None:
        """What was SET of who is calling stays, or not, as the transaction ended."""
        wishes, failed = self.way.wishes, self._failed
        self._failed = False
        if status == backend.IDLE and wishes.uncommitted:
            if failed:
                wishes.roll_back()
            else:
                wishes.commit()
            self._be_who_is_wished()

    def _be_who_is_wished(self) -> None:
        self.way.turn()
        self.tables.forget()

    def failed(self) -> None:
        """The server failed something."""
        self._failed = True
        super().failed()

    def completed(self, tag: bytes, asked: str) -> None:
        """A statement is done."""
        self.turns += 1
        self.again.completed(tag)
        if self.way.wishes.uncommitted and tag in _ABOUT_TRANSACTIONS:
            self.way.wishes.follow(tag, asked)
            self._be_who_is_wished()
        if tag in (b"DISCARD ALL", b"DEALLOCATE ALL"):
            self.statements.clear()
            if self.upstream is not None:
                self.upstream.forget_statements()

    def copies_in(self) -> None:
        """The server waits for what is copied in."""
        self.phase = Phase.COPYING

    def fatal(self, diagnostics: backend.Diagnostics) -> bytes:
        """The server ends the connection."""
        self.phase = Phase.ENDED
        return answers.of_server(diagnostics, "")

    def rights_changed(self, expectation: Expectation) -> bool:
        """The caller's rights changed before this was run."""
        self.way.refresh()
        self.tables.forget()
        return self.again.prepare(expectation)

    def skips(self) -> None:
        """The server skips all up to the next Sync."""
        self.phase = Phase.SKIPPING

    def settled(self) -> None:
        """All that came so far is passed on: what nothing keeps on its connection gives it back."""
        if self.relay.expected:
            return
        self._is_quiet()
        if self.again.wanted:
            if self._task is None:
                self._stall(self.again.run())
            return
        if self.relay.status != backend.IDLE or self.relay.unsynced:
            return
        upstream = self.upstream
        if upstream is None or self.pinned or self._out or self._current or self.inbox or self._task is not None:
            return
        if not upstream.between_messages:
            return
        upstream.attach(None)
        self.upstream = None
        self.calm = Calm.AT_REST if self.phase is Phase.READY else Calm.NO
        self.pool.give(self._holder, upstream)

    def clogged(self, clogged: bool) -> None:
        """The server takes no more of what is sent, or does again."""
        self.line.clogged(clogged)

    def hush(self, *, quiet: bool) -> None:
        """Take no more of what the client has said, since answers to it would only be kept; or go on."""
        self._hushed = quiet
        if not quiet and self._task is None and self.inbox:
            self._pump()

    def lost(self) -> None:
        """The connection to the server is gone."""
        upstream, self.upstream = self.upstream, None
        self.relay.broken_off()
        if upstream is not None:
            self.pool.give(self._holder, upstream)
        if self.phase is Phase.ENDED:
            self.line.hang_up()
        else:
            self.end(answers.fatal("the connection to the server was lost; connect again", "57P01"))
