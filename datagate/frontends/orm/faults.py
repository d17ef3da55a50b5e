"""What a session says when rows or columns that it held are there no more."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.exc import ObjectDeletedError

from datagate.errors import Refused, UndefinedColumn


class RowGone(Refused, ObjectDeletedError):
    """An object's row is not there for the caller any more: deleted, or no longer in his sight. Query again."""

    code = None

    def __init__(self, what: str) -> None:
        message = f"the row of {what} was deleted, or is no longer in the sight of this caller; query again"
        # Two roots with initialisers of their own; SQLAlchemy's would build its own message.
        Exception.__init__(self, message)
        self.message = message
        self.position = None
        self.audit_reason = None

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_row_gone, (self.message,))


def _row_gone(message: str) -> RowGone:
    found = RowGone("")
    found.message = message
    found.args = (message,)
    return found


def hidden(prop: object) -> UndefinedColumn:
    """An attribute was read that the caller does not see."""
    return UndefinedColumn(
        f"{prop} is not loaded, since the caller of this session does not see its column; "
        "do not read it, or ask the steward of the data for a rule that shows it"
    )
