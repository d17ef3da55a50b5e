"""Everything that datagate raises.

::

    DatagateError
    ├── Warning                      (PEP 249)
    └── Error                        (PEP 249)
        ├── InterfaceError           08000, misuse of the driver
        │   └── ProtocolViolation    08P01, the peer's bytes are not the protocol's
        └── DatabaseError
            ├── DataError            22xxx
            ├── OperationalError     08xxx, 53xxx, 57xxx; AuditUnavailable 58030
            ├── IntegrityError       23xxx
            ├── InternalError        XX000; VerificationFailed
            ├── ProgrammingError     42xxx
            │   ├── StatementSyntaxError   42601
            │   ├── UndefinedRelation      42P01, also for a denied relation
            │   ├── UndefinedColumn        42703, also for a hidden column
            │   ├── Refused                42501, not permitted; RowGone
            │   └── TokenRefused           28000, a token that names no caller
            ├── NotSupportedError    0A000
            │   └── UnsupportedConstruct; SeveralStatements; NestedTooDeeply 54001
            └── RightsChanged        40001, run the transaction again
    PolicyError                      F0000, problems in policy files, all at once
    StateError                       22023, a fact that cannot be recorded
    KeyringError                     F0000

Each class has its SQLSTATE (PostgreSQL appendix A); each message says what, where, and what to do, and never
shows a hidden name or value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datagate.model.source import SourceRef


class DatagateError(Exception):
    """Root of all errors.

    ``sqlstate`` is five characters; ``position`` counts characters of the caller's text from one;
    ``audit_reason`` is what the audit records in place of the message, and is never shown to the caller.
    """

    sqlstate: str = "XX000"

    def __init__(self, message: str, *, sqlstate: str | None = None, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.audit_reason: str | None = None
        if sqlstate is not None:
            self.sqlstate = sqlstate


class Warning(DatagateError):  # noqa: A001 - PEP 249 prescribes the name
    """PEP 249 Warning."""

    sqlstate = "01000"


class Error(DatagateError):
    """PEP 249 Error: the root for everything that a DBAPI caller catches."""


class InterfaceError(Error):
    """The driver was misused."""

    sqlstate = "08000"


class ProtocolViolation(InterfaceError):
    """What the peer sent is not the wire protocol, or not now."""

    sqlstate = "08P01"


class DatabaseError(Error):
    """The statement failed."""


class DataError(DatabaseError):
    """The server could not process a value."""

    sqlstate = "22000"


class OperationalError(DatabaseError):
    """The server or the way to it failed."""

    sqlstate = "08006"


class AuditUnavailable(OperationalError):
    """The decision could not be recorded, so the statement was refused."""

    sqlstate = "58030"


class IntegrityError(DatabaseError):
    """A constraint was violated."""

    sqlstate = "23000"


class InternalError(DatabaseError):
    """A fault of datagate's or of the server's."""

    sqlstate = "XX000"


class VerificationFailed(InternalError):
    """The rewritten text did not pass the verifier; nothing was sent."""


class ProgrammingError(DatabaseError):
    """The statement is wrong."""

    sqlstate = "42000"


class StatementSyntaxError(ProgrammingError):
    """The engine's own parser does not read the text."""

    sqlstate = "42601"


class UndefinedRelation(ProgrammingError):
    """No such relation for this caller: it does not exist, or is denied. ``relation``: as the caller spelled it."""

    sqlstate = "42P01"
    relation: tuple[str | None, str] | None = None


class UndefinedColumn(ProgrammingError):
    """No such column for this caller."""

    sqlstate = "42703"


class Refused(ProgrammingError):
    """The statement asks for what is not permitted."""

    sqlstate = "42501"


class TokenRefused(ProgrammingError):
    """A token that names no caller; why, is for the audit alone (RFC 6750, 3.1)."""

    sqlstate = "28000"


class RowGone(Refused):
    """The row of an object that a session holds was deleted, or is no longer in the caller's sight. Query again."""


class NotSupportedError(DatabaseError):
    """PEP 249 NotSupportedError."""

    sqlstate = "0A000"


class UnsupportedConstruct(NotSupportedError):
    """A construct that datagate does not carry; the message names it and its position."""


class SeveralStatements(UnsupportedConstruct):
    """A text holds several statements where one is wanted; ``texts`` are the single ones."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(f"{len(texts)} statements in one text; send them one by one, or without parameters")
        self.texts = tuple(texts)


class NestedTooDeeply(UnsupportedConstruct):
    """The statement nests more deeply than it can be read."""

    sqlstate = "54001"

    def __init__(self) -> None:
        super().__init__("the statement is nested too deeply; split it")


class RightsChanged(DatabaseError):
    """The caller's rights changed while a transaction was open; run the transaction again."""

    sqlstate = "40001"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a policy file: where, what, and how to mend it."""

    source: SourceRef
    what: str

    def __str__(self) -> str:
        return f"{self.source}: {self.what}"


class PolicyError(DatagateError):
    """Policy files are wrong; ``problems`` holds all of them, sorted."""

    sqlstate = "F0000"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StateError(DatagateError):
    """A fact (entitlement, consent, mandate) cannot be recorded or read."""

    sqlstate = "22023"


class KeyringError(DatagateError):
    """A key that a mask needs is missing or too short."""

    sqlstate = "F0000"
