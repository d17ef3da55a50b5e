"""The derived table that stands in for one base relation, before it gets its alias and parameter numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from datagate.model.fragment import Fragment
from datagate.model.names import RelationName
from datagate.model.policy import Action


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
    """``SELECT targets FROM source AS alias after``: a SELECT over one base relation; one target for each column.

    ``joined``: the engine may turn the filter into a join, so that more of the caller's own is computed before it.
    """

    relation: RelationName
    columns: tuple[GuardColumn, ...]
    primary_key: tuple[str, ...]
    targets: tuple[Fragment, ...]
    source: str
    after: Fragment
    joined: bool = True
    alias: str = "g"

    def body(self, *, only: bool = False, sample: str = "") -> Fragment:
        """The guard's SELECT; ``only`` and ``sample`` are the caller's own ONLY and TABLESAMPLE clause."""
        prefix = "ONLY " if only else ""
        suffix = f" {sample}" if sample else ""
        targets = Fragment.join(", ", self.targets)
        return Fragment.of("SELECT ", targets, f" FROM {prefix}{self.source} AS {self.alias}{suffix}", self.after)

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


CHECKED = "datagate: checked"
"""Name of the one column of a result whose rows the caller did not ask for: by them a write was checked."""


@dataclass(frozen=True, slots=True)
class TargetKey:
    """What a statement does to a relation: the action, the columns that it sets, the name that it gives the relation.

    ``returning``: rows come back, so that the caller must see them.
    """

    relation: RelationName
    action: Action
    alias: str
    columns: frozenset[str]
    returning: bool


@dataclass(frozen=True, slots=True)
class Ahead:
    """That a new row is held to its check by its values, before it can meet a key that a hidden row has.

    ``read``: the columns that the check reads, with the type that a value becomes; ``given``: the columns that may be
    written, with the type of a literal for them; ``defaults``: what stands in a column for which there is no value, of
    those that the check reads and where it is a constant. All are engine text.
    """

    read: Mapping[str, str]
    given: Mapping[str, str]
    defaults: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """What a write is held to. Every fragment is an expression over the relation under the key's ``alias``.

    ``guard``: the relation as the caller sees it, under that alias. ``seen``: the rows that the caller sees. ``shown``:
    masked columns as the caller sees them. ``touch``: the rows that the action may touch. ``check``: what a row must
    satisfy afterwards. None: all rows, anything. ``refusal``: a boolean that always raises 44000. ``ahead``: None where
    nothing is to be asked of a row's values before it is written, or nothing can. ``settled``: by ``touch`` and
    ``ahead`` it is certain before a row is written that it satisfies ``check``.
    """

    guard: Guard
    seen: Fragment | None
    shown: Mapping[str, Fragment]
    touch: Fragment | None
    check: Fragment | None
    refusal: Fragment
    ahead: Ahead | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class TargetTexts:
    """A Target as engine text, with the statement's parameter numbers; ``guard`` is a guard's body."""

    guard: str
    touch: str | None
    check: str | None
    refusal: str
    ahead: Ahead | None = None
    settled: bool = False
