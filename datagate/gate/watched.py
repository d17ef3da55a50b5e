"""What the lookout watches: sessions, what their statements and cursors stand on, and where they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from datagate.model.facts import Facts
from datagate.model.names import PrincipalId, Purpose


@dataclass(frozen=True, slots=True)
class Stake:
    """What statements stand on: each party's epoch as it was read, and the instant at which that ends by itself.

    ``consents``: the parties that tell of withdrawn consents, where the statements ask for consent at all. ``facts``:
    the reading that all this comes from.
    """

    parties: frozenset[PrincipalId]
    total: int
    consents: frozenset[PrincipalId]
    valid_until: datetime | None
    facts: Facts


@dataclass(frozen=True, slots=True)
class Pledge:
    """What a cursor is held to: epochs as they were when it was declared, and the policies.

    ``consents``: those of the parties that tell of withdrawn consents. ``purposes``: those for which an answer may
    count, of which none may have narrowed by itself ``since`` an instant before it was declared. ``purpose``: what it
    was declared for.
    """

    epochs: Mapping[PrincipalId, int]
    consents: frozenset[PrincipalId]
    valid_until: datetime | None
    policy_version: str
    since: datetime
    purposes: tuple[Purpose, ...]
    purpose: Purpose | None = None


class Flight(Protocol):
    """A connection on which statements run, as the lookout sees it; its methods are called from another thread."""

    @property
    def under_way(self) -> bool:
        """Whether a statement runs now."""

    @property
    def revoked(self) -> bool:
        """Whether :meth:`withhold` or :meth:`revoke` was called since the last statement began."""

    def withhold(self) -> None:
        """Hand on no more of what runs now, until the next statement begins; takes no time."""

    def revoke(self) -> None:
        """Withhold what runs now, and cancel it on the server; may take long."""


class Watched(Protocol):
    """A session with its flight."""

    @property
    def stake(self) -> Stake | None:
        """What its statements stand on; None before the first."""

    @property
    def flight(self) -> Flight | None:
        """Where they run; None once it is gone."""
