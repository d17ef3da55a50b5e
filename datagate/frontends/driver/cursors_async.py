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

from datagate.errors import AuditUnavailable, Error, NotSupportedError, RightsChanged, SeveralStatements
from datagate.frontends.driver.completing import Tally, end_all, rows_in
from datagate.frontends.driver.cursors import (
    NO_COPY,
    NO_PARAMETERS,
    GatedCursor,
    GatedServerCursor,
    no_copy,
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
            async with aclosing(self._while_permitted(query, params, binary, size)) as rows:
                async for row in rows:
                    yield row
        except RightsChanged:
            if self.pgresult is not None or conn.revoked or not conn.may_start_over:
                raise
        else:
            return
        await conn.start_over()
        async with aclosing(self._while_permitted(query, params, binary, size)) as rows:
            async for row in rows:
                yield row

    async def _while_permitted(
        self, query: Query, params: Params | None, binary: bool | None, size: int
    ) -> AsyncGenerator[Row]:
        """Rows as they come, none after the gate has cancelled the statement, though they may have come before."""
        conn = self._conn
        statement = rows_of(conn.admit(query, params))
        tally, counted = conn.tally(), None
        try:
            streamed = cast("AsyncGenerator[Row]", super().stream(statement, params, binary=binary, size=size))
            async with aclosing(streamed) as rows:
                async for row in rows:
                    conn.check_revoked()
                    if self.pgresult is not counted and self.pgresult is not None:
                        counted = self.pgresult
                        tally.add(counted)
                    yield row
        except psycopg.Error as error:
            fault = conn.fault(error)
        except BaseException as error:
            tally.end(error)
            raise
        else:
            tally.end()
            return
        tally.end(fault)
        raise fault

    def copy(  # type: ignore[override] # the door opens before the context is entered
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AbstractAsyncContextManager[AsyncCopy]:
        """Have COPY … TO STDOUT admitted, and read what it gives (`psycopg.AsyncCursor.copy`)."""
        admitted = self._conn.admit(statement, params)
        if not admitted.copies:
            raise NotSupportedError(NO_COPY)
        return self._copying(admitted, params, writer, self._conn.tally())

    @asynccontextmanager
    async def _copying(
        self, admitted: Any, params: Params | None, writer: AsyncWriter | None, tally: Tally
    ) -> AsyncIterator[AsyncCopy]:
        try:
            async with super().copy(admitted, params, writer=writer) as copying:
                yield copying
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        except BaseException as error:
            tally.end(error)
            raise
        else:
            tally.rows = rows_in(self)
            tally.end()
            return
        tally.end(fault)
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
        try:
            return await self._run(query, params, prepare, binary)
        except RightsChanged:
            if not conn.may_start_over:
                raise
            texts: Sequence[str] = ()
        except SeveralStatements as several:
            if params is not None:
                raise
            texts = several.texts
        if texts:
            return await self._execute_several(texts, binary=binary)
        await conn.start_over()
        return await self._run(query, params, prepare, binary)

    async def _run(self, query: Query, params: Params | None, prepare: bool | None, binary: bool | None) -> Self:
        """Execute a statement while it is being recorded, where it only reads; its rows stay here until it is."""
        conn = self._conn
        statement = no_copy(conn.admit(query, params, ahead=conn.gives_rows_at_once))
        begun = perf_counter_ns()
        try:
            await super().execute(statement, params, prepare=prepare, binary=binary)
            conn.completed(begun, rows_in(self), self.pgresult)
        except AuditUnavailable:
            self._reset()
            raise
        except psycopg.Error as error:
            fault = conn.fault(error)
        except BaseException as error:
            conn.failed(begun, error)
            raise
        else:
            return self
        conn.failed(begun, fault)
        raise fault

    async def _execute_several(self, texts: Sequence[str], *, binary: bool | None) -> Self:
        """Run the statements of one text: all are admitted before the first is sent; all take effect, or none."""
        conn = self._conn
        admitted = [(no_copy(conn.admit(text, None)), conn.tally()) for text in texts]
        results = []
        fault: Error | None = None
        try:
            async with conn.transaction() if conn.is_alone([each for each, _ in admitted]) else nullcontext():
                for statement, tally in admitted:
                    tally.start()
                    try:
                        await super().execute(statement, binary=binary)
                    except BaseException as error:
                        end_all(admitted, error)
                        raise
                    tally.take(self.pgresult, rows_in(self))
                    tally.end()
                    results += self._results
        except psycopg.Error as error:
            fault = conn.fault(error)
        if fault is not None:
            raise fault
        self._results = results
        self._select_current_result(0)
        return self

    async def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Have a statement admitted once and execute it for each set of parameters."""
        conn = self._conn
        try:
            return await self._run_many(query, params_seq, returning=returning)
        except RightsChanged:
            if not conn.may_start_over or not isinstance(params_seq, list | tuple):
                raise
        await conn.start_over()
        return await self._run_many(query, params_seq, returning=returning)

    async def _run_many(self, query: Query, params_seq: Iterable[Params], *, returning: bool) -> None:
        conn = self._conn
        statement = conn.admit(query, NO_PARAMETERS)
        begun = perf_counter_ns()
        try:
            await super().executemany(statement, params_seq, returning=returning)
        except psycopg.Error as error:
            fault = conn.fault(error)
        except BaseException as error:
            conn.failed(begun, error)
            raise
        else:
            return conn.completed(begun, rows_in(self), self.pgresult)
        conn.failed(begun, fault)
        raise fault

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
    __slots__ = ("_tally",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tally = None

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
