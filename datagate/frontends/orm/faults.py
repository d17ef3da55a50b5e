"""What a session says when rows or columns that it held are there no more."""

from __future__ import annotations

from sqlalchemy.orm.exc import ObjectDeletedError

from datagate.errors import RowGone, UndefinedColumn


class ObjectGone(RowGone, ObjectDeletedError):
    """`RowGone`, as programs written for SQLAlchemy catch it."""

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


def hidden(prop: object) -> UndefinedColumn:
    """An attribute was read that the caller does not see."""
    return UndefinedColumn(
        f"{prop} is not loaded, since the caller of this session does not see its column; "
        "do not read it, or ask the steward of the data for a rule that shows it"
    )
