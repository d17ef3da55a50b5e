"""Whether a statement leaves something behind on its connection beyond its transaction, so that the session keeps it.

Law: what is not known to leave nothing behind pins (temporary tables, cursors WITH HOLD, SET, PREPARE, LISTEN,
advisory locks of the session …).
"""

from __future__ import annotations

import re
from enum import Enum

from datagate.frontends.gateway.sending import Sendable
from datagate.frontends.gateway.upstream import PLAIN, Profile

_LEAVES_NOTHING = re.compile(
    r"(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|SHOW|FETCH|MOVE|CLOSE|COPY|EXPLAIN"
    r"|SET\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)|DEALLOCATE|DECLARE(?!.*\bWITH\s+HOLD\b))\b",
    re.IGNORECASE | re.DOTALL,
)
_FORGETS = re.compile(r"(?:RESET\s+(?P<name>\w+)|DISCARD\s+ALL)\s*", re.IGNORECASE)
_CHANGES_SETTINGS = re.compile(r"(?:SET|RESET|DISCARD)\b", re.IGNORECASE)


class Turn(Enum):
    """What a statement does to the transaction."""

    BEGINS = "begins"
    MARKS = "marks"
    ENDS = "ends"


_TURNS = {
    "BEGIN": Turn.BEGINS,
    "START": Turn.BEGINS,
    "SAVEPOINT": Turn.MARKS,
    "RELEASE": Turn.MARKS,
    "COMMIT": Turn.ENDS,
    "ROLLBACK": Turn.ENDS,
}


def turn_of(sendable: Sendable) -> Turn | None:
    """What a statement does to the transaction; going back to a savepoint ends a part of it."""
    if sendable.admitted.kind.name != "SESSION":
        return None
    return _TURNS.get(sendable.admitted.text.split(maxsplit=1)[0])


def resets_all(sendable: Sendable) -> bool:
    """Whether it takes all settings back to what they were at the start."""
    return sendable.admitted.text in ("RESET ALL", "DISCARD ALL")


def forgotten(sendable: Sendable, profile: Profile) -> Profile:
    """Of the settings that a client asked for at its start, those that a statement takes to the server's own again.

    To the client it is as if the server had been started so for it: RESET goes back to what it asked for.
    """
    found = _FORGETS.fullmatch(sendable.admitted.text) if profile else None
    if found is None:
        return PLAIN
    name = (found["name"] or "all").lower()
    return profile if name == "all" else {key: value for key, value in profile.items() if key.lower() == name}


def changes_settings(sendable: Sendable) -> bool:
    """Whether literals may be read in another way from this statement on, or until its transaction ends."""
    if sendable.admitted.kind.name == "QUERY":
        return b"set_config" in sendable.text
    return sendable.admitted.kind.name == "SESSION" and _CHANGES_SETTINGS.match(sendable.admitted.text) is not None


def pins(sendable: Sendable) -> bool:
    """Whether the session has to keep its connection from this statement on."""
    if sendable.admitted.kind.name == "QUERY":
        # Locks of a transaction (pg_advisory_xact_lock) go with it.
        return b"set_config" in sendable.text or b"advisory_lock" in sendable.text
    return bool(sendable.text) and _LEAVES_NOTHING.match(sendable.admitted.text) is None
