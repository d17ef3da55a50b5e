"""SQLAlchemy's dialect for asyncpg, over connections that pass the gate.

It is for engines whose connections are lent to callers (`datagate.gate_engine`): asyncpg is not PEP 249's, so that the
driver has no face of its own for it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NoReturn

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncAdapt_asyncpg_connection,
    AsyncAdapt_asyncpg_dbapi,
    PGCompiler_asyncpg,
    PGDialect_asyncpg,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.util.concurrency import await_

from datagate import errors
from datagate.frontends.driver.asyncpg_connection import AsyncpgConnection, translated
from datagate.frontends.driver.flights import OwnErrors
from datagate.frontends.driver.reflection import CarefulCompiler

FRONTEND = "driver"


class AsyncpgCompiler(CarefulCompiler, PGCompiler_asyncpg):
    """What reflection asks, in words that the gate carries."""


class _Adapted(AsyncAdapt_asyncpg_connection):
    """SQLAlchemy's adapter, which forgets what statements looked like to another caller."""

    _turn = -1

    async def _prepare(self, operation: str, invalidate_timestamp: float) -> Any:
        turn = self._connection.turn  # type: ignore[attr-defined]
        if turn != self._turn and self._prepared_statement_cache is not None:
            self._prepared_statement_cache.clear()
        self._turn = turn
        return await super()._prepare(operation, invalidate_timestamp)  # type: ignore[no-untyped-call]

    def _handle_exception(self, error: Exception) -> NoReturn:
        if isinstance(error, errors.RightsChanged) and self._prepared_statement_cache is not None:
            self._prepared_statement_cache.clear()
        super()._handle_exception(error)

    @classmethod
    def _handle_exception_no_connection(cls, dbapi: Any, error: Exception) -> NoReturn:  # noqa: ARG003 - SQLAlchemy's
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
            raise translated(error) from None
        raise error


class GatedAsyncpg(OwnErrors, AsyncAdapt_asyncpg_dbapi):
    """SQLAlchemy's stand-in for a DBAPI module, with datagate's errors."""

    def connect(self, *args: Any, **arguments: Any) -> Any:
        """Connect, without opening the gate yet."""
        own = {
            name: arguments.pop(name)
            for name in ("prepared_statement_cache_size", "prepared_statement_name_func")
            if name in arguments
        }
        return await_(_Adapted.create(self, asyncpg.connect(*args, **arguments), **own))


class AsyncpgDialect(PGDialect_asyncpg):
    """PostgreSQL by asyncpg through datagate; ``postgresql`` in all that concerns SQL."""

    supports_statement_cache = True
    statement_compiler = AsyncpgCompiler

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """What SQLAlchemy takes for the DBAPI module."""
        adapted: Any = GatedAsyncpg(asyncpg)  # type: ignore[no-untyped-call]
        return adapted  # type: ignore[no-any-return] # SQLAlchemy's stand-in for a module

    def connect(self, *cargs: Any, **cparams: Any) -> DBAPIConnection:
        """Connect for the caller of ``cparams``, through the gate there.

        Raises:
            InterfaceError: They ask for a class of connections, or a way of connecting, of their own.
        """
        if cparams.keys() & {"connection_class", "async_creator_fn"}:
            raise errors.InterfaceError("connect_args may have no connection_class and no async_creator_fn here")
        gate, caller = cparams.pop("gate"), cparams.pop("caller")
        settings = {**cparams.pop("server_settings", {}), **dict(gate.session_settings)}
        connected: Any = super().connect(
            *cargs, **cparams, server_settings=settings, connection_class=AsyncpgConnection
        )
        connected.driver_connection.enter_gate(gate.session(caller, frontend=FRONTEND))
        return connected  # type: ignore[no-any-return]
