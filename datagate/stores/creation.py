"""Create the state in a database, once, and bring a state of an earlier version forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import inspect, text

from datagate.errors import StateError
from datagate.stores import postgres, sqlite
from datagate.stores.engine import StateDatabase
from datagate.stores.migration import migrate, run
from datagate.stores.tables import SCHEMA, SCHEMA_VERSION, metadata, schema_version

_ROLE = text("SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles WHERE rolname = :role")


def create(database: StateDatabase) -> None:
    """Create tables, triggers and functions, or migrate those of an earlier version; all in one transaction.

    Again changes nothing, but that ids which a restored dump brought from another cluster are set back.

    Raises:
        StateError: The database holds a state of a newer version.
    """
    with database.writing() as connection:
        if database.is_postgres:
            connection.exec_driver_sql(postgres.LOCK)
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        if inspect(connection).has_table(schema_version.name, schema=SCHEMA if database.is_postgres else None):
            migrate(database, connection)
            return
        metadata.create_all(connection, checkfirst=False)
        if database.is_postgres:
            run(connection, postgres.create_statements())
        elif database.is_sqlite:
            run(connection, sqlite.create_statements())
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
        run(connection, statements(quoted))
