"""A relay that does nothing but copy bytes both ways, each client to a connection of its own: ``PORT SOCKET``.

What it reaches is what Python's event loop has to give; what the gateway loses against it is what governing costs.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvloop


class End(asyncio.Protocol):
    """One end; what comes here leaves at the other."""

    def __init__(self, other: End | None = None) -> None:
        self.other = other
        self.waiting: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the socket, and what came before there was one."""
        self.transport = transport  # type: ignore[assignment] # uvloop's are not asyncio's by name
        for data in self.waiting:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Let bytes leave here."""
        if self.transport is None:
            self.waiting.append(data)
        else:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Copy."""
        if self.other is not None:
            self.other.send(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """One gone, both gone."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def serve(port: int, server: str) -> None:
    """Relay until somebody ends this process."""
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[object]] = set()

    def client() -> End:
        near = End()
        near.other = far = End(near)
        task: asyncio.Task[object] = loop.create_task(_opened(far, server))
        opening.add(task)
        task.add_done_callback(opening.discard)
        return near

    with socket.create_server(("127.0.0.1", port), backlog=100) as listener:
        listening = await loop.create_server(client, sock=listener)
        await listening.serve_forever()


async def _opened(far: End, server: str) -> None:
    await asyncio.get_running_loop().create_unix_connection(lambda: far, server)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
