"""How long one client may be in the state that it is in: statements, silence, silence in a transaction. No clock here.

A statement that takes too long is cancelled on the server, and its client told why; one that goes on in spite of that,
or whose client does not read, ends with its session.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from datagate.errors import OperationalError
from datagate.frontends.gateway.limits import Limits

GRACE_SECONDS = 10.0
"""How long a statement that was cancelled may take to end."""


class State(Enum):
    """What a session does."""

    ACTIVE = "active"
    IN_TRANSACTION = "in transaction"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done: ``cancel`` the statement, or end the session; the client is told the error."""

    error: OperationalError
    cancel: bool


_STATEMENT = OperationalError("canceling statement due to statement timeout", sqlstate="57014")
_UNENDED = OperationalError("terminating connection: the statement did not end after its timeout", sqlstate="57014")
_IDLE = OperationalError("terminating connection due to idle-session timeout", sqlstate="57P05")
_IN_TRANSACTION = OperationalError("terminating connection due to idle-in-transaction timeout", sqlstate="25P03")


class Patience:
    """Watches one client.

    Args:
        limits: How long each state may last.
    """

    __slots__ = ("_cancelled", "_limits", "_seen", "_since")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: tuple[State, int] | None = None
        self._since = 0.0
        self._cancelled = False

    def look(self, state: State, serial: int, now: float) -> Verdict | None:
        """Judge what is seen now; ``serial``: another number wherever something happened since."""
        if self._seen != (state, serial):
            self._seen = (state, serial)
            self._since = now
            self._cancelled = False
            return None
        lasted = now - self._since
        if state is State.ACTIVE:
            if self._cancelled:
                late = lasted >= self._limits.statement_seconds + GRACE_SECONDS
                return Verdict(_UNENDED, cancel=False) if late else None
            if lasted >= self._limits.statement_seconds:
                self._cancelled = True
                return Verdict(_STATEMENT, cancel=True)
            return None
        if state is State.IN_TRANSACTION and lasted >= self._limits.idle_in_transaction_seconds:
            return Verdict(_IN_TRANSACTION, cancel=False)
        if state is State.IDLE and lasted >= self._limits.idle_seconds:
            return Verdict(_IDLE, cancel=False)
        return None
