"""How each column is shown: per row by the first matching permit (raw wins), then narrowed by every restrict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datagate.decision.filters import FALSE, TRUE, all_of, any_of, implies
from datagate.model.decision import CellCase, ColumnDecision, Filter
from datagate.model.mask import Mask, MaskKind
from datagate.model.policy import RelationPolicy, Rule


@dataclass(frozen=True, slots=True)
class Granted:
    """A permit in play and the rows that it is true for."""

    permit: Rule
    rows: Filter


def columns_shown(
    policy: RelationPolicy, granted: Sequence[Granted], restricts: Sequence[Rule], condition: Filter
) -> tuple[ColumnDecision, ...]:
    """The columns that exist, in the policy's order; ``condition`` is the row filter that holds for all rows shown."""
    shown: list[ColumnDecision] = []
    coverage = Coverage(condition)
    for column, _ in policy.columns:
        narrowing = [mask for rule in restricts if (mask := rule.mask(column)) is not None]
        if any(mask.kind is MaskKind.HIDE for mask in narrowing):
            continue
        cases = [CellCase(case.when, (*case.masks, *narrowing)) for case in _cases(column, granted)]
        if cases:
            shown.append(ColumnDecision(column, settle(cases, coverage)))
    return tuple(shown)


def intersect(
    wide: Sequence[ColumnDecision], narrow: Sequence[ColumnDecision], condition: Filter
) -> tuple[ColumnDecision, ...]:
    """The columns that both show, each cell under the masks of both, those of ``wide`` first.

    A mask that both put on a cell is one mask, not two: a pseudonym stays what it is elsewhere, and joins still work.
    """
    others = {column.name: column.cases for column in narrow}
    out: list[ColumnDecision] = []
    coverage = Coverage(condition)
    for column in wide:
        # In order of (wide, narrow), the first pair of which both are true joins the first true case of either.
        cases = [
            CellCase(all_of(mine.when, theirs.when), _masks_of_both(mine.masks, theirs.masks))
            for mine in column.cases
            for theirs in others.get(column.name, ())
        ]
        if cases:
            out.append(ColumnDecision(column.name, settle(cases, coverage)))
    return tuple(out)


class Coverage:
    """What cases above one another cover of the rows for which ``condition`` holds.

    Most columns of a relation ask the same, so each question is answered once per object, not per column.
    """

    def __init__(self, condition: Filter) -> None:
        self.condition = condition
        self._steps: dict[tuple[int, int], _Step] = {}

    def step(self, before: Filter, when: Filter) -> _Step:
        """One case further down, ``before`` being what the cases above it cover."""
        # Keyed by identity, which is sound while the step itself keeps both alive.
        step = self._steps.get((id(before), id(when)))
        if step is None:
            after = when if before is FALSE else any_of(before, when)
            step = _Step(before, when, after, implies(when, before), implies(self.condition, after))
            self._steps[id(before), id(when)] = step
        return step


@dataclass(frozen=True, slots=True)
class _Step:
    """``idle``: the case adds no row. ``complete``: with it, all rows are covered."""

    before: Filter
    when: Filter
    after: Filter
    idle: bool
    complete: bool


def settle(cases: Iterable[CellCase], coverage: Coverage) -> tuple[CellCase, ...]:
    """The same cells in the covered rows, with as few and as simple cases as can be told.

    At least one case stays: its masks say the column's type, also where no row ever shows it.
    """
    every = tuple(cases)
    kept: list[tuple[list[Filter], tuple[Mask, ...]]] = []
    before: Filter = FALSE
    for case in every:
        step = coverage.step(before, case.when)
        if step.idle:
            continue
        if kept and _same_masks(kept[-1][1], case.masks):
            kept[-1][0].append(case.when)
        else:
            kept.append(([case.when], case.masks))
        before = step.after
        if step.complete:
            # Some case is true and those above are not, so this one is.
            kept[-1] = ([TRUE], kept[-1][1])
            break
    out = tuple(CellCase(whens[0] if len(whens) == 1 else any_of(*whens), masks) for whens, masks in kept)
    return out or (CellCase(TRUE if coverage.condition == FALSE else FALSE, every[0].masks),)


def _cases(column: str, granted: Sequence[Granted]) -> list[CellCase]:
    raw: list[CellCase] = []
    masked: list[CellCase] = []
    for grant in granted:
        if column not in grant.permit.show:
            continue
        mask = grant.permit.mask(column)
        if mask is None:
            raw.append(CellCase(grant.rows, ()))
        elif mask.kind is not MaskKind.HIDE:
            masked.append(CellCase(grant.rows, (mask,)))
    return raw + masked


def _masks_of_both(first: tuple[Mask, ...], second: tuple[Mask, ...]) -> tuple[Mask, ...]:
    unmatched = [_meaning(mask) for mask in first]
    added: list[Mask] = []
    for mask in second:
        if _meaning(mask) in unmatched:
            unmatched.remove(_meaning(mask))
        else:
            added.append(mask)
    return (*first, *added)


def _same_masks(first: tuple[Mask, ...], second: tuple[Mask, ...]) -> bool:
    return len(first) == len(second) and all(_meaning(a) == _meaning(b) for a, b in zip(first, second, strict=True))


def _meaning(mask: Mask) -> tuple[object, ...]:
    """What a mask does, wherever it was written."""
    return mask.kind, mask.options
