"""Transactions on the state's database, whichever it is, and its errors as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, Table, delete, exc, text, update
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects import sqlite

from datagate.errors import OperationalError, StateError
from datagate.model.names import PrincipalId
from datagate.stores.encoding import storable
from datagate.stores.history import HISTORIES
from datagate.stores.tables import ID_LENGTH, SCHEMA, epochs
from datagate.stores.versions import check_version

Clock = Callable[[], datetime]


IDENTITY = (
    "SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text, d.oid::pg_catalog.int8, d.datname::pg_catalog.text"
    " FROM pg_catalog.pg_database AS d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
)
"""Tells databases apart: when their server started, to the microsecond, and which of its databases it is."""


def identity_of(connection: Connection) -> tuple[object, ...] | None:
    """Which PostgreSQL database this is; None for another engine."""
    if connection.dialect.name != "postgresql":
        return None
    return tuple(connection.execute(text(IDENTITY)).one())


class StateDatabase:
    """One database that holds the state.

    Args:
        engine: SQLAlchemy's way to it.
        clock: Says what time it is; None asks the database, since that judges what is in force.
    """

    def __init__(self, engine: Engine, clock: Clock | None) -> None:
        self.is_postgres = engine.dialect.name == "postgresql"
        self.is_sqlite = engine.dialect.name == "sqlite"
        schema = SCHEMA if self.is_postgres else None
        self.engine = engine
        self._engine = engine.execution_options(schema_translate_map={SCHEMA: schema})
        self._clock = clock
        self._knows_version = False

    def close(self) -> None:
        """Close the connections that the engine keeps; it opens new ones when it is asked again."""
        self._engine.dispose()

    @contextmanager
    def recording(self, by: str | None, why: str | None) -> Iterator[Connection]:
        """As `writing`, for changes of the state: facts say who recorded them, and why.

        ``by`` None: whoever the database says is connected.
        """
        with self.writing() as connection:
            self._check(connection)
            who = None if by is None else name_of("recorder", by)
            reason = None if why is None else storable(why)
            if self.is_postgres:
                settings = text("SELECT set_config('datagate.by', :by, true), set_config('datagate.why', :why, true)")
                connection.execute(settings, {"by": who or "", "why": reason or ""})
            elif self.is_sqlite:
                insert = text("INSERT INTO recording (by_whom, why) VALUES (:by, :why)")
                connection.execute(insert, {"by": who or "datagate", "why": reason})
            connection.info["recorder"] = (who or "datagate", reason)
            yield connection
            if self.is_sqlite:
                connection.exec_driver_sql("DELETE FROM recording")

    def _check(self, connection: Connection) -> None:
        if not self._knows_version:
            check_version(connection)
            self._knows_version = True

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end.

        Raises:
            StateError: A constraint of the state does not hold.
            OperationalError: The database cannot be reached, or has no state in it.
        """
        with _our_errors(), self._engine.connect() as connection:
            if self.is_sqlite:
                # The driver would begin only at the first write, after what was read to check it.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one snapshot and writes nothing; errors as for `writing`."""
        with _our_errors(), self._engine.connect() as connection:
            if self.is_postgres:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            elif self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="SERIALIZABLE")
            self._check(connection)
            yield connection
            connection.rollback()

    def detached(self) -> psycopg.Connection[Any]:
        """A PostgreSQL connection that its taker keeps and closes, in autocommit."""
        with _our_errors():
            pooled = self._engine.raw_connection()
            connection = pooled.driver_connection
            pooled.detach()
        if not isinstance(connection, psycopg.Connection):
            raise OperationalError("the state's engine has to be postgresql+psycopg")
        connection.autocommit = True
        return connection

    def now(self, connection: Connection) -> datetime:
        """What time it is."""
        if self._clock is not None:
            return self._clock()
        if self.is_postgres:
            found: datetime = connection.execute(text("SELECT pg_catalog.statement_timestamp()")).scalar_one()
            return found.astimezone(UTC)
        return datetime.now(UTC)

    def put(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert rows, each in place of the one with its key."""
        keys = [column.name for column in table.primary_key]
        if self.is_postgres or self.is_sqlite:
            insert = pg.insert(table) if self.is_postgres else sqlite.insert(table)
            others = {name: insert.excluded[name] for name in rows[0] if name not in keys}
            # What returns something is sent with many rows in a statement; triggers run once for each statement.
            put = insert.on_conflict_do_update(index_elements=keys, set_=others).returning(table.c[keys[0]])
            connection.execute(put, rows)
            return
        for row in rows:
            connection.execute(delete(table).where(*(table.c[key] == row[key] for key in keys)))
            connection.execute(table.insert(), row)
        self.write_facts(connection, table, rows, present=True)

    def write_facts(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, object]], *, present: bool
    ) -> None:
        """Write facts into the history, where no trigger of the database does it."""
        if self.is_postgres or self.is_sqlite:
            return
        by, why = connection.info["recorder"]
        about = {"present": present, "recorded_at": datetime.now(UTC), "recorded_by": by, "why": why}
        connection.execute(HISTORIES[table.name].insert(), [{**about, **row} for row in rows])

    def advance(self, connection: Connection, parties: Iterable[PrincipalId]) -> None:
        """Advance the epochs of parties whose rights changed, where no trigger of the database does it."""
        if self.is_postgres or self.is_sqlite:
            return
        for party in sorted(set(parties)):
            mine = epochs.c.party == party
            changed = connection.execute(update(epochs).where(mine).values(value=epochs.c.value + 1))
            if changed.rowcount == 0:
                connection.execute(epochs.insert(), {"party": party, "value": 1})


def name_of(what: str, text: str) -> str:
    """The text, if it can name something; StateError if not. ``what`` says what it was to name."""
    if not text or len(text) > ID_LENGTH:
        raise StateError(f"a {what} has a name of 1 to {ID_LENGTH} characters")
    return storable(text)


def validity_of(valid_from: datetime, valid_until: datetime | None) -> dict[str, object]:
    """The columns that say when a row holds; StateError where it would end before it begins."""
    for time in (valid_from, valid_until):
        if time is not None and time.utcoffset() is None:
            raise StateError(f"{time} has no time zone: give an instant, such as 2026-01-01T00:00:00+00:00")
    if valid_until is not None and valid_until <= valid_from:
        raise StateError(f"valid until {valid_until} ends before it begins, {valid_from}")
    return {"valid_from": valid_from, "valid_until": valid_until}


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except (exc.IntegrityError, exc.DataError) as error:
        raise StateError(f"the state does not take this: {_first_line(error)}") from error
    except exc.DBAPIError as error:
        raise OperationalError(f"the state database failed: {_first_line(error)}") from error
    except exc.SQLAlchemyError as error:
        raise OperationalError(f"the state database cannot be used: {error}") from error


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).split("\n", 1)[0]
