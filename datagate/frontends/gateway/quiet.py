"""Why a client is not listened to for a while."""

from __future__ import annotations

from enum import Flag, auto


class Quiet(Flag):
    """Why nothing more is read from a client: its conversation waits, it does not read itself, the server does not."""

    STALLED = auto()
    UNREAD = auto()
    CLOGGED = auto()


HEARD = Quiet(0)
"""No reason: the client is listened to."""
