"""The tables of the state: entitlements, consents, mandates, epochs.

On PostgreSQL they stand in the schema ``datagate``, elsewhere in the connection's own schema. What they hold is the
present; who changed it and when is the audit's business. Plain SQL may change them: triggers advance the epochs.

``datagate.consents`` is read inside rewritten statements: ``data_subject`` is the key of the row's data subject cast to
text, ``purpose`` a node of the purpose tree, ``granted`` the answer (false: refused or withdrawn), in force from
``valid_from`` on and before ``valid_until`` (NULL: no end).
"""

from __future__ import annotations

from datetime import UTC, datetime

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
from sqlalchemy.engine import Dialect

from datagate.errors import StateError

SCHEMA = "datagate"
SCHEMA_VERSION = 1
ID_LENGTH = 255
ROLE = "role"
ATTRIBUTE = "attribute"

metadata = MetaData(schema=SCHEMA)

# Engines without an unbounded text type that can be a key get a bounded one.
_Name = Text().with_variant(String(ID_LENGTH), "mysql", "mariadb", "mssql", "oracle")


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
    Column("principal", _Name, primary_key=True),
    Column("kind", String(9), primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("value", Text, comment="JSON, for attributes only"),
    *_validity(),
    CheckConstraint("(kind = 'role' AND value IS NULL) OR (kind = 'attribute' AND value IS NOT NULL)"),
    CheckConstraint("principal <> '' AND name <> ''"),
    CheckConstraint("value IS NULL OR value::json IS NOT NULL").ddl_if(dialect="postgresql"),
)

consents = Table(
    "consents",
    metadata,
    Column("data_subject", _Name, primary_key=True),
    Column("purpose", _Name, primary_key=True),
    Column("granted", Boolean, nullable=False),
    *_validity(),
)
# The semi-join of a rewritten statement reads one purpose: whole from this index, without the table.
Index(
    "consents_by_purpose",
    consents.c.purpose,
    consents.c.data_subject,
    postgresql_include=["granted", "valid_from", "valid_until"],
)

mandates = Table(
    "mandates",
    metadata,
    Column("mandate_id", _Name, primary_key=True),
    Column("principal", _Name, nullable=False, index=True),
    Column("holder", _Name, nullable=False, index=True),
    Column("scope", _Name, nullable=False),
    Column("parameters", Text, nullable=False, comment="JSON object"),
    Column("purposes", Text, nullable=False, comment="JSON array of purposes"),
    *_validity(),
    Column("revoked_at", Instant),
    Column("parent", _Name, ForeignKey("datagate.mandates.mandate_id"), index=True),
    Column("sub_delegable", Integer, nullable=False),
    CheckConstraint("principal <> '' AND holder <> '' AND principal <> holder"),
    CheckConstraint("sub_delegable >= 0"),
    CheckConstraint("parameters::json IS NOT NULL AND purposes::json IS NOT NULL").ddl_if(dialect="postgresql"),
    CheckConstraint("revoked_at BETWEEN '0001-01-02 00:00+00' AND '9999-12-30 00:00+00'").ddl_if(dialect="postgresql"),
)

# Grow only: the sum over some parties is the same again only if none of them changed.
epochs = Table(
    "epochs",
    metadata,
    Column("party", _Name, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
