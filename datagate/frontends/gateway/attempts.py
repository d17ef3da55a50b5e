"""Limits guesses: after some failures a name, or an address, has to wait; success forgets them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

_MOST_KEPT = 100_000


class Attempts:
    """Failures by key (a user's name, an address), each forgotten after a while.

    Args:
        clock: Seconds that only grow.
        allowed: How many failures within the window are let pass.
        window: In seconds.
    """

    def __init__(self, clock: Callable[[], float], *, allowed: int = 10, window: float = 60.0) -> None:
        self._clock = clock
        self._allowed = allowed
        self._window = window
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def may_try(self, *keys: str) -> bool:
        """Whether another attempt is let pass."""
        return all(len(self._recent(key)) < self._allowed for key in keys)

    def failed(self, *keys: str) -> None:
        """Remember a failure."""
        for key in keys:
            recent = self._recent(key)
            recent.append(self._clock())
            self._failures[key] = recent[-self._allowed :]
            self._failures.move_to_end(key)
        while len(self._failures) > _MOST_KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of these keys."""
        for key in keys:
            self._failures.pop(key, None)

    def _recent(self, key: str) -> list[float]:
        since = self._clock() - self._window
        return [instant for instant in self._failures.get(key, ()) if instant > since]
