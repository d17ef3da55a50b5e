"""Runs policy files' examples on a PostgreSQL server: no table is read and nothing is written.

Each case is decided as for a caller, and its guard compiled as for a statement; only the rows come from the policy
file, as typed constants in place of the relations, and so do the consents. What the guard gives, the caller sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from datagate.backends.postgres.consents import ConsentSource
from datagate.backends.postgres.guards import compile_guard, quote
from datagate.backends.postgres.mask_types import constant
from datagate.backends.postgres.predicate import spell_parameter
from datagate.decision import decide
from datagate.errors import InternalError, Problem
from datagate.model.caller import Actor, Caller
from datagate.model.catalog import Catalog, Relation
from datagate.model.decision import Decision, Outcome, Request
from datagate.model.facts import Entitlements, Epoch, Facts, Mandate
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard
from datagate.model.names import MandateId, PrincipalId, RelationName
from datagate.model.policy import Action, PolicySet
from datagate.policy.cells import Cell
from datagate.policy.examples import ExampleCase, ExampleRow, Examples, MandateState, Party, Seen, compare

_MANDATE = MandateId("example")
_A_WHILE = timedelta(hours=1)
_SETTINGS = (
    "SET TRANSACTION READ ONLY",
    "SET LOCAL search_path = ''",
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO'",
)
# No example can state what a mask gives under a real key, so none is needed.
_PADS = {"inner": bytes([0x36]) * 64, "outer": bytes([0x5C]) * 64}


def run_examples(
    connection: psycopg.Connection[Any],
    policies: PolicySet,
    examples: Sequence[Examples],
    catalog: Catalog,
    instant: datetime,
) -> list[Problem]:
    """Every case in which the policies do not show what their examples say, sorted; none: all hold.

    Args:
        connection: to a server on which the policies' types and functions exist; what is begun is rolled back.
        policies: what decides.
        examples: what should be seen.
        catalog: has every relation that the policies name.
        instant: when the cases are asked, which should be about now: predicates may compare with the statement's time.
    """
    problems: list[Problem] = []
    with connection.transaction(force_rollback=True), psycopg.RawCursor(connection, row_factory=tuple_row) as cursor:
        for setting in _SETTINGS:
            cursor.execute(setting)
        for each in examples:
            stage = _Stage(connection, cursor, policies, each, catalog, instant)
            problems += stage.unfit_rows() or [problem for case in each.cases for problem in stage.run(case)]
    return sorted(problems)


@dataclass(frozen=True, slots=True)
class _Stage:
    """The rows of one relation's examples, set up so that cases can be asked."""

    connection: psycopg.Connection[Any]
    cursor: psycopg.RawCursor[tuple[Any, ...]]
    policies: PolicySet
    examples: Examples
    catalog: Catalog
    instant: datetime

    def unfit_rows(self) -> list[Problem]:
        """The rows that their relation's column types do not take; all are tried at once, since most fit."""
        every = (*self.examples.rows, *self.examples.given)
        by_relation = {row.relation: [each for each in every if each.relation == row.relation] for row in every}
        if not any(self._misfit(rows) for rows in by_relation.values()):
            return []
        found = [(row, self._misfit([row])) for row in every]
        return [Problem(row.source, f"row {row.name}: {why}; mend the row") for row, why in found if why]

    def _misfit(self, rows: Sequence[ExampleRow]) -> str | None:
        relation = self.catalog.relations[rows[0].relation]
        try:
            with self.connection.transaction():
                self.cursor.execute(f"SELECT * FROM {_rows_source(relation, rows)} AS r")
        except psycopg.Error as error:
            return _words_of(error)
        return None

    def run(self, case: ExampleCase) -> Iterator[Problem]:
        """What is wrong with one case."""
        orphans = [row for row in self._consenting(case) if self._data_subject(row) is None]
        for row in orphans:
            what = f"{row.relation} names no data_subject, so that nobody can consent for row {row.name}"
            yield Problem(case.source, f"{what}; add data_subject, or leave the row out of consents")
        if orphans:
            return
        try:
            yield from compare(case, self._seen(case))
        except psycopg.Error as error:
            yield Problem(case.source, f"cannot be run: {_words_of(error)}; mend the rules, or say the columns' types")
        except InternalError as error:
            yield Problem(case.source, f"cannot be run: {error.message}")

    def _seen(self, case: ExampleCase) -> Seen:
        """What the case's caller sees, by row name; None: denied."""
        caller = _caller(case)
        request = Request(caller, self.examples.relation, Action.SELECT, self.instant)
        decision = decide(request, self.policies, _facts(case, caller, self.instant))
        if decision.outcome is not Outcome.PERMIT:
            return None
        relation = self.catalog.relations[self.examples.relation]
        consents = ConsentSource(self._consents_source(case))
        guard = compile_guard(decision, relation, self.catalog, consents, source_of=self._source)
        return self._ask(decision, guard, _mark(relation))

    def _ask(self, decision: Decision, guard: Guard, mark: str) -> Seen:
        name = Fragment.of(f"g.{quote(mark)}")
        targets = Fragment.join(", ", [name, *guard.targets])
        body = Fragment.of("SELECT ", targets, f" FROM {guard.source} AS g", guard.after)
        numbers = {binding: number for number, binding in enumerate(body.bindings, 1)}
        text = body.render(lambda binding: spell_parameter(binding, numbers[binding]))
        values = [_value(binding, decision) for binding in numbers]
        with self.connection.transaction():
            rows = self.cursor.execute(text, values).fetchall()
        columns = [column.name for column in guard.columns]
        return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}

    def _source(self, relation: Relation) -> str:
        rows = [row for row in (*self.examples.rows, *self.examples.given) if row.relation == relation.name]
        return _rows_source(relation, rows)

    def _consenting(self, case: ExampleCase) -> list[ExampleRow]:
        return [row for name in case.consents if (row := self.examples.row(name)) is not None]

    def _data_subject(self, row: ExampleRow) -> str | None:
        policy = self.policies.relations.get(row.relation)
        return None if policy is None else policy.data_subject

    def _consents_source(self, case: ExampleCase) -> str:
        """The case's consents as rows like those of the state; keys get their text from the engine, as there."""
        keys = ["SELECT NULL::pg_catalog.text AS data_subject WHERE false"]
        by_relation: dict[RelationName, list[ExampleRow]] = {}
        for row in self._consenting(case):
            by_relation.setdefault(row.relation, []).append(row)
        for name, rows in by_relation.items():
            key = quote(self._data_subject(rows[0]) or "")
            keys.append(f"SELECT r.{key}::pg_catalog.text FROM {_rows_source(self.catalog.relations[name], rows)} AS r")
        return (
            "(SELECT s.data_subject, CASE WHEN s.data_subject OPERATOR(pg_catalog.~) '^-?[0-9]{1,18}$'"
            " THEN s.data_subject::pg_catalog.int8 END AS data_subject_number,"
            f" {_constant(case.purpose or '', 'text')} AS purpose, true AS granted,"
            f" {_constant('-infinity', 'timestamptz')} AS valid_from, NULL::pg_catalog.timestamptz AS valid_until,"
            " NULL::pg_catalog.text[] AS categories, NULL::pg_catalog.text[] AS recipients"
            f" FROM ({' UNION ALL '.join(keys)}) AS s)"
        )


def _rows_source(relation: Relation, rows: Sequence[ExampleRow]) -> str:
    """A FROM item with the rows, of the relation's own column types, and one column more for their names."""
    mark = _mark(relation)
    types = {column.name: column.base_type for column in relation.columns}
    objects = [
        {
            mark: row.name,
            **{name: _as_bytes(cell) if types[name] == "bytea" else cell for name, cell in row.cells.items()},
        }
        for row in rows
    ]
    columns = [f"{quote(column.name)} {column.type_text}" for column in relation.columns]
    shape = ", ".join([*columns, f"{quote(mark)} pg_catalog.text"])
    return f"(SELECT * FROM pg_catalog.jsonb_to_recordset({_constant(_json(objects), 'jsonb')}) AS r({shape}))"


def _mark(relation: Relation) -> str:
    """A column name that the relation does not have."""
    mark = "example"
    while relation.column(mark) is not None:
        mark += "_"
    return mark


def _as_bytes(cell: Cell) -> Cell:
    return f"\\x{cell}" if isinstance(cell, str) else cell


def _json(cell: object) -> str:
    """JSON text; numbers keep every digit."""
    match cell:
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)}: {_json(value)}" for name, value in cell.items()) + "}"
        case list():
            return "[" + ", ".join(map(_json, cell)) + "]"
        case Decimal():
            return str(cell) if cell.is_finite() else f'"{cell}"'
        case _:
            return json.dumps(cell)


def _constant(text: str, type_name: str) -> str:
    return constant(text, type_name).render(lambda binding: binding.name)


def _value(binding: Binding, decision: Decision) -> object:
    root, _, rest = binding.name.partition(".")
    if root == "key":
        return _PADS[rest.rpartition(".")[2]]
    if root == "purpose" and rest:
        return rest
    value = decision.bindings[binding.name].value
    return list(value) if isinstance(value, tuple) else value


def _caller(case: ExampleCase) -> Caller:
    return Caller(
        principal=PrincipalId(case.principal.id),
        actor=Actor(PrincipalId(case.actor.id), case.actor_kind),
        mandate=_MANDATE if case.mandate is not None else None,
        purpose=case.purpose,
    )


def _facts(case: ExampleCase, caller: Caller, instant: datetime) -> Facts:
    return Facts(
        principal=_entitlements(case.principal),
        actor=_entitlements(case.actor),
        chain=_chain(case, caller, instant),
        epoch=Epoch((), 0),
        valid_until=None,
    )


def _entitlements(party: Party) -> Entitlements:
    return Entitlements(party.roles, party.attributes)


def _chain(case: ExampleCase, caller: Caller, instant: datetime) -> tuple[Mandate, ...]:
    given = case.mandate
    if given is None:
        return ()
    ended = instant - _A_WHILE
    return (
        Mandate(
            id=_MANDATE,
            principal=caller.principal,
            holder=caller.actor.id,
            scope=given.scope,
            parameters=given.parameters,
            purposes=given.purposes,
            valid_from=instant - 2 * _A_WHILE,
            valid_until=ended if given.state is MandateState.EXPIRED else None,
            revoked_at=ended if given.state is MandateState.REVOKED else None,
            parent=None,
            sub_delegable=0,
            suspended_at=ended if given.state is MandateState.SUSPENDED else None,
        ),
    )


def _words_of(error: psycopg.Error) -> str:
    """The server's message, or psycopg's own where it could not read an answer."""
    return error.diag.message_primary or str(error)
