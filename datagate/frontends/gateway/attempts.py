"""Limits guesses: who failed too often has to wait; success forgets.

Three counts, so that nobody locks out another: of a name from one address, which is where people mistype; of an address
whatever the name, where one program guesses many names; of a name from all addresses, where many programs guess one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How many failures are let pass within a window (in seconds)."""

    per_name_and_address: int = 10
    per_address: int = 100
    per_name: int = 200
    window: float = 60.0


class Attempts:
    """Failures by name and address, each forgotten after a while.

    Args:
        clock: Seconds that only grow.
        limits: See there.
    """

    def __init__(self, clock: Callable[[], float], limits: AttemptLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits if limits is not None else AttemptLimits()
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def may_try(self, name: str, address: str) -> bool:
        """Whether another attempt is let pass."""
        return all(len(self._recent(key)) < most for key, most in self._counts(name, address))

    def failed(self, name: str, address: str) -> None:
        """Remember a failure."""
        now = self._clock()
        for key, most in self._counts(name, address):
            self._failures[key] = [*self._recent(key), now][-most:]
            self._failures.move_to_end(key)
        while len(self._failures) > _MOST_KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this name from this address; what others did stays counted."""
        self._failures.pop((name, address), None)

    def _counts(self, name: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
        limits = self._limits
        return (
            ((name, address), limits.per_name_and_address),
            (("", address), limits.per_address),
            ((name, ""), limits.per_name),
        )

    def _recent(self, key: tuple[str, str]) -> list[float]:
        since = self._clock() - self._limits.window
        return [instant for instant in self._failures.get(key, ()) if instant > since]
