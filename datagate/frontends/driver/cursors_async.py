"""The asynchronous cursors; see `datagate.frontends.driver.cursors` for the law that all keep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from operator import index
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import psycopg
from psycopg import AsyncCopy
from psycopg._copy_async import AsyncWriter
from psycopg.abc import Params, Query
from psycopg.rows import Row

from datagate.errors import Error, NotSupportedError, RightsChanged, SeveralStatements
from datagate.frontends.driver.cursors import (
    NO_COPY,
    NO_PARAMETERS,
    GatedCursor,
    GatedServerCursor,
    no_copy,
    rows_in,
    rows_of,
)

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
                    yield row
        except psycopg.Error as error:
            fault = conn.fault(error)
        except RightsChanged:
            if self.pgresult is not None or not conn.may_start_over:
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
                yield row

    def copy(  # type: ignore[override] # the door opens before the context is entered
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AbstractAsyncContextManager[AsyncCopy]:
        """Have COPY … TO STDOUT admitted, and read what it gives (`psycopg.AsyncCursor.copy`)."""
        admitted = self._conn.admit(statement, params)
        if not admitted.copies:
            raise NotSupportedError(NO_COPY)
        return self._copying(admitted, params, writer)

    @asynccontextmanager
    async def _copying(
        self, admitted: Any, params: Params | None, writer: AsyncWriter | None
    ) -> AsyncIterator[AsyncCopy]:
        conn = self._conn
        try:
            async with super().copy(admitted, params, writer=writer) as copying:
                yield copying
        except psycopg.Error as error:
            fault = conn.fault(error)
        else:
            return
        raise fault

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
        begun = None
        try:
            statement = no_copy(conn.admit(query, params))
            begun = perf_counter_ns()
            out = await super().execute(statement, params, prepare=prepare, binary=binary)
        except psycopg.Error as error:
            fault = conn.fault(error)
        except RightsChanged as changed:
            conn.failed(begun, changed)
            if not conn.may_start_over:
                raise
            fault = None
        except SeveralStatements as several:
            if params is not None:
                raise
            return await self._execute_several(several.texts, binary=binary)
        except Error as error:
            conn.failed(begun, error)
            raise
        else:
            conn.completed(begun, rows_in(self), self.pgresult)
            return out
        if fault is not None:
            conn.failed(begun, fault)
            raise fault
        await conn.start_over()
        statement = conn.admit(query, params)
        begun = perf_counter_ns()
        out = await super().execute(statement, params, prepare=prepare, binary=binary)
        conn.completed(begun, rows_in(self), self.pgresult)
        return out

    async def _execute_several(self, texts: Sequence[str], *, binary: bool | None) -> Self:
        """Run the statements of one text: all are admitted before the first is sent; all take effect, or none."""
        conn = self._conn
        admitted = [no_copy(conn.admit(text, None)) for text in texts]
        results = []
        try:
            async with conn.transaction() if conn.is_alone(admitted) else nullcontext():
                for statement in admitted:
                    await super().execute(statement, binary=binary)
                    results += self._results
        except psycopg.Error as error:
            fault = conn.fault(error)
        else:
            self._results = results
            self._select_current_result(0)
            return self
        raise fault

    async def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Have a statement admitted once and execute it for each set of parameters."""
        conn = self._conn
        begun = None
        try:
            statement = conn.admit(query, NO_PARAMETERS)
            begun = perf_counter_ns()
            await super().executemany(statement, params_seq, returning=returning)
        except psycopg.Error as error:
            fault = conn.fault(error)
        except RightsChanged as changed:
            conn.failed(begun, changed)
            if not conn.may_start_over or not isinstance(params_seq, list | tuple):
                raise
            fault = None
        except Error as error:
            conn.failed(begun, error)
            raise
        else:
            conn.completed(begun, rows_in(self), self.pgresult)
            return
        if fault is not None:
            conn.failed(begun, fault)
            raise fault
        await conn.start_over()
        statement = conn.admit(query, NO_PARAMETERS)
        begun = perf_counter_ns()
        await super().executemany(statement, params_seq, returning=returning)
        conn.completed(begun, rows_in(self), self.pgresult)

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
