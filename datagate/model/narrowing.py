"""What a token takes away from the mandate that its caller acts under."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from datagate.model.names import Purpose, RelationName
from datagate.model.values import AttributeValue


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A further link below the caller's mandate, known from a token alone: it can only take away (RFC 9396).

    A decision takes it for a sub-mandate of the same scope, so that what the caller gets is the intersection with all
    that the store grants. ``purposes`` and ``relations`` None: those of the mandate, no fewer; empty: none at all.
    Of each relation the columns that are left, None for those of the mandate. ``parameters`` replace the mandate's own
    in this link only; ``valid_from`` and ``valid_until`` None: as long as the mandate itself.
    """

    purposes: frozenset[Purpose] | None = None
    relations: tuple[tuple[RelationName, frozenset[str] | None], ...] | None = None
    parameters: tuple[tuple[str, AttributeValue], ...] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
