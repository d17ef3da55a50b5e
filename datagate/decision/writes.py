"""Which columns may be written, which rows may be touched, and what a new row must satisfy.

A cell may be written where some permit for the action lists its column without masking it, no restrict in play masks
the column, and the caller sees the cell as it is: a mask that is written would replace the value behind it, and who
does not see a cell must not write it blindly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datagate.decision.cells import Granted
from datagate.decision.filters import all_of, any_of
from datagate.model.decision import ColumnDecision, ColumnWrite, Decision, Filter
from datagate.model.policy import Action, RelationPolicy, Rule


def columns_written(
    policy: RelationPolicy, action: Action, granted: Sequence[Granted], restricts: Sequence[Rule]
) -> tuple[ColumnWrite, ...]:
    """The columns that the rules let an INSERT or UPDATE set, each with the rows for which they do."""
    out: list[ColumnWrite] = []
    for column, _ in policy.columns:
        if any(rule.mask(column) is not None for rule in restricts):
            continue
        listing = [each for each in granted if column in _listed(each.permit, action)]
        rows = [each.rows for each in listing if each.permit.mask(column) is None]
        if rows:
            out.append(ColumnWrite(column, any_of(*rows)))
    return tuple(out)


def written_by_both(wide: Sequence[ColumnWrite], narrow: Sequence[ColumnWrite]) -> tuple[ColumnWrite, ...]:
    """The columns that both may set, where both may."""
    others = {each.name: each.when for each in narrow}
    return tuple(ColumnWrite(each.name, all_of(each.when, others[each.name])) for each in wide if each.name in others)


def not_writable(seen: Decision, decided: Decision, columns: Iterable[str]) -> list[str]:
    """Those of the columns that the action may not set in any row.

    Args:
        seen: the decision on reading the relation.
        decided: the decision on the action.
        columns: the columns that a statement sets.
    """
    listed = {each.name for each in decided.writes}
    raw = {each.name for each in seen.columns if _raw_rows(each) is not None}
    return sorted(column for column in columns if column not in listed or column not in raw)


def touchable(seen: Decision, decided: Decision, columns: Iterable[str]) -> Filter:
    """The rows that a statement which sets these columns may touch: seen, permitted, and each cell seen raw.

    The same must hold of the row afterwards (as WITH CHECK asks in PostgreSQL, manual 5.9).
    """
    return all_of(seen.filter, decided.filter, *_cells(seen, decided, columns))


def insertable(seen: Decision, decided: Decision, columns: Iterable[str], *, returning: bool) -> Filter:
    """What a new row must satisfy; ``returning``: it is shown, so it must also be one that the caller sees."""
    shown = (seen.filter,) if returning else ()
    return all_of(decided.filter, *_cells(seen, decided, columns), *shown)


def never_raw(column: ColumnDecision) -> bool:
    """Whether there is no row in which the column is certainly shown as it is."""
    return _raw_rows(column) is None


def _cells(seen: Decision, decided: Decision, columns: Iterable[str]) -> list[Filter]:
    wanted = set(columns)
    out = [each.when for each in decided.writes if each.name in wanted]
    for column in seen.columns:
        raw = _raw_rows(column)
        if column.name in wanted and raw is not None:
            out.append(raw)
    return out


def _raw_rows(column: ColumnDecision) -> Filter | None:
    """Where a cell is certainly shown raw: the raw cases that stand above every masked one; None where none does."""
    leading = []
    for case in column.cases:
        if case.masks:
            break
        leading.append(case.when)
    return any_of(*leading) if leading else None


def _listed(permit: Rule, action: Action) -> frozenset[str]:
    match action:
        case Action.INSERT:
            return permit.insert
        case Action.UPDATE:
            return permit.update
        case Action.SELECT | Action.DELETE:
            return frozenset()
