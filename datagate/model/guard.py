"""The derived table that stands in for one base relation, before it gets its alias and parameter numbers."""

from __future__ import annotations

from dataclasses import dataclass

from datagate.model.fragment import Fragment
from datagate.model.names import RelationName


@dataclass(frozen=True, slots=True)
class GuardColumn:
    """A column that the guard exposes.

    ``raw``: shown as it is in every row. ``type``: internal type name after masking. ``digits``: bound on the
    integer digits of a number (None: no bound known). ``leakproof``: computing it cannot raise or talk.
    """

    name: str
    raw: bool
    type: str
    leakproof: bool
    digits: int | None


@dataclass(frozen=True, slots=True)
class Guard:
    """``before`` FROM ``source`` AS g ``after``: a SELECT over one base relation.

    ``plain_filter``: the filter reads nothing but the row itself and parameters, so it is applied at the scan.
    """

    relation: RelationName
    columns: tuple[GuardColumn, ...]
    primary_key: tuple[str, ...]
    before: Fragment
    source: str
    after: Fragment
    plain_filter: bool

    def body(self, *, only: bool = False, sample: str = "") -> Fragment:
        """The guard's SELECT; ``only`` and ``sample`` are the caller's own ONLY and TABLESAMPLE clause."""
        prefix = "ONLY " if only else ""
        suffix = f" {sample}" if sample else ""
        return Fragment.of(self.before, f" FROM {prefix}{self.source} AS g{suffix}", self.after)

    def column(self, name: str) -> GuardColumn | None:
        """The exposed column of that name, or None."""
        for column in self.columns:
            if column.name == name:
                return column
        return None
