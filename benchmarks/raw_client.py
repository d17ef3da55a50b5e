"""A client that speaks the protocol over a bare socket: it costs next to nothing, and may stop reading.

Its SCRAM keys are made once, as a client may keep them (RFC 5802, 2.2): libpq's 4,096 rounds for each login would
measure libpq.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
from functools import cache
from struct import Struct
from typing import Self

from benchmarks.doors import Door
from datagate.frontends.gateway.protocol import backend, frontend

_HEADER = Struct("!cI")
_FIRST = b"n=,r="


@cache
def _keys(password: str, salt: bytes, rounds: int) -> tuple[bytes, bytes]:
    """The client's key and its hash."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    key = hmac.digest(salted, b"Client Key", "sha256")
    return key, hashlib.sha256(key).digest()


class RawClient:
    """A connection through a door, logged in."""

    def __init__(self, door: Door) -> None:
        self.socket = socket.create_connection(("127.0.0.1", door.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb", 1 << 18)
        self._log_in(door)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye."""
        self.socket.sendall(frontend.TERMINATE_MESSAGE)
        self._file.close()
        self.socket.close()

    def _log_in(self, door: Door) -> None:
        self.socket.sendall(frontend.startup({"user": door.user, "database": door.database}))
        self._authentication()
        first = _FIRST + secrets.token_urlsafe(18).encode()
        self.socket.sendall(frontend.sasl_initial("SCRAM-SHA-256", b"n,," + first))
        challenge = self._authentication()
        nonce, salt, rounds = (part[2:] for part in challenge.split(b",")[:3])
        key, stored = _keys(door.password, base64.b64decode(salt), int(rounds))
        bare = b"c=biws,r=" + nonce
        signature = hmac.digest(stored, b",".join((first, challenge, bare)), "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self.socket.sendall(frontend.sasl_response(bare + b",p=" + base64.b64encode(proof)))
        self.until_ready()

    def _authentication(self) -> bytes:
        kind, body = self.message()
        if kind != b"R":
            raise SystemExit(backend.read_diagnostics(body).get("M", "no login"))
        return body[4:]

    def message(self) -> tuple[bytes, bytes]:
        """The next message."""
        kind, length = _HEADER.unpack(self._file.read(5))
        return kind, self._file.read(length - 4)

    def until_ready(self) -> None:
        """Read up to ReadyForQuery; SystemExit for an error."""
        while True:
            kind, body = self.message()
            if kind == b"E":
                raise SystemExit(backend.read_diagnostics(body).get("M", "an error"))
            if kind == b"Z":
                return

    def send(self, text: str) -> None:
        """Send a simple query."""
        self.socket.sendall(frontend.query(text.encode()))

    def drain(self, text: str) -> int:
        """Run a statement and read all that comes, without looking at it; how many bytes."""
        self.send(text)
        buffer = bytearray(1 << 18)
        view, total, tail = memoryview(buffer), 0, b""
        while True:
            size = self.socket.recv_into(view)
            if not size:
                raise SystemExit("the connection was closed")
            total += size
            tail = (tail + view[max(0, size - 6) : size].tobytes())[-6:]
            # Only behind the last message nothing more comes, and rows end in the statement's tag before it.
            if tail == b"Z\0\0\0\x05I":
                return total
