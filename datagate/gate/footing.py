"""What a caller's sight of the data stands on, for frontends that keep rows in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Footing:
    """Equal footings: nothing changed between that could show a row or cell otherwise.

    ``policies``: their version. ``parties`` and ``consents``: how far the state had come. ``turn``: the next instant at
    which something begins or ends by itself, in the reading of that time.
    """

    policies: str
    parties: int
    consents: int
    turn: datetime | None


@dataclass(frozen=True, slots=True)
class Sight:
    """The columns of a relation that exist for the caller, and those among them that are never shown as they are.

    ``varying``: shown as they are in some rows only. ``insertable``: those that a new row may be given a value for. A
    relation that the caller does not see has no Sight.
    """

    columns: frozenset[str]
    masked: frozenset[str]
    varying: frozenset[str]
    insertable: frozenset[str]
