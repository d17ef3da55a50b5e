"""Whether a statement leaves something behind on its connection beyond its transaction, so that the session keeps it.

Law: what is not known to leave nothing behind pins (temporary tables, cursors WITH HOLD, SET, PREPARE, LISTEN …).
"""

from __future__ import annotations

import re

from datagate.frontends.gateway.sending import Sendable

_LEAVES_NOTHING = re.compile(
    r"(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|SHOW|FETCH|MOVE|CLOSE|COPY|EXPLAIN"
    r"|SET\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)|DEALLOCATE|DECLARE(?!.*\bWITH\s+HOLD\b))\b",
    re.IGNORECASE | re.DOTALL,
)


_CHANGES_SETTINGS = re.compile(r"(?:SET|RESET|DISCARD)\b", re.IGNORECASE)


def changes_settings(sendable: Sendable) -> bool:
    """Whether literals may be read in another way from this statement on, or until its transaction ends."""
    return sendable.admitted.kind.name == "SESSION" and _CHANGES_SETTINGS.match(sendable.admitted.text) is not None


def pins(sendable: Sendable) -> bool:
    """Whether the session has to keep its connection from this statement on."""
    if sendable.admitted.kind.name == "QUERY":
        return False
    return bool(sendable.text) and _LEAVES_NOTHING.match(sendable.admitted.text) is None
