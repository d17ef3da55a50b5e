"""A policy file's ``examples``: rows by name, callers, and what each of them sees.

Running them needs an engine and is the road's business; here they are read, checked against the policies' words, and
compared with what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from datagate.errors import Problem
from datagate.model.caller import ActorKind
from datagate.model.names import Purpose, RelationName
from datagate.model.source import SourceRef
from datagate.model.values import AttributeValue
from datagate.policy.cells import Cell, same

Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A row, by the name that cases know it by; columns that it leaves out are NULL."""

    name: str
    relation: RelationName
    cells: Row
    source: SourceRef


@dataclass(frozen=True, slots=True)
class Party:
    """A principal or actor as a case describes it; attribute values have their declared types."""

    id: str
    roles: frozenset[str]
    attributes: Mapping[str, AttributeValue]


class MandateState(Enum):
    """Whether the case's mandate holds at the moment of the statement."""

    LIVE = "live"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ExampleMandate:
    """The mandate under which a case's actor acts for its principal."""

    scope: str
    parameters: Mapping[str, AttributeValue]
    purposes: frozenset[Purpose]
    state: MandateState


@dataclass(frozen=True, slots=True)
class ExampleCase:
    """One question and its answer.

    ``actor`` is the principal itself unless there is a mandate. ``consents``: the rows whose data subjects
    have said yes to ``purpose``. ``sees`` None: denied. ``hides``: columns that do not exist for the caller.
    ``cells``: what some cells of a row show, by row name and column.
    """

    principal: Party
    actor: Party
    actor_kind: ActorKind
    mandate: ExampleMandate | None
    purpose: Purpose | None
    consents: tuple[str, ...]
    sees: tuple[str, ...] | None
    hides: tuple[str, ...]
    cells: Mapping[str, Row]
    source: SourceRef


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of one relation.

    ``rows`` are the relation's own, ``given`` those of other relations; their names are distinct.
    ``types``: the SQL types of columns, as far as the file says.
    """

    relation: RelationName
    types: Mapping[str, str]
    rows: tuple[ExampleRow, ...]
    given: tuple[ExampleRow, ...]
    cases: tuple[ExampleCase, ...]
    source: SourceRef

    def row(self, name: str) -> ExampleRow | None:
        """The row of that name, own or given, or None."""
        return next((row for row in (*self.rows, *self.given) if row.name == name), None)


Seen = Mapping[str, Mapping[str, object]] | None
"""What a case's caller saw: by row name the cells of all columns that exist for it; None if it was denied."""


def compare(case: ExampleCase, seen: Seen) -> list[Problem]:
    """What was seen against what the case says; no problems: the example holds."""
    if case.sees is None:
        if seen is None:
            return []
        names = ", ".join(sorted(seen)) or "no rows, without a refusal"
        return [Problem(case.source, f"should be denied, sees {names}; mend the rules or the example")]
    if seen is None:
        return [Problem(case.source, "is denied, should not be; mend the rules or the example")]
    problems: list[Problem] = []
    mend = "mend the rules or the example"
    missing, surplus = sorted(set(case.sees) - set(seen)), sorted(set(seen) - set(case.sees))
    if missing:
        problems.append(Problem(case.source, f"should see {', '.join(missing)}, does not; {mend}"))
    if surplus:
        problems.append(Problem(case.source, f"sees {', '.join(surplus)}, should not; {mend}"))
    for name, cells in seen.items():
        problems.extend(_compare_row(case, name, cells))
    return problems


def _compare_row(case: ExampleCase, name: str, cells: Mapping[str, object]) -> list[Problem]:
    problems = [
        Problem(case.source, f"{name}: column {column} should not exist, it does; mend the rules or the example")
        for column in case.hides
        if column in cells
    ]
    for column, wanted in case.cells.get(name, {}).items():
        if column not in cells:
            problems.append(Problem(case.source, f"{name}: column {column} does not exist for this caller"))
        elif not same(wanted, cells[column]):
            what = f"{name}.{column} shows {cells[column]!r}, should show {wanted!r}"
            problems.append(Problem(case.source, f"{what}; mend the rules or the example"))
    return problems
