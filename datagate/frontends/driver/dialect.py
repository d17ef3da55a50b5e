"""SQLAlchemy's dialect ``datagate+psycopg://``: its own dialect for psycopg 3, over gated connections.

``create_engine("datagate+psycopg://host/db", connect_args={"caller": caller, "policies": "policies/"})``: the engine
opens one gate and shares it between the connections of its pool. ``connect_args={"caller": …, "gate": gate}`` shares
one between engines. `create_async_engine` takes the same.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

from psycopg.pq import ExecStatus
from psycopg.rows import dict_row
from psycopg.types import TypeInfo
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg, PsycopgAdaptDBAPI
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.util.concurrency import await_

from datagate.errors import InterfaceError
from datagate.frontends import driver
from datagate.frontends.driver.opening import Gatekeeper, choose_gate, complete_dsn
from datagate.frontends.driver.reflection import ReflectionCompiler

_GATE_SETTINGS = ("policies", "state", "keyring", "audit")
# What TypeInfo.fetch asks, in a form that the gate's catalog guards carry.
_TYPE_QUERY = """
    SELECT t.typname AS name, t.oid AS oid, t.typarray AS array_oid, t.typdelim AS delimiter
    FROM pg_catalog.pg_type AS t
    WHERE t.typname = %(name)s"""
_NOT_LIBPQ = ("autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory", "async_creator_fn")


class DatagateDialect(PGDialect_psycopg):
    """PostgreSQL through datagate; ``postgresql`` in all that concerns SQL."""

    driver = "psycopg"
    supports_statement_cache = True
    statement_compiler = ReflectionCompiler

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._gates: dict[str, Gatekeeper] = {}
        self._gates_lock = threading.Lock()

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """The driver is the DBAPI module."""
        return driver

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[DatagateAsyncDialect]:  # noqa: ARG003 - SQLAlchemy's signature
        """What `create_async_engine` uses."""
        return DatagateAsyncDialect

    def connect(self, *cargs: Any, **cparams: Any) -> DBAPIConnection:
        """Connect through the engine's gate.

        Raises:
            InterfaceError: ``connect_args`` lack the caller, or the policies.
        """
        if "caller" not in cparams:
            raise InterfaceError('create_engine needs connect_args={"caller": Caller.of(…), "policies": …}')
        settings = {name: cparams.pop(name, None) for name in _GATE_SETTINGS}
        cparams["gate"] = self._gate(cargs, cparams, settings)
        return super().connect(*cargs, **cparams)

    def _gate(self, cargs: tuple[Any, ...], cparams: dict[str, Any], settings: dict[str, Any]) -> Gatekeeper:
        """Open a gate for the first connection to a database, and share it from then on; or take the one given."""
        if cparams.get("gate") is not None:
            return choose_gate("", gate=cparams["gate"], **settings)
        ours = ("caller", "gate", *_NOT_LIBPQ)
        dsn = complete_dsn(
            cargs[0] if cargs else "", {name: value for name, value in cparams.items() if name not in ours}
        )
        with self._gates_lock:
            if dsn not in self._gates:
                self._gates[dsn] = choose_gate(dsn, gate=None, **settings)
            return self._gates[dsn]

    def _type_info_fetch(self, connection: Any, name: str) -> TypeInfo | None:
        """Look a type up as ``TypeInfo.fetch`` does, which would use a cursor of psycopg's own."""
        connected = connection.connection.driver_connection
        with connected.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_TYPE_QUERY, {"name": name})
            return _type_found(cursor.fetchall())


class DatagateAsyncDialect(PGDialectAsync_psycopg, DatagateDialect):
    """The same for `create_async_engine`."""

    supports_statement_cache = True
    statement_compiler = ReflectionCompiler

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """The driver, with asynchronous connections looking synchronous."""
        adapted: Any = PsycopgAdaptDBAPI(driver, ExecStatus)
        return adapted  # type: ignore[no-any-return] # SQLAlchemy's stand-in for a module

    def _type_info_fetch(self, connection: Any, name: str) -> TypeInfo | None:
        return await_(_fetch_type(connection.connection.driver_connection, name))


async def _fetch_type(connected: driver.AsyncConnection[Any], name: str) -> TypeInfo | None:
    async with connected.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_TYPE_QUERY, {"name": name})
        return _type_found(await cursor.fetchall())


def _type_found(records: list[dict[str, Any]]) -> TypeInfo | None:
    # Several schemas may have a type of that name; then none of them is the one that SQLAlchemy means for sure.
    return TypeInfo(**records[0]) if len(records) == 1 else None
