"""Asynchronous connections."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg.abc import RV, AdaptContext, ConnParam, PQGen
from psycopg.errors import _WaitTimeout  # private: psycopg raises and catches it around wait(), so it must pass
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from datagate.audit import Sink
from datagate.backends.postgres import faults
from datagate.frontends.driver.cursors_async import AsyncCursor, AsyncServerCursor
from datagate.frontends.driver.lending import Lent, SharedSession
from datagate.frontends.driver.opening import (
    FRONTEND,
    Gatekeeper,
    check_factory,
    choose_gate,
    complete_dsn,
    with_settings,
)
from datagate.model.caller import Caller
from datagate.model.policy import PolicySet
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

_INTERVAL = 0.1


class AsyncConnection(Lent[Row], psycopg.AsyncConnection[Row]):
    """A psycopg connection for one caller, whose every statement passes the gate.

    Open it with `datagate.connect_async`, or as ``connection_class`` of a ``psycopg_pool.AsyncConnectionPool``.
    """

    __module__ = "datagate.frontends.driver"

    def __init__(self, pgconn: pq.abc.PGconn, row_factory: AsyncRowFactory[Any] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.cursor_factory = AsyncCursor
        self.server_cursor_factory = AsyncServerCursor

    @classmethod
    async def connect(  # type: ignore[override] # a gated connection needs its caller
        cls,
        conninfo: str = "",
        *,
        caller: Caller,
        gate: Gatekeeper | None = None,
        policies: str | Path | PolicySet | None = None,
        state: str | StateStore | None = None,
        keyring: Keyring | None = None,
        audit: Sink | None = None,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Any] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Any]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect for one caller.

        Args:
            conninfo: libpq's connection string; further parameters (``host``, ``dbname`` …) as keywords.
            caller: In whose name every statement of this connection runs.
            gate: A gate to share with other connections to the same database, or else:
            policies: The directory of policies, for a gate of this connection's own.
            state: Where entitlements, consents and mandates are; next to the data by default.
            keyring: Keys of masks.
            audit: Where decisions are recorded.
            autocommit: As in psycopg, like the rest.
            prepare_threshold: How often a statement runs before it is prepared.
            context: Adapters.
            row_factory: What rows become.
            cursor_factory: A subclass of this driver's `Cursor`.
            **kwargs: libpq's connection parameters.

        Raises:
            InterfaceError: Arguments that do not go together.
            PolicyError: The policies are wrong.
            OperationalError: The server cannot be reached, or refuses the login.
        """
        check_factory(cursor_factory)
        dsn = complete_dsn(conninfo, kwargs)
        chosen = await asyncio.to_thread(
            choose_gate, dsn, gate=gate, policies=policies, state=state, keyring=keyring, audit=audit
        )
        session = await asyncio.to_thread(chosen.session, caller, frontend=FRONTEND)
        try:
            connection = await super().connect(
                with_settings(dsn, chosen),
                autocommit=autocommit,
                prepare_threshold=prepare_threshold,
                context=context,
                row_factory=row_factory,
                cursor_factory=cursor_factory,
            )
        except psycopg.Error as error:
            fault = faults.from_connecting(error)
        else:
            try:
                await asyncio.to_thread(connection.enter_gate, session)
            except BaseException:
                await connection.close()
                raise
            return connection
        raise fault

    async def wait(self, gen: PQGen[RV], interval: float = _INTERVAL, timeout: float | None = None) -> RV:
        """Consume one of psycopg's generators; all that the server says comes through here."""
        try:
            return await super().wait(gen, interval, timeout)
        except _WaitTimeout:
            raise
        except psycopg.Error as error:
            fault = self.fault(error)
        raise fault

    async def close(self) -> None:
        """Close the connection."""
        await super().close()
        if self.closed:
            self.leave_gate()

    async def lend(self, session: SharedSession) -> None:
        """Open the gate for a caller, once nothing is left of the last one; for pools that callers share."""
        if not self._is_clean_for(session):
            async with self.lock:
                await self.wait(self._clean_gen())
        self._open_gate(session)

    async def start_over(self) -> None:
        """Take the transaction back to its beginning."""
        async with self.lock:
            await self.wait(self._start_over_gen())

    def cancel(self) -> None:
        """Cancel the statement under way."""
        try:
            return super().cancel()
        except psycopg.Error as error:
            fault = self.fault(error)
        raise fault

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Cancel the statement under way, in the server's safer way where it has one."""
        try:
            return await super().cancel_safe(timeout=timeout)
        except psycopg.Error as error:
            fault = self.fault(error)
        raise fault


connect_async = AsyncConnection.connect
