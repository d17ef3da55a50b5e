"""The tables of the state: entitlements, consents, mandates, epochs.

On PostgreSQL they stand in the schema ``datagate``, elsewhere in the connection's own schema. These tables hold the
present, and decisions read nothing else; every change of them is one more fact in the history beside them
(`datagate.stores.history`), which only grows. Plain SQL may change them: triggers write facts and advance epochs.

``datagate.consents`` is read inside rewritten statements: ``data_subject`` is the key of the row's data subject cast to
text, ``purpose`` a node of the purpose tree, ``granted`` the answer (false: refused or withdrawn), in force from
``valid_from`` on and before ``valid_until`` (NULL: no end). ``categories`` and ``recipients`` limit a yes (NULL: it is
not limited; an empty list: it counts for nothing and nobody), ``evidence`` says where it can be shown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from datagate.errors import StateError

SCHEMA = "datagate"
SCHEMA_VERSION = 4
ID_LENGTH = 255
ROLE = "role"
ATTRIBUTE = "attribute"

metadata = MetaData(schema=SCHEMA)

# Engines without an unbounded text type that can be a key get a bounded one.
Name = Text().with_variant(String(ID_LENGTH), "mysql", "mariadb", "mssql", "oracle")


class Names(TypeDecorator[tuple[str, ...]]):
    """A list of names, or NULL: an array where the engine has arrays, else a JSON array in text."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The engine's own type."""
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> Any:
        """To the engine, sorted and each name once."""
        if value is None:
            return None
        names = sorted(set(value))
        return names if dialect.name == "postgresql" else json.dumps(names)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        """From the engine; StateError where plain SQL wrote what is no list of names."""
        if value is None:
            return None
        try:
            found = value if dialect.name == "postgresql" else json.loads(value)
        except ValueError as error:
            raise StateError(f"the state holds what is not JSON: {error}") from error
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise StateError("a list of names is an array of texts")
        return tuple(found)


class Instant(TypeDecorator[datetime]):
    """An instant: always with a zone in Python, in UTC where the engine keeps none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the engine; StateError for a time without a zone, which is no instant."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise StateError(f"{value} has no time zone: give an instant, such as 2026-01-01T00:00:00+00:00")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the engine."""
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.replace(tzinfo=UTC)


def _validity() -> tuple[Column[datetime], Column[datetime], CheckConstraint, CheckConstraint]:
    """When a row holds, and that it ends after it began; PostgreSQL's infinities are not among Python's instants."""
    return (
        Column("valid_from", Instant, nullable=False),
        Column("valid_until", Instant),
        CheckConstraint("valid_until IS NULL OR valid_until > valid_from"),
        CheckConstraint(
            "valid_from BETWEEN '0001-01-02 00:00+00' AND '9999-12-30 00:00+00'"
            " AND (valid_until IS NULL OR valid_until BETWEEN '0001-01-02 00:00+00' AND '9999-12-30 00:00+00')"
        ).ddl_if(dialect="postgresql"),
    )


schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

entitlements = Table(
    "entitlements",
    metadata,
    Column("principal", Name, primary_key=True),
    Column("kind", String(9), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("value", Text, comment="JSON, for attributes only"),
    *_validity(),
    CheckConstraint("(kind = 'role' AND value IS NULL) OR (kind = 'attribute' AND value IS NOT NULL)"),
    CheckConstraint("principal <> '' AND name <> ''"),
    CheckConstraint("value IS NULL OR value::json IS NOT NULL").ddl_if(dialect="postgresql"),
)

consents = Table(
    "consents",
    metadata,
    Column("data_subject", Name, primary_key=True),
    Column("purpose", Name, primary_key=True),
    Column("granted", Boolean, nullable=False),
    *_validity(),
    Column("categories", Names, comment="tags that a yes is limited to"),
    Column("recipients", Names, comment="principals, actors or roles that a yes is limited to"),
    Column("evidence", Text),
    CheckConstraint("granted OR (categories IS NULL AND recipients IS NULL)", name="consents_limits"),
)
# The semi-join of a rewritten statement reads one purpose: whole from this index, without the table.
Index(
    "consents_by_purpose",
    consents.c.purpose,
    consents.c.data_subject,
    postgresql_include=["granted", "valid_from", "valid_until", "categories", "recipients"],
)

mandates = Table(
    "mandates",
    metadata,
    Column("mandate_id", Name, primary_key=True),
    Column("principal", Name, nullable=False, index=True),
    Column("holder", Name, nullable=False, index=True),
    Column("scope", Name, nullable=False),
    Column("parameters", Text, nullable=False, comment="JSON object"),
    Column("purposes", Text, nullable=False, comment="JSON array of purposes"),
    *_validity(),
    Column("revoked_at", Instant),
    Column("parent", Name, ForeignKey("datagate.mandates.mandate_id"), index=True),
    Column("sub_delegable", Integer, nullable=False),
    Column("suspended_at", Instant),
    Column("max_uses", Integer, comment="how many sessions may start under it"),
    Column("actor_kinds", Names, comment="the kinds of actor that may hold it; NULL: any"),
    CheckConstraint("max_uses IS NULL OR max_uses > 0", name="mandates_uses"),
    CheckConstraint("principal <> '' AND holder <> '' AND principal <> holder"),
    CheckConstraint("sub_delegable >= 0"),
    CheckConstraint("parameters::json IS NOT NULL AND purposes::json IS NOT NULL").ddl_if(dialect="postgresql"),
    CheckConstraint("revoked_at BETWEEN '0001-01-02 00:00+00' AND '9999-12-30 00:00+00'").ddl_if(dialect="postgresql"),
)

mandate_uses = Table(
    "mandate_uses",
    metadata,
    Column("mandate_id", Name, primary_key=True),
    Column("session_id", Name, primary_key=True),
    Column("used_at", Instant, nullable=False),
)

# Grow only: the sum over some parties is the same again only if none of them changed.
epochs = Table(
    "epochs",
    metadata,
    Column("party", Name, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
