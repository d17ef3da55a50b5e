"""Which messages a client may send when: the transition table.

::

    message             LOGIN       READY       COPYING     SKIPPING    ENDED
    p                   LOGIN
    Q                               READY
    P B D E C H                     READY                   (dropped)
    S                               READY       COPYING     READY
    F                               READY                   (dropped)
    d c f                           (dropped)   COPYING     (dropped)
    X                   ENDED       ENDED       ENDED       ENDED

SKIPPING is where an error has ended a series of messages, up to the next Sync (PostgreSQL manual, 55.2.3). What stands
nowhere in a column ends the session.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType

from datagate.errors import ProtocolViolation


class Phase(Enum):
    """Where a conversation stands."""

    LOGIN = "login"
    READY = "ready"
    COPYING = "copying in"
    SKIPPING = "skipping to Sync"
    ENDED = "ended"


class Verdict(Enum):
    """What becomes of a message."""

    TAKE = "take"
    DROP = "drop"


_TAKEN = MappingProxyType(
    {
        Phase.LOGIN: frozenset(b"pX"),
        Phase.READY: frozenset(b"QPBDECHSFX"),
        Phase.COPYING: frozenset(b"dcfSHX"),
        Phase.SKIPPING: frozenset(b"SX"),
        Phase.ENDED: frozenset[int](),
    }
)
_DROPPED = MappingProxyType(
    {
        Phase.LOGIN: frozenset[int](),
        # After a COPY that the server broke off, the client's data is still on its way.
        Phase.READY: frozenset(b"dcf"),
        Phase.COPYING: frozenset[int](),
        Phase.SKIPPING: frozenset(b"QPBDECHFdcf"),
        Phase.ENDED: frozenset[int](),
    }
)


def judge(phase: Phase, kind: int) -> Verdict:
    """What becomes of a message of this type.

    Raises:
        ProtocolViolation: It may not come now.
    """
    if kind in _TAKEN[phase]:
        return Verdict.TAKE
    if kind in _DROPPED[phase]:
        return Verdict.DROP
    raise ProtocolViolation(f"a message of type {chr(kind)!r} came while {phase.value}")
