"""DBAPI 2.0 (PEP 249) over psycopg 3, sync and async: every statement passes the gate before it is sent.

Here live the connection and cursor classes, the translation of server errors, and the SQLAlchemy dialect. The module's
own face is psycopg's, so that programs written for psycopg, and SQLAlchemy's dialect for it, work on it unchanged.
"""

from psycopg import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    IsolationLevel,
    Notify,
    Rollback,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    Xid,
    __version__,
    adapters,
)

from datagate.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,  # noqa: A004 - PEP 249 prescribes the name
)
from datagate.frontends.driver.connections import Connection, connect
from datagate.frontends.driver.connections_async import AsyncConnection, connect_async
from datagate.frontends.driver.cursors import Cursor, ServerCursor
from datagate.frontends.driver.cursors_async import AsyncCursor, AsyncServerCursor

apilevel = "2.0"
threadsafety = 2
paramstyle = "pyformat"

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "AsyncConnection",
    "AsyncCursor",
    "AsyncServerCursor",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "IsolationLevel",
    "NotSupportedError",
    "Notify",
    "OperationalError",
    "ProgrammingError",
    "Rollback",
    "ServerCursor",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "Xid",
    "__version__",
    "adapters",
    "apilevel",
    "connect",
    "connect_async",
    "paramstyle",
    "threadsafety",
]
