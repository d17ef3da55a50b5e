"""Problems, gathered while a directory is read, so that a steward sees all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from datagate.errors import PolicyError, Problem
from datagate.model.source import SourceRef


class Report:
    """The problems found so far."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}

    def add(self, source: SourceRef, what: str) -> None:
        """Note one problem; the same problem twice is one."""
        self._problems[Problem(source, what)] = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, sorted by place."""
        return tuple(sorted(self._problems))

    def raise_if_any(self) -> None:
        """Raise PolicyError with all problems, if there are any."""
        if self._problems:
            raise PolicyError(self.problems)


def suggestion(name: str, known: Iterable[str], what: str = "known") -> str:
    """Say how to mend a misspelt name: the nearest known one, else the list of them.

    >>> suggestion("analist", ["analyst", "customer"])
    "did you mean 'analyst'?"
    >>> suggestion("x", ["analyst", "customer"])
    'known: analyst, customer'
    >>> suggestion("x", [])
    'none is known'
    """
    names = sorted(set(known))
    folded = {candidate.lower(): candidate for candidate in names}
    near = get_close_matches(name.lower(), folded, n=1, cutoff=0.65)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    if not names:
        return f"none is {what}"
    listed = ", ".join(names[:16]) + (", …" if len(names) > 16 else "")
    return f"{what}: {listed}"
