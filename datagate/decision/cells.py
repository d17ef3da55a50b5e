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
    for column, _ in policy.columns:
        narrowing = [mask for rule in restricts if (mask := rule.mask(column)) is not None]
        if any(mask.kind is MaskKind.HIDE for mask in narrowing):
            continue
        cases = [CellCase(case.when, (*case.masks, *narrowing)) for case in _cases(column, granted)]
        if cases:
            shown.append(ColumnDecision(column, settle(cases, condition)))
    return tuple(shown)


def intersect(
    wide: Sequence[ColumnDecision], narrow: Sequence[ColumnDecision], condition: Filter
) -> tuple[ColumnDecision, ...]:
    """The columns that both show, each cell under the masks of both, those of ``wide`` first.

    A mask that both put on a cell is one mask, not two: a pseudonym stays what it is elsewhere, and joins still work.
    """
    others = {column.name: column.cases for column in narrow}
    out: list[ColumnDecision] = []
    for column in wide:
        # In order of (wide, narrow), the first pair of which both are true joins the first true case of either.
        cases = [
            CellCase(all_of(mine.when, theirs.when), _masks_of_both(mine.masks, theirs.masks))
            for mine in column.cases
            for theirs in others.get(column.name, ())
        ]
        if cases:
            out.append(ColumnDecision(column.name, settle(cases, condition)))
    return tuple(out)


def settle(cases: Iterable[CellCase], condition: Filter) -> tuple[CellCase, ...]:
    """The same cells in rows for which ``condition`` holds, with as few and as simple cases as can be told.

    At least one case stays: its masks say the column's type, also where no row ever shows it.
    """
    every = tuple(cases)
    out: list[CellCase] = []
    before: Filter = FALSE
    for case in every:
        if implies(case.when, before):
            continue
        if out and _same_masks(out[-1].masks, case.masks):
            out[-1] = CellCase(any_of(out[-1].when, case.when), out[-1].masks)
        else:
            out.append(case)
        before = any_of(before, case.when)
        if implies(condition, before):
            # Some case is true and those above are not, so this one is.
            out[-1] = CellCase(TRUE, out[-1].masks)
            break
    return tuple(out) or (CellCase(TRUE if condition == FALSE else FALSE, every[0].masks),)


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
    return [*map(_meaning, first)] == [*map(_meaning, second)]


def _meaning(mask: Mask) -> tuple[object, ...]:
    """What a mask does, wherever it was written."""
    return mask.kind, mask.options
