"""What a client may read of the server's words: no hidden values in errors and notices, no hidden tables in columns."""

from __future__ import annotations

from collections.abc import Callable

from datagate.backends.postgres.faults import RIGHTS_CHANGED, Said, tell
from datagate.errors import DatagateError, NotSupportedError
from datagate.frontends.gateway.protocol import backend

__all__ = [
    "CHANGED_STATE",
    "COLUMNS_CHANGED",
    "RIGHTS_CHANGED",
    "TableFilter",
    "fatal",
    "of_error",
    "of_notice",
    "of_server",
]

CHANGED_STATE = "40001"
CHANGED = "the caller's rights changed while the transaction was open; roll back and run it again"

COLUMNS_CHANGED = NotSupportedError("cached plan must not change result type", sqlstate="0A000")
"""What PostgreSQL says of a prepared statement whose columns are others by now; drivers know it by its routine."""
_ROUTINE = "RevalidateCachedQuery"


def of_error(error: DatagateError, *, severity: str = "ERROR") -> bytes:
    """One of our own errors as a message."""
    fields = {"S": severity, "V": severity, "C": error.sqlstate, "M": error.message.replace("\0", "")}
    if error.position is not None:
        fields["P"] = str(error.position)
    if error is COLUMNS_CHANGED:
        fields["R"] = _ROUTINE
    return backend.error(fields)


def fatal(message: str, sqlstate: str) -> bytes:
    """An error that ends the session."""
    return backend.error({"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": message})


def of_server(diagnostics: backend.Diagnostics, asked: str) -> bytes:
    """A server's error, with nothing in it but severity, SQLSTATE, a safe message and its place in the text."""
    if diagnostics.get("C") == RIGHTS_CHANGED:
        return _made(backend.error, diagnostics, CHANGED_STATE, CHANGED, None)
    said = _said(diagnostics)
    told = tell(said, asked)
    return _made(backend.error, diagnostics, said.sqlstate, told.message, told.position)


def of_notice(diagnostics: backend.Diagnostics, asked: str) -> bytes:
    """A server's notice, likewise."""
    said = _said(diagnostics)
    return _made(backend.notice, diagnostics, said.sqlstate, tell(said, asked).message, None)


def _said(diagnostics: backend.Diagnostics) -> Said:
    return Said(
        sqlstate=diagnostics.get("C", "XX000"),
        message=diagnostics.get("M", ""),
        at_text="P" in diagnostics,
        within="W" in diagnostics or "q" in diagnostics,
    )


def _made(
    kind: Callable[[backend.Diagnostics], bytes],
    diagnostics: backend.Diagnostics,
    state: str,
    message: str,
    position: int | None,
) -> bytes:
    severity = diagnostics.get("V", "ERROR")
    fields = {"S": diagnostics.get("S", severity), "V": severity, "C": state, "M": message}
    return kind(fields if position is None else {**fields, "P": str(position)})


class TableFilter:
    """Takes from row descriptions the tables that do not exist for the caller.

    Args:
        exists: Whether a relation, by its OID, exists for the caller.
    """

    def __init__(self, exists: Callable[[int], bool]) -> None:
        self._exists = exists
        self._kept: dict[bytes, bytes] = {}

    def forget(self) -> None:
        """The caller, or its rights, changed."""
        self._kept.clear()

    def filtered_message(self, message: bytes) -> bytes:
        """The same for a whole message, which is kept by itself."""
        found = self._kept.get(message)
        return found if found is not None else self._kept.setdefault(message, self.filtered(message[5:]))

    def filtered(self, body: bytes) -> bytes:
        """The RowDescription message for the caller."""
        found = self._kept.get(body)
        if found is None:
            columns = [
                column
                if not column.table or self._exists(column.table)
                else backend.Column(column.name, 0, 0, column.type, column.size, column.modifier, column.format)
                for column in backend.read_row_description(body)
            ]
            found = backend.row_description(columns)
            if len(self._kept) >= 1024:
                self._kept.clear()
            self._kept[body] = found
        return found
