"""Questions of the gateway's own to a server, on a connection that no client has."""

from __future__ import annotations

import asyncio

from datagate.errors import OperationalError
from datagate.frontends.gateway.protocol import backend
from datagate.frontends.gateway.upstream import Upstream


class _Asker:
    """Reads the answer to a question of the gateway's own, and keeps nothing of it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.rows_pass = False
        self.rows_seen = False
        self.awaits = False
        self._failed = False

    def at_once(self, data: bytes) -> bool:  # noqa: ARG002 - nothing is awaited so
        """Nothing is taken so."""
        return False

    def message(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """Note errors, and the end."""
        if kind == backend.ERROR:
            self._failed = True
        elif kind == backend.READY and not self.done.done():
            self.done.set_result(not self._failed and data[start:end] == backend.ready(backend.IDLE))
        elif kind == backend.PARAMETER_STATUS:
            name, value = backend.read_parameter_status(data[start + 5 : end])
            self._upstream.parameters[name] = value
        return False

    def pass_on(self, parts: list[bytes]) -> None:
        """Nothing is passed on."""

    def trailing(self) -> bytes:
        """Nothing follows."""
        return b""

    def settled(self) -> None:
        """Nothing to do."""

    def clogged(self, clogged: bool) -> None:
        """Nothing to do."""

    def lost(self) -> None:
        """The connection is gone."""
        if not self.done.done():
            self.done.set_result(False)


async def asked(upstream: Upstream, question: bytes, seconds: float) -> bool:
    """Send a question of the gateway's own, and tell whether all went well, outside of any transaction."""
    asker = _Asker(upstream)
    upstream.attach(asker)
    try:
        upstream.send(question)
        async with asyncio.timeout(seconds):
            return await asker.done
    except (TimeoutError, OperationalError):
        return False
    finally:
        upstream.attach(None)
