"""The derived table that stands in for one base relation, before it gets its alias and parameter numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """``SELECT targets FROM source AS g after``: a SELECT over one base relation; one target for each column.

    ``joined``: the engine may turn the filter into a join, so that more of the caller's own is computed before it.
    """

    relation: RelationName
    columns: tuple[GuardColumn, ...]
    primary_key: tuple[str, ...]
    targets: tuple[Fragment, ...]
    source: str
    after: Fragment
    joined: bool = True

    def body(self, *, only: bool = False, sample: str = "") -> Fragment:
        """The guard's SELECT; ``only`` and ``sample`` are the caller's own ONLY and TABLESAMPLE clause."""
        prefix = "ONLY " if only else ""
        suffix = f" {sample}" if sample else ""
        targets = Fragment.join(", ", self.targets)
        return Fragment.of("SELECT ", targets, f" FROM {prefix}{self.source} AS g{suffix}", self.after)

    def narrowed(self, names: frozenset[str]) -> Guard:
        """The guard with only the columns of those names; the first that is raw stays where none would."""
        kept = [index for index, column in enumerate(self.columns) if column.name in names]
        if not kept:
            kept = [next((index for index, column in enumerate(self.columns) if column.raw), 0)]
        if len(kept) == len(self.columns):
            return self
        return replace(
            self,
            columns=tuple(self.columns[index] for index in kept),
            targets=tuple(self.targets[index] for index in kept),
        )

    def column(self, name: str) -> GuardColumn | None:
        """The exposed column of that name, or None."""
        for column in self.columns:
            if column.name == name:
                return column
        return None
