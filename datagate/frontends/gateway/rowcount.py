"""Counts the rows in what goes to a client, and stops before one too many; without sockets."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from datagate.errors import OperationalError

_LENGTH = Struct("!I").unpack_from
_HEADER = 5
_ROWS = frozenset(b"Dd")


class RowCount:
    """Follows the back end's messages in the bytes for one client.

    Args:
        row: Called for each row (DataRow, CopyData): why it may not pass, or None.
    """

    __slots__ = ("_left", "_partial", "_row", "refusal")

    def __init__(self, row: Callable[[], OperationalError | None]) -> None:
        self._row = row
        self._left = 0
        self._partial = b""
        self.refusal: OperationalError | None = None

    def take(self, data: bytes) -> bytes:
        """What of it may pass; where :attr:`refusal` is set it ends with a whole message, and no more may pass."""
        if self.refusal is not None:
            return b""
        if self._partial:
            data, self._partial = self._partial + data, b""
        size = len(data)
        at = min(self._left, size)
        self._left -= at
        while size - at >= _HEADER:
            if data[at] in _ROWS:
                self.refusal = self._row()
                if self.refusal is not None:
                    return data[:at]
            end: int = at + 1 + _LENGTH(data, at + 1)[0]
            if end > size:
                self._left = end - size
                return data
            at = end
        self._partial = data[at:]
        return data[:at]
