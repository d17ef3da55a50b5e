"""Why a row, and each of its cells, is shown to a caller or not: for stewards, never for callers.

Nothing is judged here. The decision is the one that statements get, and each of its conditions is compiled as it is for
a guard and asked of the one row, all in one statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from datagate.backends.postgres.consents import CONSENTS
from datagate.backends.postgres.guards import compile_filter, quote, row_relation
from datagate.backends.postgres.predicate import spell_parameter
from datagate.errors import DataError, InternalError, Refused, UndefinedColumn, UndefinedRelation
from datagate.gate.rights import Rights
from datagate.gate.shared import Shared
from datagate.gate.trace import spelled_mask, spelled_value, trace
from datagate.gate.why_denied import what_would_permit
from datagate.model.caller import Caller
from datagate.model.decision import TRUE, AllOf, AnyOf, ConsentLive, Decision, Filter, Outcome, RefersTo, Where
from datagate.model.fragment import Fragment
from datagate.model.names import RelationName
from datagate.model.policy import RelationPolicy
from datagate.model.source import SourceRef


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on the row.

    ``rule`` is the rule or scope that sets it, ``sources`` where; ``change`` what would make it hold.
    """

    text: str
    rule: str
    sources: tuple[SourceRef, ...]
    holds: bool
    change: str


@dataclass(frozen=True, slots=True)
class WhyCell:
    """One cell: ``shown`` is ``raw``, ``masked`` or ``hidden``; ``how`` names the mask, or says why it is hidden."""

    column: str
    shown: str
    how: str
    sources: tuple[SourceRef, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """Whether a row is shown, and why.

    ``exists``: there is a row with that key. ``denied``: the relation is denied altogether, for this reason.
    ``hidden_by``: of ``conditions`` those that would have to hold for the row to be shown. ``change``: what would.
    """

    relation: RelationName
    key: tuple[str, ...]
    caller: Caller
    exists: bool
    shown: bool
    denied: str | None
    conditions: tuple[Condition, ...]
    hidden_by: tuple[Condition, ...]
    cells: tuple[WhyCell, ...]
    change: tuple[str, ...]
    policy_version: str


@dataclass(frozen=True, slots=True)
class _Path:
    """The references that lead from the row to the one that a condition is about."""

    steps: tuple[RefersTo, ...] = ()

    def wrap(self, wanted: Filter) -> Filter:
        for step in reversed(self.steps):
            wanted = replace(step, filter=wanted)
        return wanted


class Inquiry:
    """Asks about rows of one relation for one caller, by one reading of policies and facts.

    Args:
        gate: Whose policies and state decide.
        caller: For whom.
        relation: Of whose rows.
        connection: A steward's, to the data's database.

    Raises:
        UndefinedRelation: There is no such relation, or it has no policy.
        UndefinedColumn: It has no primary key by which a row could be named.
    """

    def __init__(
        self, gate: Shared, caller: Caller, relation: RelationName, connection: psycopg.Connection[Any]
    ) -> None:
        self._shared = gate.current
        found = self._shared.catalog.relations.get(relation)
        owner = None if found is None else self._shared.policy_relation(found)
        if found is None or owner is None:
            raise UndefinedRelation(f"{relation} does not exist, or has no policy")
        if not found.primary_key:
            raise UndefinedColumn(f"{relation} has no primary key to find a row by")
        self._relation, self._caller, self._connection = found, caller, connection
        self._policy: RelationPolicy = self._shared.policies.relations[owner]
        self._rights = Rights(self._shared, caller)
        self._decision = self._rights.decision(owner)
        self._asked: dict[Filter, int] = {}
        self._wanted: list[Fragment] = []
        self._subjects: dict[tuple[_Path, str], int] = {}
        if self._decision.outcome is Outcome.PERMIT:
            self._collect()

    def row(self, key: Sequence[str]) -> Why:
        """Why the row of that primary key is shown or not; DataError where the key does not fit the relation's."""
        if len(key) != len(self._relation.primary_key):
            names = ", ".join(self._relation.primary_key)
            raise DataError(f"the key of {self._relation.name} is ({names}): {len(self._relation.primary_key)} values")
        answers = self._answers(tuple(key))
        denial = self._decision.denial
        why = Why(
            relation=self._relation.name,
            key=tuple(key),
            caller=self._caller,
            exists=answers is not None,
            shown=False,
            denied=None if denial is None else f"{denial.reason.value}: {denial.detail}",
            conditions=(),
            hidden_by=(),
            cells=(),
            change=() if denial is None else what_would_permit(denial, self._policy, self._caller),
            policy_version=self._shared.policies.version,
        )
        if answers is None or denial is not None:
            return why
        holds = answers[self._asked[self._decision.filter]]
        conditions = tuple(self._conditions(self._decision.filter, _Path(), answers))
        hidden_by = () if holds else tuple(dict.fromkeys(self._failing(self._decision.filter, _Path(), answers)))
        return replace(
            why,
            shown=bool(holds),
            conditions=conditions,
            hidden_by=hidden_by,
            cells=tuple(self._cells(answers, shown=bool(holds))),
            change=tuple(dict.fromkeys(each.change for each in hidden_by)),
        )

    def _collect(self) -> None:
        """Note everything that has to be asked of a row."""
        self._ask(self._decision.filter)
        self._walk(self._decision.filter, _Path())
        for column in self._decision.columns:
            for case in column.cases:
                self._ask(case.when)

    def _walk(self, wanted: Filter, path: _Path) -> None:
        self._ask(path.wrap(wanted))
        match wanted:
            case AllOf(parts) | AnyOf(parts):
                for part in parts:
                    self._walk(part, path)
            case RefersTo():
                below = _Path((*path.steps, wanted))
                self._ask(below.wrap(TRUE))
                self._walk(wanted.filter, below)
            case ConsentLive(column=column):
                if (path, column) not in self._subjects:
                    self._subjects[path, column] = len(self._wanted)
                    self._wanted.append(Fragment.of(self._data_subject(path.steps, column, "g", 0)))
            case Where():
                return

    def _ask(self, wanted: Filter) -> None:
        if wanted not in self._asked:
            self._asked[wanted] = len(self._wanted)
            consents = CONSENTS if self._shared.state_within else None
            body = compile_filter(wanted, self._decision, self._relation, self._shared.catalog, consents, "g")
            self._wanted.append(Fragment.of("((", body, ") IS TRUE)"))

    def _data_subject(self, steps: Sequence[RefersTo], column: str, alias: str, depth: int) -> str:
        """SQL for the key of the data subject that a consent is asked of, where it stands behind references too."""
        if not steps:
            return f"{alias}.{quote(column)}::pg_catalog.text"
        step, inner = steps[0], f"g{depth + 1}"
        there = self._shared.catalog.relations[step.relation]
        keys = " AND ".join(
            f"{inner}.{quote(other)} OPERATOR(pg_catalog.=) {alias}.{quote(own)}" for own, other in step.on
        )
        value = self._data_subject(steps[1:], column, inner, depth + 1)
        return f"(SELECT {value} FROM {row_relation(there)} AS {inner} WHERE {keys} LIMIT 1)"

    def _answers(self, key: tuple[str, ...]) -> tuple[Any, ...] | None:
        """What the row says to everything that was asked; None: there is no such row."""
        targets = Fragment.join(", ", [Fragment.of("true"), *self._wanted])
        numbers = {binding: number for number, binding in enumerate(targets.bindings, 1)}
        values = [self._rights.value(binding, (self._decision,)) for binding in numbers]
        parts = []
        for offset, name in enumerate(self._relation.primary_key, len(numbers) + 1):
            column = self._relation.column(name)
            if column is None:
                raise InternalError("a primary key has a column that the relation has not")
            parts.append(f"g.{quote(name)} = CAST(${offset}::pg_catalog.text AS {column.type_text})")
        text = (
            f"SELECT {targets.render(lambda binding: spell_parameter(binding, numbers[binding]))}"
            f" FROM {row_relation(self._relation)} AS g WHERE {' AND '.join(parts)}"
        )
        sent = [list(value) if isinstance(value, tuple) else value for value in values]
        try:
            row = psycopg.RawCursor(self._connection).execute(text, [*sent, *key]).fetchone()
        except psycopg.DataError as error:
            raise DataError(f"that is no key of {self._relation.name}: {error.diag.message_primary}") from None
        except psycopg.errors.InsufficientPrivilege as error:
            what = "why needs a steward's connection, which may read the row, and the schema datagate"
            raise Refused(f"{what}: {error.diag.message_primary}") from None
        return None if row is None else tuple(row[1:])

    def _conditions(self, wanted: Filter, path: _Path, answers: tuple[Any, ...]) -> Iterator[Condition]:
        """Every leaf, whether it holds or not."""
        match wanted:
            case AllOf(parts) | AnyOf(parts):
                for part in parts:
                    yield from self._conditions(part, path, answers)
            case RefersTo():
                below = _Path((*path.steps, wanted))
                yield self._reference(wanted, below, answers)
                yield from self._conditions(wanted.filter, below, answers)
            case Where():
                yield self._predicate(wanted, path, answers)
            case ConsentLive():
                yield self._consent(wanted, path, answers)

    def _failing(self, wanted: Filter, path: _Path, answers: tuple[Any, ...]) -> Iterator[Condition]:
        """The leaves that keep a filter from being true."""
        if answers[self._asked[path.wrap(wanted)]]:
            return
        match wanted:
            case AllOf(parts) | AnyOf(parts):
                if not parts:
                    yield self._nothing()
                for part in parts:
                    yield from self._failing(part, path, answers)
            case RefersTo():
                below = _Path((*path.steps, wanted))
                reference = self._reference(wanted, below, answers)
                if reference.holds:
                    yield from self._failing(wanted.filter, below, answers)
                else:
                    yield reference
            case Where():
                yield self._predicate(wanted, path, answers)
            case ConsentLive():
                yield self._consent(wanted, path, answers)

    def _predicate(self, where: Where, path: _Path, answers: tuple[Any, ...]) -> Condition:
        values = self._decision.bindings
        told = [f":{name} is {spelled_value(values[binding].value)}" for name, binding in where.bindings]
        text = where.predicate.text + (f"  [{', '.join(told)}]" if told else "")
        owner = path.steps[-1].relation if path.steps else self._policy.relation
        columns = ", ".join(where.predicate.columns)
        change = f"a row of {owner} for which {text} holds" + (f" (columns {columns})" if columns else "")
        if told:
            change += ", or other values of " + ", ".join(f":{name}" for name, _ in where.bindings)
        holds = bool(answers[self._asked[path.wrap(where)]])
        return Condition(text, self._set_by(where.predicate.source), (where.predicate.source,), holds, change)

    def _reference(self, there: RefersTo, below: _Path, answers: tuple[Any, ...]) -> Condition:
        keys = ", ".join(own if own == other else f"{own} = {other}" for own, other in there.on)
        sources = self._through(there)
        return Condition(
            text=f"there is a row of {there.relation} (by {keys})",
            rule=self._set_by(sources[0]) if sources else "",
            sources=sources,
            holds=bool(answers[self._asked[below.wrap(TRUE)]]),
            change=f"a row of {there.relation} with that {keys}",
        )

    def _consent(self, asked: ConsentLive, path: _Path, answers: tuple[Any, ...]) -> Condition:
        """A consent, with the nearest answer and its record."""
        data_subject = answers[self._subjects[path, asked.column]]
        owner = path.steps[-1].relation if path.steps else self._policy.relation
        rules = [
            rule
            for rule in self._shared.policies.relations[owner].rules
            if rule.consent and (not rule.purposes or rule.purposes & set(asked.purposes))
        ]
        found = "nobody is named" if data_subject is None else self._nearest_answer(data_subject, asked)
        change = f"consent of {data_subject}: datagate consent grant {data_subject} {asked.purposes[0]}"
        return Condition(
            text=f"{data_subject} ({asked.column}) consents to {asked.purposes[0]}: {found}",
            rule=", ".join(rule.name for rule in rules),
            sources=tuple(rule.source for rule in rules),
            holds=bool(answers[self._asked[path.wrap(asked)]]),
            change=f"a value of {asked.column} in {owner}" if data_subject is None else change,
        )

    def _nearest_answer(self, data_subject: str, asked: ConsentLive) -> str:
        now = self._rights.instant
        old = []
        for purpose in asked.purposes:
            for answer in self._shared.state.list_consents(data_subject, purpose):
                said = "yes" if answer.granted else "no"
                until = f" until {answer.valid_until:%Y-%m-%d %H:%M:%S%z}" if answer.valid_until is not None else ""
                record = f"{said} to {purpose} from {answer.valid_from:%Y-%m-%d %H:%M:%S%z}{until}"
                for what, limits in (("categories", answer.categories), ("recipients", answer.recipients)):
                    record += "" if limits is None else f", for the {what} {', '.join(limits) or 'none'} alone"
                if answer.valid_from <= now and (answer.valid_until is None or now < answer.valid_until):
                    return f"the nearest answer is {record}"
                old.append(record)
        return "no answer is in force" + (f" (but {'; '.join(old)})" if old else "")

    def _nothing(self) -> Condition:
        text = "no row is shown by the rules in play, or only through relations that are denied"
        sources = tuple(ref.source for ref in self._decision.rules)
        rules = ", ".join(ref.name for ref in self._decision.rules)
        return Condition(
            text, rules, sources, holds=False, change="other rules, or rights on the relation they refer to"
        )

    def _through(self, there: RefersTo) -> tuple[SourceRef, ...]:
        places = [
            rule.rows.source
            for policy in self._shared.policies.relations.values()
            for rule in policy.rules
            if rule.rows is not None and getattr(rule.rows, "relation", None) == there.relation
            and getattr(rule.rows, "on", None) == there.on
        ]  # fmt: skip
        return tuple(dict.fromkeys(places))

    def _set_by(self, source: SourceRef) -> str:
        """The rule or scope that has a row condition at a place."""
        for policy in self._shared.policies.relations.values():
            for rule in policy.rules:
                if rule.rows is not None and rule.rows.source == source:
                    return rule.name
        for scope in self._shared.policies.scopes.values():
            for handed in scope.relations.values():
                if handed.rows is not None and handed.rows.source == source:
                    return f"scope {scope.name}"
        return ""

    def _cells(self, answers: tuple[Any, ...], *, shown: bool) -> Iterator[WhyCell]:
        """Each column of the policy, as it is in this row."""
        scopes = [self._shared.policies.scopes[each.scope] for each in self._rights.facts.chain]
        traced = trace(self._decision, self._shared.policies, scopes)
        reasons = {name: hidden.why for hidden in traced.hidden for name in hidden.names}
        decided = {column.name: column for column in self._decision.columns}
        for name, _ in self._policy.columns:
            if name in reasons:
                yield WhyCell(name, "hidden", reasons[name].text, reasons[name].sources)
                continue
            case = next((case for case in decided[name].cases if answers[self._asked[case.when]]), None)
            if not shown:
                yield WhyCell(name, "hidden", "its row is hidden", ())
            elif case is None:
                rules = tuple(ref.source for ref in self._decision.rules)
                yield WhyCell(name, "hidden", "no rule that matches this row shows it", rules)
            elif case.masks:
                how = " then ".join(map(spelled_mask, case.masks))
                yield WhyCell(name, "masked", how, tuple(mask.source for mask in case.masks))
            else:
                yield WhyCell(name, "raw", "as it is", self._raw(name))

    def _raw(self, column: str) -> tuple[SourceRef, ...]:
        places = {ref.source for ref in self._decision.rules}
        rules = [rule for rule in self._policy.rules if rule.source in places]
        return tuple(rule.source for rule in rules if column in rule.show and rule.mask(column) is None)

    @property
    def decision(self) -> Decision:
        """What all answers come from."""
        return self._decision


def why(
    gate: Shared, caller: Caller, relation: RelationName, key: Sequence[str], connection: psycopg.Connection[Any]
) -> Why:
    """Why one row is shown to a caller or not; arguments and errors as for :class:`Inquiry`."""
    return Inquiry(gate, caller, relation, connection).row(key)
