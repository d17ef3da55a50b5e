"""Bring the state of an earlier version forward, without loss, within the transaction that it is given."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Column, Connection, Table, insert, literal, select, text, update

from datagate.stores import blocks, movement, postgres, sqlite
from datagate.stores.engine import StateDatabase
from datagate.stores.history import HISTORIES
from datagate.stores.tables import SCHEMA_VERSION, consents, mandate_uses, mandates, metadata, schema_version
from datagate.stores.versions import found_version

_NEW_IN_2 = (
    (consents, ("categories", "recipients", "evidence")),
    (mandates, ("suspended_at", "max_uses", "actor_kinds")),
)
_CHECKS_IN_2 = (
    ("consents", "consents_limits", "granted OR (categories IS NULL AND recipients IS NULL)"),
    ("mandates", "mandates_uses", "max_uses IS NULL OR max_uses > 0"),
)
_READERS = text(
    "SELECT DISTINCT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) FROM pg_catalog.pg_class AS c,"
    " pg_catalog.aclexplode(c.relacl) AS a WHERE c.oid = CAST(:table AS regclass) AND a.privilege_type = 'SELECT'"
    " AND a.grantee <> c.relowner AND a.grantee <> 0"
)


def migrate(database: StateDatabase, connection: Connection) -> None:
    """From whatever version the database holds to this one; none to go changes nothing.

    Raises:
        StateError: The version is newer than this datagate knows.
    """
    version = found_version(connection)
    if version == SCHEMA_VERSION:
        if database.is_postgres:
            run(connection, movement.heal_statements())
        return
    if version == 1:
        _from_1_to_2(database, connection)
    if database.is_postgres:
        _functions_and_bits(connection)
    connection.execute(update(schema_version).values(version=SCHEMA_VERSION))


def run(connection: Connection, statements: Iterable[str]) -> None:
    """Run statements of our own, one after the other."""
    for statement in statements:
        connection.exec_driver_sql(statement)


def _from_1_to_2(database: StateDatabase, connection: Connection) -> None:
    """Limits and evidence of consents; suspension, uses and kinds of actor of mandates; the history.

    Of what stood before it is not known who recorded it, nor when: the history begins with it as it is found.
    """
    for table, names in _NEW_IN_2:
        for name in names:
            _add_column(connection, table, table.c[name], database)
    metadata.create_all(connection, tables=[mandate_uses, *HISTORIES.values()], checkfirst=False)
    about = (literal(True), literal(datetime.now(UTC)), literal("datagate"), literal("found at migration"))
    for name, history in HISTORIES.items():
        source = next(table for table in metadata.tables.values() if table.name == name)
        columns = [column.name for column in source.columns]
        found = select(*about, *(source.c[column] for column in columns))
        into = ["present", "recorded_at", "recorded_by", "why", *columns]
        connection.execute(insert(history).from_select(into, found, include_defaults=False))
    if database.is_sqlite:
        run(connection, sqlite.create_statements())
    if not database.is_postgres:
        return
    # Both again, with the limits in them.
    run(connection, ["DROP INDEX datagate.consents_by_number", "DROP INDEX datagate.consents_by_purpose"])
    for index in consents.indexes:
        index.create(connection)
    for checked, check, condition in _CHECKS_IN_2:
        run(connection, [f"ALTER TABLE datagate.{checked} ADD CONSTRAINT {check} CHECK ({condition})"])


def _functions_and_bits(connection: Connection) -> None:
    """What this version's triggers and statements call and keep, for those who could read what statements read."""
    services = connection.execute(_READERS, {"table": "datagate.epochs"}).scalars().all()
    readers = connection.execute(_READERS, {"table": "datagate.mandates"}).scalars().all()
    # Triggers are replaced under a lock that keeps writers away, so that what they write later is in the bits.
    run(connection, postgres.create_statements())
    run(connection, blocks.fill_statements())
    for role in services:
        run(connection, postgres.service_role_statements(role))
    for role in readers:
        run(connection, postgres.state_reader_statements(role))


def _add_column(connection: Connection, table: Table, column: Column[object], database: StateDatabase) -> None:
    type_ = column.type.compile(dialect=connection.dialect)
    where = f"datagate.{table.name}" if database.is_postgres else table.name
    connection.exec_driver_sql(f"ALTER TABLE {where} ADD COLUMN {column.name} {type_}")
