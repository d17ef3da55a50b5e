"""What connections of whichever library have in common: errors within reach, and statements that the gate cancels."""

from __future__ import annotations

from time import monotonic
from typing import Any

from datagate import errors
from datagate.backends.postgres import faults

LATE_CANCEL = 5.0
"""Seconds for which a statement that ends as cancelled is taken to have ended by the gate's word."""


class OwnErrors:
    """PEP 249, optional extension: what to catch, in reach of whoever has the connection."""

    Warning: Any = errors.Warning
    Error: Any = errors.Error
    InterfaceError: Any = errors.InterfaceError
    DatabaseError: Any = errors.DatabaseError
    DataError: Any = errors.DataError
    OperationalError: Any = errors.OperationalError
    IntegrityError: Any = errors.IntegrityError
    InternalError: Any = errors.InternalError
    ProgrammingError: Any = errors.ProgrammingError
    NotSupportedError: Any = errors.NotSupportedError


class Revocable:
    """A connection whose statement under way is cancelled when its caller's rights end."""

    _revoked = False
    _revoked_until = 0.0

    @property
    def revoked(self) -> bool:
        """Whether the gate cancelled what runs now."""
        return self._revoked

    def withhold(self) -> None:
        """Give no row more of what runs now, since the caller's rights ended; the gate's lookout calls this."""
        self._revoked = True
        self._revoked_until = monotonic() + LATE_CANCEL

    def revoke(self) -> None:
        """Cancel what runs now, too; the gate's lookout calls this from its own thread."""
        self.withhold()
        self._cancel_under_way()

    def _cancel_under_way(self) -> None:
        raise NotImplementedError

    def _ended_by_the_gate(self, sqlstate: str | None) -> bool:
        """Whether a statement that failed was cancelled by the gate."""
        return sqlstate == faults.CANCELLED and monotonic() < self._revoked_until
