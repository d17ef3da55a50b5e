"""Makes empty tables for policies where their own database is not at hand, so that examples can be run anywhere.

A column's type is the one that its file's ``types`` says, else what its example values, the masks on it and the
columns that it refers to tell, else text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import psycopg

from datagate.backends.postgres.guards import quote
from datagate.errors import Problem
from datagate.model.mask import MaskKind
from datagate.model.names import RelationName
from datagate.model.policy import PolicySet, RelationPolicy, Through
from datagate.policy.cells import Cell
from datagate.policy.examples import Examples

_TYPE = re.compile(r'[\w."][\w. "]*(\( *\d+ *(, *-?\d+ *)?\))?[\w ]*(\[\d*\])*', re.ASCII)
_BY_MASK: Mapping[MaskKind, str] = {
    MaskKind.IP_PREFIX: "inet",
    MaskKind.JSON: "jsonb",
    MaskKind.ROUND: "numeric",
    MaskKind.BUCKET: "numeric",
}
_CLOCK = re.compile(r"\d\d:\d\d")
_TEXT = "text"

_Place = tuple[RelationName, str]


def create_scratch(
    connection: psycopg.Connection[Any], policies: PolicySet, examples: Sequence[Examples]
) -> list[Problem]:
    """Create a table for each relation that has a policy; the types that the server does not know, sorted.

    The connection is in autocommit mode, to a database without those relations.
    """
    problems = [problem for each in examples for problem in _unknown_types(connection, each)]
    if problems:
        return sorted(problems)
    types = _column_types(policies, examples)
    for schema in {relation.schema for relation in policies.relations}:
        _run(connection, f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
    for relation, policy in policies.relations.items():
        columns = ", ".join(f"{quote(name)} {types.get((relation, name), _TEXT)}" for name, _ in policy.columns)
        _run(connection, f"CREATE TABLE {quote(relation.schema)}.{quote(relation.name)} ({columns})")
    return []


def _unknown_types(connection: psycopg.Connection[Any], examples: Examples) -> Iterator[Problem]:
    for column, type_ in examples.types.items():
        known = _TYPE.fullmatch(type_) is not None
        if known:
            try:
                _run(connection, f"SELECT NULL::{type_}")
            except psycopg.Error:
                known = False
        if not known:
            what = f"type {type_!r} of column {column} is not known to a bare PostgreSQL"
            yield Problem(examples.source, f"{what}; mend it, or give --dsn of the database that has it")


def _run(connection: psycopg.Connection[Any], statement: str) -> None:
    psycopg.RawCursor(connection).execute(statement)


def _column_types(policies: PolicySet, examples: Sequence[Examples]) -> Mapping[_Place, str]:
    values: dict[_Place, list[Cell]] = {}
    for row in chain.from_iterable((*each.rows, *each.given) for each in examples):
        for column, cell in row.cells.items():
            if cell is not None:
                values.setdefault((row.relation, column), []).append(cell)
    types: dict[_Place, str] = {}
    for relation, policy in policies.relations.items():
        for column, _ in policy.columns:
            found = _by_values(values.get((relation, column), []))
            if found in {None, _TEXT}:
                found = _by_masks(policy, column, values.get((relation, column), [])) or found
            if found is not None:
                types[relation, column] = found
    for each in examples:
        types.update({(each.relation, column): type_ for column, type_ in each.types.items()})
    return _follow_references(policies, types)


def _by_values(cells: Sequence[Cell]) -> str | None:
    """The type that takes all of the values; None where there is none."""
    if not cells:
        return None
    if all(isinstance(cell, bool) for cell in cells):
        return "boolean"
    if any(isinstance(cell, dict | list) for cell in cells):
        return "jsonb"
    if any(isinstance(cell, bool | str) for cell in cells):
        return _TEXT
    return "numeric" if any(isinstance(cell, Decimal) for cell in cells) else "bigint"


def _by_masks(policy: RelationPolicy, column: str, cells: Sequence[Cell]) -> str | None:
    """The type that a mask on the column asks for; None where it fits text."""
    for rule in policy.rules:
        mask = rule.mask(column)
        if mask is None:
            continue
        if mask.kind is MaskKind.TRUNCATE:
            return "timestamptz" if any(_CLOCK.search(str(cell)) for cell in cells) or not cells else "date"
        if mask.kind in _BY_MASK:
            return _BY_MASK[mask.kind]
    return None


def _follow_references(policies: PolicySet, types: dict[_Place, str]) -> Mapping[_Place, str]:
    """A column that nothing is known of has the type of the one that it refers to."""
    for relation, policy in policies.relations.items():
        for through in (rule.rows for rule in policy.rules if isinstance(rule.rows, Through)):
            for own, there in through.on:
                pair = ((relation, own), (through.relation, there))
                for one, other in (pair, pair[::-1]):
                    if one not in types and other in types:
                        types[one] = types[other]
    return types
