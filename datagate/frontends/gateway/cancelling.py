"""Cancel requests: keys of our own, so that a client can cancel what it runs itself, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import TYPE_CHECKING

from datagate.frontends.gateway.protocol.startup import Cancel

if TYPE_CHECKING:
    from datagate.frontends.gateway.conversation import Conversation
    from datagate.frontends.gateway.upstream import Upstream

SHORT, LONG = 4, 32
_WORKER_BITS, _NUMBER_BITS = 8, 22


class Keys:
    """The keys of one worker's sessions.

    Args:
        worker: The worker's number: it stands in the process ids that clients are told, so that a request which reaches
            another worker finds its way.
        chance: Gives random bytes.
        cancel: Asks the server to cancel what a connection runs.
    """

    def __init__(
        self, worker: int, chance: Callable[[int], bytes], cancel: Callable[[Upstream], Awaitable[None]]
    ) -> None:
        self._worker = worker
        self._chance = chance
        self._cancel = cancel
        self._last = 0
        self._sessions: dict[int, tuple[bytes, Conversation]] = {}

    def fresh(self, conversation: Conversation, minor: int) -> tuple[int, bytes]:
        """A process id and key for a session; long keys came with protocol 3.2."""
        while True:
            self._last = (self._last + 1) % (1 << _NUMBER_BITS)
            process = self._worker << _NUMBER_BITS | self._last
            if process and process not in self._sessions:
                break
        key = self._chance(LONG if minor >= 2 else SHORT)
        self._sessions[process] = (key, conversation)
        return process, key

    def forget(self, key: tuple[int, bytes]) -> None:
        """A session ended."""
        self._sessions.pop(key[0], None)

    @staticmethod
    def worker_of(request: Cancel) -> int:
        """Whose session a request speaks of."""
        return request.process >> _NUMBER_BITS

    def cancel(self, request: Cancel) -> asyncio.Task[None] | None:
        """Cancel what the session runs; where key or session are wrong nothing happens, as on the server."""
        found = self._sessions.get(request.process)
        if found is None or not compare_digest(found[0], request.key):
            return None
        return self.cancel_running(found[1])

    def cancel_running(self, conversation: Conversation) -> asyncio.Task[None] | None:
        """Cancel what a conversation runs.

        The connection is given to nobody else before the request is through, so that it hits no one else's statement.
        """
        upstream = conversation.upstream
        if upstream is None or not conversation.relay.expected:
            return None
        if upstream.cancelling is not None and not upstream.cancelling.done():
            return None

        async def ask() -> None:
            await self._cancel(upstream)

        upstream.cancelling = asyncio.get_running_loop().create_task(ask())
        return upstream.cancelling
