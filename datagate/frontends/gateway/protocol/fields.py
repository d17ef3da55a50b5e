"""Reads the fields of one message's body: numbers, strings that end in NUL, values with a length before them."""

from __future__ import annotations

from struct import Struct, error

from datagate.errors import ProtocolViolation

_INT2 = Struct("!H")
_INT4 = Struct("!i")
_UINT4 = Struct("!I")
_WRONG = "invalid message format"


class Fields:
    """One body, read from its beginning; what it does not hold is a ProtocolViolation."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def byte(self) -> int:
        """One byte."""
        if self._at >= len(self._body):
            raise ProtocolViolation(_WRONG)
        self._at += 1
        return self._body[self._at - 1]

    def count(self) -> int:
        """Two bytes without sign."""
        found: int = self._number(_INT2)
        return found

    def signed(self) -> int:
        """Four bytes with sign."""
        return self._number(_INT4)

    def unsigned(self) -> int:
        """Four bytes without sign."""
        return self._number(_UINT4)

    def counts(self) -> tuple[int, ...]:
        """A count, and so many numbers of two bytes."""
        return self._numbers("H", 2)

    def oids(self) -> tuple[int, ...]:
        """A count, and so many numbers of four bytes."""
        return self._numbers("I", 4)

    def text(self) -> bytes:
        """Bytes up to a NUL."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise ProtocolViolation(_WRONG)
        found = self._body[self._at : end]
        self._at = end + 1
        return found

    def value(self) -> bytes | None:
        """A length and so many bytes; None for the length -1."""
        length = self._number(_INT4)
        if length == -1:
            return None
        return self.take(length)

    def take(self, length: int) -> bytes:
        """So many bytes."""
        end = self._at + length
        if length < 0 or end > len(self._body):
            raise ProtocolViolation(_WRONG)
        found = self._body[self._at : end]
        self._at = end
        return found

    def rest(self) -> bytes:
        """All that is left."""
        found = self._body[self._at :]
        self._at = len(self._body)
        return found

    def end(self) -> None:
        """Hold the body to be read to its end."""
        if self._at != len(self._body):
            raise ProtocolViolation(_WRONG)

    def _number(self, form: Struct) -> int:
        try:
            found: int = form.unpack_from(self._body, self._at)[0]
        except error:
            raise ProtocolViolation(_WRONG) from None
        self._at += form.size
        return found

    def _numbers(self, letter: str, size: int) -> tuple[int, ...]:
        number = self.count()
        if not number:
            return ()
        taken = self.take(number * size)
        return Struct(f"!{number}{letter}").unpack(taken)
