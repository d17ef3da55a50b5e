"""The asynchronous cursors; see `datagate.frontends.driver.cursors` for the law that all keep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import psycopg
from psycopg.abc import Params, Query
from psycopg.rows import Row

from datagate.errors import NotSupportedError, RightsChanged
from datagate.frontends.driver.cursors import NO_COPY, NO_PARAMETERS, GatedCursor, GatedServerCursor, rows_of

if TYPE_CHECKING:
    from datagate.frontends.driver.connections_async import AsyncConnection


class _Sending(GatedCursor["AsyncConnection[Any]", Row], psycopg.AsyncCursor[Row]):
    """The methods that client-side and server-side cursors have in common."""

    __slots__ = ()
    _conn: AsyncConnection[Any]

    async def stream(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int = 1
    ) -> AsyncIterator[Row]:
        """Iterate row by row on a result from the database, without keeping it."""
        conn = self._conn
        try:
            rows = cast(
                "AsyncGenerator[Row]",
                super().stream(rows_of(conn.admit(query, params)), params, binary=binary, size=size),
            )
            async with aclosing(rows):
                async for row in rows:
                    conn.check_revoked()
                    yield row
        except psycopg.Error as error:
            fault = conn.fault(error)
        except RightsChanged:
            if self.pgresult is not None or conn.revoked or not conn.may_start_over:
                raise
            fault = None
        else:
            return
        if fault is not None:
            raise fault
        await conn.start_over()
        rows = cast("AsyncGenerator[Row]", super().stream(conn.admit(query, params), params, binary=binary, size=size))
        async with aclosing(rows):
            async for row in rows:
                conn.check_revoked()
                yield row

    def copy(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse: COPY is not supported."""
        raise NotSupportedError(NO_COPY)

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Move the cursor in the result set."""
        try:
            return await super().scroll(index(value), mode)
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        raise fault


class AsyncCursor(_Sending[Row]):
    """A client-side cursor."""

    __module__ = "datagate.frontends.driver"
    __slots__ = ()

    async def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Have a statement admitted and execute it.

        Where the caller's rights changed a moment ago, and the statement is its transaction's first, it is admitted
        anew and run once more.

        Raises:
            DatagateError: Any of the tree in `datagate.errors`.
        """
        conn = self._conn
        try:
            return await super().execute(conn.admit(query, params), params, prepare=prepare, binary=binary)
        except psycopg.Error as error:
            fault = conn.fault(error)
        except RightsChanged:
            if not conn.may_start_over:
                raise
            fault = None
        if fault is not None:
            raise fault
        await conn.start_over()
        return await super().execute(conn.admit(query, params), params, prepare=prepare, binary=binary)

    async def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Have a statement admitted once and execute it for each set of parameters."""
        conn = self._conn
        try:
            return await super().executemany(conn.admit(query, NO_PARAMETERS), params_seq, returning=returning)
        except psycopg.Error as error:
            fault = conn.fault(error)
        except RightsChanged:
            if not conn.may_start_over or not isinstance(params_seq, list | tuple):
                raise
            fault = None
        if fault is not None:
            raise fault
        await conn.start_over()
        return await super().executemany(conn.admit(query, NO_PARAMETERS), params_seq, returning=returning)

    # The bodies of fetchone and __anext__ are psycopg's, spelt out here because a call more per row is 10 %.

    async def fetchone(self) -> Row | None:
        """Return the next row, or None at the end."""
        try:
            await self._fetch_pipeline()
            result = self._check_result_for_fetch()
            if self._pos < result.ntuples:
                record = self._tx.load_row(self._pos, self._make_row)
                self._pos += 1
                return record
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        else:
            return None
        raise fault

    async def __anext__(self) -> Row:
        try:
            await self._fetch_pipeline()
            result = self._check_result_for_fetch()
            if self._pos < result.ntuples:
                record = self._tx.load_row(self._pos, self._make_row)
                self._pos += 1
                return record
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        else:
            raise StopAsyncIteration
        raise fault

    async def fetchmany(self, size: int = 0) -> list[Row]:
        """Return the next ``size`` rows (``arraysize`` by default)."""
        try:
            return await super().fetchmany(size)
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        raise fault

    async def fetchall(self) -> list[Row]:
        """Return all remaining rows."""
        try:
            return await super().fetchall()
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        raise fault


class AsyncServerCursor(_Sending[Row], GatedServerCursor["AsyncConnection[Any]", Row], psycopg.AsyncServerCursor[Row]):
    """A server-side (named) cursor."""

    __module__ = "datagate.frontends.driver"
    __slots__ = ()

    async def execute(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, **kwargs: Any
    ) -> Self:
        """Have a query admitted and open a cursor on it."""
        conn = self._conn
        try:
            return await super().execute(conn.admit(query, params), params, binary=binary, **kwargs)
        except psycopg.Error as error:
            fault = conn.fault(error)
        raise fault

    async def executemany(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse: a server-side cursor runs one query."""
        raise NotSupportedError("executemany is not supported on server-side cursors")

    async def fetchmany(self, size: int = 0) -> list[Row]:
        """Return the next ``size`` rows (``arraysize`` by default)."""
        return await super().fetchmany(index(size))
