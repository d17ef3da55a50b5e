"""Create the state in a database, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, inspect, select, text

from datagate.errors import StateError
from datagate.stores import postgres, signals, sqlite
from datagate.stores.engine import StateDatabase
from datagate.stores.tables import SCHEMA, SCHEMA_VERSION, metadata, schema_version

_ROLE = text("SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles WHERE rolname = :role")


def create(database: StateDatabase) -> None:
    """Create tables, triggers and functions, all in one transaction; again changes nothing.

    Raises:
        StateError: The database holds a state of another version.
    """
    with database.writing() as connection:
        if database.is_postgres:
            connection.exec_driver_sql(postgres.LOCK)
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        if inspect(connection).has_table(schema_version.name, schema=SCHEMA if database.is_postgres else None):
            _same_version(connection)
            return
        metadata.create_all(connection, checkfirst=False)
        if database.is_postgres:
            _run(connection, postgres.create_statements())
            _run(connection, signals.create_statements())
        elif database.is_sqlite:
            _run(connection, sqlite.create_statements())
        connection.execute(schema_version.insert(), {"version": SCHEMA_VERSION})


def grant_service_role(database: StateDatabase, role: str) -> None:
    """Let a role read what rewritten statements read; StateError as for :func:`_grant`."""
    _grant(database, role, postgres.service_role_statements)


def grant_state_reader(database: StateDatabase, role: str) -> None:
    """Let a role read all of the state, as a gate does; StateError as for :func:`_grant`."""
    _grant(database, role, postgres.state_reader_statements)


def _grant(database: StateDatabase, role: str, statements: Callable[[str], Iterable[str]]) -> None:
    """Run GRANTs for a role.

    Raises:
        StateError: The state is not on PostgreSQL, where alone there are roles, or there is no such role.
    """
    if not database.is_postgres:
        raise StateError("only on PostgreSQL do roles need a right to read the state")
    with database.writing() as connection:
        quoted = connection.execute(_ROLE, {"role": role}).scalar_one_or_none()
        if quoted is None:
            raise StateError(f"there is no role {role}: create it first, with LOGIN and no other right")
        _run(connection, statements(quoted))


def _same_version(connection: Connection) -> None:
    found = connection.execute(select(schema_version.c.version)).scalar_one_or_none()
    if found != SCHEMA_VERSION:
        raise StateError(f"the database holds state of version {found}; this datagate needs version {SCHEMA_VERSION}")


def _run(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)
