"""Rows of the state's tables and of their histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select

from datagate.stores.records import Fact

Noun = TypeVar("Noun")


def rows_of(
    connection: Connection, query: Select[Any], given: Mapping[str, str | None], order: Sequence[str]
) -> Sequence[Row[Any]]:
    """The rows of a query in which each given column has the given value (None: any), in the order of some columns."""
    for name, value in given.items():
        if value is not None:
            query = query.where(query.selected_columns[name] == value)
    return connection.execute(query.order_by(*(query.selected_columns[name] for name in order))).all()


def fact_of(row: Row[Any], what: Noun) -> Fact[Noun]:
    """A row of a history, about what it says."""
    return Fact(row.fact, row.recorded_at, row.recorded_by, row.why, bool(row.present), what)
