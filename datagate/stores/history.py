"""The history: every change of entitlements, consents and mandates as a fact of its own, which stays as it is.

Each fact says what stood under its key from ``recorded_at`` on (``present`` false: nothing did any more), who recorded
it (``recorded_by``) and why. The next fact under the same key is what replaced or ended it. On PostgreSQL and SQLite
triggers write facts, whoever makes the change; on other engines `StateStore` does. Plain SQL says who and why with
``SET datagate.by = '…'`` and ``SET datagate.why = '…'``; without, it is the database's session user.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    and_,
    func,
    select,
)

from datagate.stores.tables import Instant, Name, consents, entitlements, mandates, metadata

ABOUT = ("fact", "present", "recorded_at", "recorded_by", "why")
"""The columns that a history has before those of its table."""


def _history(table: Table) -> Table:
    keys = [column.name for column in table.primary_key]
    counted = BigInteger().with_variant(Integer, "sqlite")
    found = Table(
        f"{table.name.rstrip('s')}_history",
        metadata,
        Column("fact", counted, primary_key=True, autoincrement=True),
        Column("present", Boolean, nullable=False),
        Column("recorded_at", Instant, nullable=False),
        Column("recorded_by", Name, nullable=False),
        Column("why", Text),
        *(Column(column.name, column.type, nullable=column.name not in keys) for column in table.columns),
    )
    Index(f"{found.name}_by_key", *(found.c[key] for key in keys), found.c.fact)
    return found


entitlement_history = _history(entitlements)
consent_history = _history(consents)
mandate_history = _history(mandates)

HISTORIES: dict[str, Table] = {
    entitlements.name: entitlement_history,
    consents.name: consent_history,
    mandates.name: mandate_history,
}


def as_of(table: Table, instant: datetime) -> Select[Any]:
    """What the table held at a past instant, as a query with the table's own columns."""
    history = HISTORIES[table.name]
    keys = [history.c[column.name] for column in table.primary_key]
    last = select(func.max(history.c.fact).label("fact")).where(history.c.recorded_at <= instant)
    last_facts = last.group_by(*keys).subquery()
    columns = [history.c[column.name] for column in table.columns]
    return select(*columns).join(last_facts, last_facts.c.fact == history.c.fact).where(history.c.present)


def facts_about(connection: Connection, table: Table, given: dict[str, str | None]) -> Sequence[Row[Any]]:
    """All facts of a table in the order in which they were recorded; those whose columns have the given values."""
    history = HISTORIES[table.name]
    wanted = and_(True, *(history.c[name] == value for name, value in given.items() if value is not None))
    return connection.execute(select(history).where(wanted).order_by(history.c.fact)).all()
