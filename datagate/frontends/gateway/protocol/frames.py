"""Cuts a stream of bytes into messages, and holds each to its length before it is kept.

The length field is judged as soon as its four bytes are there, so that whoever announces a gigabyte is refused before
one of its bytes is stored.
"""

from __future__ import annotations

from struct import Struct

from datagate.errors import ProtocolViolation

Frame = tuple[int, bytes]
"""A message: its type byte, and its body without the length."""

_LENGTH = Struct("!I").unpack_from
_HEADER = 5

# Messages that carry text or values of the caller's may be long; all others are short by nature.
LONG_TYPES = frozenset(b"QPBdF")
SHORT_LIMIT = 64 * 1024
LONG_LIMIT = 64 * 1024 * 1024
STARTUP_LIMIT = 10_000  # what PostgreSQL allows (MAX_STARTUP_PACKET_LENGTH)


class FrameSplitter:
    """Bytes in, typed messages out; ``kept``: those of a message that is not complete yet.

    Args:
        types: The type bytes that may come; any other ends the conversation, since its length means nothing.
        limit: How long a body of a message that carries text or values may be.
    """

    __slots__ = ("_limit", "_types", "kept")

    def __init__(self, types: frozenset[int], *, limit: int = LONG_LIMIT) -> None:
        self._types = types
        self._limit = limit
        self.kept = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; give the messages that they complete.

        Raises:
            ProtocolViolation: An unknown type, or a length that cannot be; nothing can be read after that.
        """
        if self.kept:
            data = self.kept + data
            self.kept = b""
        frames: list[Frame] = []
        position, end = 0, len(data)
        while end - position >= _HEADER:
            kind = data[position]
            stop = position + 1 + self._length(kind, data, position)
            if stop > end:
                break
            frames.append((kind, data[position + _HEADER : stop]))
            position = stop
        else:
            if position < end and data[position] not in self._types:
                raise _unknown(data[position])
        if position < end:
            self.kept = data[position:]
        return frames

    def _length(self, kind: int, data: bytes, position: int) -> int:
        if kind not in self._types:
            raise _unknown(kind)
        length: int = _LENGTH(data, position + 1)[0]
        limit = self._limit if kind in LONG_TYPES else SHORT_LIMIT
        if length < 4 or length > limit:
            raise ProtocolViolation(f"a message of type {chr(kind)!r} announces {length} bytes; up to {limit} are read")
        return length


class StartupSplitter:
    """Bytes in, one start-up packet out; these have a length and no type."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def needs(self) -> int:
        """How many bytes to read next, so that nothing behind the packet is read."""
        if len(self._buffer) < 4:
            return 4 - len(self._buffer)
        length: int = _LENGTH(self._buffer)[0]
        return length - len(self._buffer)

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; give the packet's body when it is whole.

        Raises:
            ProtocolViolation: The length cannot be, or there are bytes behind the packet.
        """
        self._buffer += data
        if len(self._buffer) < 4:
            return None
        length: int = _LENGTH(self._buffer)[0]
        if length < 8 or length > STARTUP_LIMIT:
            raise ProtocolViolation("invalid length of startup packet")
        if len(self._buffer) < length:
            return None
        body, rest = self._buffer[4:length], self._buffer[length:]
        if rest:
            raise ProtocolViolation("bytes came behind a start-up packet before it was answered")
        self._buffer = b""
        return body


def _unknown(kind: int) -> ProtocolViolation:
    return ProtocolViolation(f"invalid frontend message type {kind}")
