"""What narrows consents without anybody's doing: a yes that ends, and what is not a plain yes that begins.

A yes that begins takes nothing from anybody, and a no that ends gives way to the answer for a wider purpose.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Select,
    Text,
    any_,
    bindparam,
    exists,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql.psycopg import dialect

from datagate.stores.tables import consents

_INSTANT: Final = consents.c.valid_from.type

_LIMITED: Final = "NOT granted OR categories IS NOT NULL OR recipients IS NOT NULL"
_ON: Final = "ON datagate.consents (purpose,"
INDEXES: Final = (
    f"CREATE INDEX IF NOT EXISTS consents_by_end {_ON} valid_until) WHERE granted AND valid_until IS NOT NULL",
    f"CREATE INDEX IF NOT EXISTS consents_by_start {_ON} valid_from) WHERE {_LIMITED}",
)
"""On PostgreSQL; so that to ask takes the same however many answers there are."""


def _query(concerned: ColumnElement[bool], until: ColumnElement[datetime]) -> Select[tuple[bool]]:
    since = bindparam("since", type_=_INSTANT)
    end, start = consents.c.valid_until, consents.c.valid_from
    ended = exists().where(concerned, consents.c.granted, end > since, end <= until)
    started = exists().where(concerned, text(f"({_LIMITED})"), start > since, start <= until)
    return select(or_(ended, started))


_ANYWHERE = _query(consents.c.purpose.in_(bindparam("purposes", expanding=True)), bindparam("until", type_=_INSTANT))
TURNED: Final = str(
    _query(
        consents.c.purpose == any_(bindparam("purposes", type_=ARRAY(Text))),
        func.coalesce(bindparam("until", type_=_INSTANT), func.statement_timestamp()),
    ).compile(dialect=dialect())  # type: ignore[no-untyped-call] # SQLAlchemy leaves it so
)
"""The same question for psycopg; where ``until`` is None, until now by the database's clock."""


def turned(connection: Connection, purposes: Collection[str], since: datetime, until: datetime) -> bool:
    """Whether some answer for these purposes was narrowed so after ``since``, up to ``until``."""
    given: dict[str, Any] = {"purposes": list(purposes), "since": since, "until": until}
    return bool(connection.execute(_ANYWHERE, given).scalar_one())
