"""Leaves out of the INSERTs that the ORM makes what nobody gave a value.

For an object without a value for a column the ORM writes NULL, also where the caller may not write that column. Such a
NULL is not the caller's word: the column is left to the table's own default. What he gave a value stays, and is refused
if he may not write it; so do INSERTs of his own making. In the same way what the database is asked to give back, for
columns that it fills in by itself, is what the caller sees of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert, Table, Update

from datagate.frontends.orm.outlook import Lane

Rows = Sequence[Mapping[str, Any]]


def leave_out(lane: Lane, statement: Insert | Update, rows: Rows) -> tuple[Insert | Update, Rows]:
    """A statement of the unit of work as it is, and its parameters without what was left empty."""
    table = statement.table
    sight = lane.sight(table) if isinstance(table, Table) else None
    if sight is None:
        return statement, rows
    statement = _returnable(statement, sight.columns)
    if not rows or isinstance(statement, Update):
        return statement, rows
    refused = [each.key for each in table.c if each.name not in sight.insertable]
    empty = {key for key in refused if key in rows[0] and all(given.get(key) is None for given in rows)}
    if not empty:
        return statement, rows
    return statement, [_without(given, empty) for given in rows]


def _returnable(statement: Any, columns: frozenset[str]) -> Any:
    """The statement, asking for nothing that the caller does not see."""
    asked, beside = statement._return_defaults_columns or (), statement._supplemental_returning or ()
    if all(each.name in columns for each in (*asked, *beside)):
        return statement
    out = statement._clone()
    out._return_defaults_columns = tuple(each for each in asked if each.name in columns)
    if statement._supplemental_returning is not None:
        out._supplemental_returning = tuple(each for each in beside if each.name in columns)
    if asked and not out._return_defaults_columns:
        # None would mean all: the key is what an INSERT is asked for in any case.
        out._return_defaults_columns = tuple(statement.table.primary_key)
    return out


def _without(given: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in keys}
