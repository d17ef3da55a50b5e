"""One connection to the server: cuts what comes into messages, and lets rows run through as they are."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from types import MappingProxyType
from typing import Protocol

from datagate.errors import DatagateError, OperationalError
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.sockets import send_at_once

_LENGTH = Struct("!I").unpack_from
_HEADER = 5
_READY_SIZE = 6
_ROWS = frozenset(b"Dd")
_LONGEST = 16 * 1024 * 1024  # of a message that is not a row
KEPT_STATEMENTS = 200
_CHANCE = secrets.token_hex(6).encode()

Key = tuple[bytes, tuple[int, ...], object]
"""What a prepared statement upstream is known by: its text, its parameters' types, and the settings it was read under.

Literals in a text (a time without a zone, a date) are read by the settings of the moment.
"""


@dataclass(slots=True)
class Kept:
    """A prepared statement upstream: its name, and the descriptions of its rows that came, by the formats asked for.

    They stay as they are: where a table's columns change, the server refuses the statement (0A000).
    """

    name: bytes
    descriptions: dict[bytes, bytes] = field(default_factory=dict)


Profile = Mapping[str, str]
"""The settings that a client asked for."""
PLAIN: Profile = MappingProxyType({})


class Listener(Protocol):
    """Who reads a connection: the relay of the client that has it."""

    rows_pass: bool
    rows_seen: bool
    awaits: bool

    def at_once(self, data: bytes) -> bool:
        """Take a whole answer to what :attr:`awaits` one, if it is no more and no less."""

    def message(self, kind: int, data: bytes, start: int, end: int) -> bool | bytes:
        """Judge a message: True to pass it on as it is, False to drop it, bytes to pass in its place."""

    def pass_on(self, parts: list[bytes]) -> None:
        """Pass bytes to the client."""

    def trailing(self) -> bytes:
        """What comes behind the message that was judged last."""

    def settled(self) -> None:
        """All that came so far is passed on."""

    def clogged(self, clogged: bool) -> None:
        """The server takes no more of what is sent, or does again."""

    def lost(self) -> None:
        """The connection is gone."""


class Upstream(asyncio.Protocol):
    """One connection to the server, of one client at a time."""

    def __init__(self, process: int, key: bytes, parameters: dict[bytes, bytes], host: int) -> None:
        self.process = process
        self.key = key
        self.parameters = parameters
        self.host = host
        self.profile: Profile = PLAIN
        self.prepared: OrderedDict[Key, Kept] = OrderedDict()
        self.unnamed: Key | None = None
        self.closed = False
        self.paused = False
        self.dirty = False
        self.born = self.since = 0.0
        self.cancelling: asyncio.Task[None] | None = None
        self._names = 0
        self.listener: Listener | None = None  # whoever has it
        self._buffer = b""
        self._passing = 0
        self._held_back: list[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self.on_lost: list[Callable[[Upstream], None]] = []

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment] # uvloop's are not asyncio's by name
        send_at_once(transport)

    def data_received(self, data: bytes) -> None:
        """Cut what came into messages; see the module."""
        listener = self.listener
        if listener is None:
            self._unasked(data)
            return
        if self._held_back is not None:
            self._held_back.append(data)
            return
        try:
            if not (listener.awaits and listener.at_once(data)):
                self._cut(data, listener)
        except DatagateError:
            # The server does not keep to the protocol, or refuses what the gateway itself asked for.
            self.abort()

    def _cut(self, data: bytes, listener: Listener) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        size = len(data)
        parts: list[bytes] = []
        at = start = 0
        if self._passing:
            at = min(self._passing, size)
            self._passing -= at
            start = 0 if listener.rows_pass else at
        while size - at >= _HEADER:
            kind = data[at]
            end = at + 1 + _LENGTH(data, at + 1)[0]
            if kind in _ROWS:
                listener.rows_seen = True
                if listener.rows_pass:
                    # By the hundred thousand: as little for each as can be.
                    at, last = end, size - _HEADER
                    while at <= last and data[at] == kind:
                        at += 1 + _LENGTH(data, at + 1)[0]
                else:
                    if start < at:
                        parts.append(data[start:at])
                    start, at = min(end, size), end
                if at > size:
                    self._passing = at - size
                    at = size
                    break
                continue
            if end > size:
                if end - at > _LONGEST:
                    self.abort()
                    return
                break
            if end - at < _HEADER or (kind == backend.READY and end - at != _READY_SIZE):
                self.abort()
                return
            verdict = listener.message(kind, data, at, end)
            if verdict is not True:
                if start < at:
                    parts.append(data[start:at])
                start = end
                if verdict:
                    parts.append(verdict)
            at = end
            behind = listener.trailing()
            if behind:
                if start < at:
                    parts.append(data[start:at])
                start = at
                parts.append(behind)
        if start < at:
            parts.append(data if start == 0 and at == size else data[start:at])
        if at < size:
            self._buffer = data[at:]
        if parts:
            listener.pass_on(parts)
        listener.settled()

    def _unasked(self, data: bytes) -> None:
        """While nobody has the connection, only settings and notices may come; what says more ends it."""
        data = self._buffer + data
        at = 0
        while len(data) - at >= _HEADER:
            end = at + 1 + _LENGTH(data, at + 1)[0]
            if data[at] not in b"SN" or end - at > _LONGEST:
                self.abort()
                return
            if end > len(data):
                break
            at = end
        self._buffer = data[at:]

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell whoever has it."""
        self.closed = True
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.lost()
        for call in self.on_lost:
            call(self)

    def pause_writing(self) -> None:
        """The server does not read fast enough."""
        if self.listener is not None:
            self.listener.clogged(True)

    def resume_writing(self) -> None:
        """It does again."""
        if self.listener is not None:
            self.listener.clogged(False)

    # What whoever has it calls.

    def attach(self, listener: Listener | None) -> None:
        """Give the connection to somebody, or to nobody."""
        self.listener = listener

    @property
    def between_messages(self) -> bool:
        """Whether nothing of a message is half read."""
        return not self._buffer and not self._passing

    def send(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is None or self.closed:
            raise OperationalError("the connection to the server is lost")
        self._transport.write(data)

    def hold_back(self, data: bytes) -> None:
        """Pass nothing on, from this data on, until :meth:`let_go`."""
        self._held_back = [data]
        self.pause()

    def let_go(self, *, dropped: bool = False) -> None:
        """Pass on what was held back, or drop the first of it, which was taken as a whole answer."""
        held, self._held_back = self._held_back or [], None
        self.resume()
        for data in held[1:] if dropped else held:
            self.data_received(data)

    def pause(self) -> None:
        """Read no more until :meth:`resume`."""
        self.paused = True
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def name_for(self, key: Key) -> Kept:
        """A statement that is about to be prepared here, under a name that nobody can guess, and so deallocate."""
        self._names += 1
        kept = self.prepared[key] = Kept(b"dg%b_%d" % (_CHANCE, self._names))
        return kept

    def surplus(self) -> list[bytes]:
        """Names of statements that were not used for long, and are forgotten now; close them."""
        names = []
        while len(self.prepared) > KEPT_STATEMENTS:
            names.append(self.prepared.popitem(last=False)[1].name)
        return names

    def forget_statements(self) -> None:
        """The server has forgotten all prepared statements."""
        self.prepared.clear()
        self.unnamed = None

    def close(self) -> None:
        """Say goodbye and close."""
        if self._transport is not None and not self.closed:
            self._transport.write(frontend.TERMINATE_MESSAGE)
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None and not self.closed:
            self._transport.abort()


def profile_change(old: Profile, new: Profile) -> bytes:
    """The query that takes a connection from one client's settings to another's."""
    texts = ["RESET ALL"] if old else []
    if new:
        texts.append(
            "SELECT " + ", ".join(f"pg_catalog.set_config({_literal(k)}, {_literal(v)}, false)" for k, v in new.items())
        )
    return frontend.query("; ".join(texts).encode())


def _literal(text: str) -> str:
    """A literal under standard_conforming_strings, which the gateway insists on."""
    if "\0" in text:
        raise OperationalError("a setting holds a NUL", sqlstate="22021")
    return "'" + text.replace("'", "''") + "'"
