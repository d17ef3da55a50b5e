"""The second port: ``/healthz``, ``/readyz`` and ``/metrics``, for those who watch over the gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

_LONGEST = 8 * 1024
_SECONDS = 5.0


class Watch:
    """A small HTTP server that reads nothing but the first line.

    Args:
        ready: Whether new clients are served.
        metrics: The metrics as text.
    """

    def __init__(self, ready: Callable[[], bool], metrics: Callable[[], bytes]) -> None:
        self._ready = ready
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_LONGEST, reuse_port=True)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split()
                status, body = self._answer(request)
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n"
                )
                writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Whoever asked is gone, or does not speak HTTP.
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request: list[bytes]) -> tuple[str, bytes]:
        if len(request) != 3 or request[0] not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", b"GET only\n"
        if request[1] == b"/healthz":
            return "200 OK", b"ok\n"
        if request[1] == b"/readyz":
            return ("200 OK", b"ready\n") if self._ready() else ("503 Service Unavailable", b"not ready\n")
        if request[1] == b"/metrics":
            return "200 OK", self._metrics()
        return "404 Not Found", b"there are /healthz, /readyz, /metrics\n"
