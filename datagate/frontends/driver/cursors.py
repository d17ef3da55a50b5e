"""Cursors that send only what the gate admitted; in all else they are psycopg's.

Each method that takes a statement has it admitted first, then hands the `Statement` to psycopg's own method. Fetching
is psycopg's code: a ``try`` costs nothing until it catches. Errors are raised outside of their ``except`` block, so
that nothing of psycopg's hangs on them as ``__context__``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from operator import index
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import psycopg
from psycopg import Copy, pq
from psycopg._copy import Writer
from psycopg._cursor_base import BaseCursor  # private, and pinned with psycopg's minor version
from psycopg._server_cursor_base import ServerCursorMixin
from psycopg.abc import ConnectionType, Params, PQGen, Query
from psycopg.rows import Row
from psycopg.sql import SQL

from datagate.errors import (
    AuditUnavailable,
    Error,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    RightsChanged,
    SeveralStatements,
)
from datagate.frontends.driver.admission import GatedQuery, Statement
from datagate.frontends.driver.completing import Tally, end_all, rows_in
from datagate.model.guard import CHECKED

if TYPE_CHECKING:
    from datagate.frontends.driver.connections import Connection
    from datagate.frontends.driver.guarding import Gated

NO_COPY = "cursor.copy() is for COPY … TO STDOUT; send INSERTs, or executemany(), to write"
TO_COPY = "COPY sends its rows by another protocol; use cursor.copy()"
NO_PARAMETERS: tuple[object, ...] = ()
_CHECKED = CHECKED.encode()


class GatedCursor(BaseCursor[ConnectionType, Row]):
    """What all cursors of this driver share: they turn nothing but admitted statements into queries."""

    __slots__ = ()
    _query_cls = GatedQuery

    def _start_query(self, query: Query | None = None) -> PQGen[None]:
        if self._closed:
            raise InterfaceError("the cursor is closed")
        connection: Gated[Any] = self._conn  # type: ignore[assignment] # connections.py refuses others
        connection.expect_cursor()
        return super()._start_query(query)

    def _select_current_result(self, i: int, format: pq.Format | None = None) -> None:  # noqa: A002 - psycopg's name
        super()._select_current_result(i, format)
        result = self._results[i]
        if result.status == pq.ExecStatus.TUPLES_OK and result.nfields == 1 and result.fname(0) == _CHECKED:
            # Rows of the gate's own, by which it checked what was written.
            self._rowcount = result.command_tuples or 0
            self.pgresult = self._pgconn.make_empty_result(pq.ExecStatus.COMMAND_OK)
            self._tx.set_pgresult(self.pgresult)


def rows_of(statement: Any) -> Any:
    """The statement, if it gives rows to the caller."""
    if not statement.shows_rows:
        raise ProgrammingError("stream() needs a statement that gives rows; use execute(), or write RETURNING")
    return statement


def no_copy(statement: Any) -> Any:
    """The statement, if its rows come as those of a query do."""
    if statement.copies:
        raise NotSupportedError(TO_COPY)
    return statement


class GatedServerCursor(GatedCursor[ConnectionType, Row], ServerCursorMixin[ConnectionType, Row]):
    """What sync and async server-side cursors share: the query is admitted, then DECLAREd; fetched rows are counted."""

    __slots__ = ()
    _tally: Tally | None

    def _make_declare_statement(self, query: Any) -> Any:
        if type(query) is not Statement or not query.is_query:
            raise NotSupportedError("a server-side cursor needs a SELECT or VALUES")
        connection: Gated[Any] = self._conn  # type: ignore[assignment] # connections.py refuses others
        connection.opened(self._name)
        prefix = super()._make_declare_statement(SQL(""))
        # It may be held beyond the transaction.
        self._conn.has_session_state = True  # type: ignore[attr-defined] # only Gated ones come here
        return query.declared(prefix.as_bytes(self._conn))  # type: ignore[union-attr] # SQL in, SQL out

    def _declare_gen(self, query: Query, params: Params | None = None, binary: bool | None = None) -> PQGen[None]:
        self._end()
        self._tally, tally = None, self._conn.tally()  # type: ignore[attr-defined] # only Gated ones come here
        try:
            yield from super()._declare_gen(query, params, binary)
        except BaseException as error:
            tally.end(error)
            raise
        self._tally = tally

    def _fetch_gen(self, num: int | None) -> PQGen[list[Row]]:
        rows = yield from super()._fetch_gen(num)
        if self._tally is not None and self.pgresult is not None:
            self._tally.add(self.pgresult)
        return rows

    def _close_gen(self) -> PQGen[None]:
        try:
            yield from super()._close_gen()
        finally:
            self._end()

    def _end(self) -> None:
        if self._tally is not None:
            self._tally.end()


class _Sending(GatedCursor["Connection[Any]", Row], psycopg.Cursor[Row]):
    """The methods that client-side and server-side cursors have in common."""

    __slots__ = ()
    _conn: Connection[Any]

    def stream(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int = 1
    ) -> Iterator[Row]:
        """Iterate row by row on a result from the database, without keeping it."""
        conn = self._conn
        try:
            yield from self._while_permitted(query, params, binary, size)
        except RightsChanged:
            if self.pgresult is not None or conn.revoked or not conn.may_start_over:
                raise
        else:
            return
        conn.start_over()
        yield from self._while_permitted(query, params, binary, size)

    def _while_permitted(self, query: Query, params: Params | None, binary: bool | None, size: int) -> Iterator[Row]:
        """Rows as they come, none after the gate has cancelled the statement, though they may have come before."""
        conn = self._conn
        statement = rows_of(conn.admit(query, params))
        tally, counted = conn.tally(), None
        try:
            with closing(cast("Generator[Row]", super().stream(statement, params, binary=binary, size=size))) as rows:
                for row in rows:
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
        self, statement: Query, params: Params | None = None, *, writer: Writer | None = None
    ) -> AbstractContextManager[Copy]:
        """Have COPY … TO STDOUT admitted, and read what it gives (`psycopg.Cursor.copy`)."""
        admitted = self._conn.admit(statement, params)
        if not admitted.copies:
            raise NotSupportedError(NO_COPY)
        return self._copying(admitted, params, writer, self._conn.tally())

    @contextmanager
    def _copying(self, admitted: Any, params: Params | None, writer: Writer | None, tally: Tally) -> Iterator[Copy]:
        try:
            with super().copy(admitted, params, writer=writer) as copying:
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

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move the cursor in the result set."""
        try:
            return super().scroll(index(value), mode)
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        raise fault


class Cursor(_Sending[Row]):
    """A client-side cursor."""

    __module__ = "datagate.frontends.driver"
    __slots__ = ()

    def execute(
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
            return self._run(query, params, prepare, binary)
        except RightsChanged:
            if not conn.may_start_over:
                raise
            texts: Sequence[str] = ()
        except SeveralStatements as several:
            if params is not None:
                raise
            texts = several.texts
        if texts:
            return self._execute_several(texts, binary=binary)
        conn.start_over()
        return self._run(query, params, prepare, binary)

    def _run(self, query: Query, params: Params | None, prepare: bool | None, binary: bool | None) -> Self:
        """Execute a statement while it is being recorded, where it only reads; its rows stay here until it is."""
        conn = self._conn
        statement = no_copy(conn.admit(query, params, ahead=conn.gives_rows_at_once))
        begun = perf_counter_ns()
        try:
            super().execute(statement, params, prepare=prepare, binary=binary)
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

    def _execute_several(self, texts: Sequence[str], *, binary: bool | None) -> Self:
        """Run the statements of one text: all are admitted before the first is sent; all take effect, or none."""
        conn = self._conn
        admitted = [(no_copy(conn.admit(text, None)), conn.tally()) for text in texts]
        results = []
        fault: Error | None = None
        try:
            with conn.transaction() if conn.is_alone([each for each, _ in admitted]) else nullcontext():
                for statement, tally in admitted:
                    tally.start()
                    try:
                        super().execute(statement, binary=binary)
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

    def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Have a statement admitted once and execute it for each set of parameters."""
        conn = self._conn
        try:
            return self._run_many(query, params_seq, returning=returning)
        except RightsChanged:
            if not conn.may_start_over or not isinstance(params_seq, list | tuple):
                raise
        conn.start_over()
        return self._run_many(query, params_seq, returning=returning)

    def _run_many(self, query: Query, params_seq: Iterable[Params], *, returning: bool) -> None:
        conn = self._conn
        statement = conn.admit(query, NO_PARAMETERS)
        begun = perf_counter_ns()
        try:
            super().executemany(statement, params_seq, returning=returning)
        except psycopg.Error as error:
            fault = conn.fault(error)
        except BaseException as error:
            conn.failed(begun, error)
            raise
        else:
            return conn.completed(begun, rows_in(self), self.pgresult)
        conn.failed(begun, fault)
        raise fault

    # The bodies of fetchone and __next__ are psycopg's, spelt out here because a call more per row is 10 %.

    def fetchone(self) -> Row | None:
        """Return the next row, or None at the end."""
        try:
            self._fetch_pipeline()
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

    def __next__(self) -> Row:
        try:
            self._fetch_pipeline()
            result = self._check_result_for_fetch()
            if self._pos < result.ntuples:
                record = self._tx.load_row(self._pos, self._make_row)
                self._pos += 1
                return record
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        else:
            raise StopIteration
        raise fault

    def fetchmany(self, size: int = 0) -> list[Row]:
        """Return the next ``size`` rows (``arraysize`` by default)."""
        try:
            return super().fetchmany(size)
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        raise fault

    def fetchall(self) -> list[Row]:
        """Return all remaining rows."""
        try:
            return super().fetchall()
        except psycopg.Error as error:
            fault = self._conn.fault(error)
        raise fault


class ServerCursor(_Sending[Row], GatedServerCursor["Connection[Any]", Row], psycopg.ServerCursor[Row]):
    """A server-side (named) cursor."""

    __module__ = "datagate.frontends.driver"
    __slots__ = ("_tally",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tally = None

    def execute(self, query: Query, params: Params | None = None, *, binary: bool | None = None, **kwargs: Any) -> Self:
        """Have a query admitted and open a cursor on it."""
        conn = self._conn
        try:
            return super().execute(conn.admit(query, params), params, binary=binary, **kwargs)
        except psycopg.Error as error:
            fault = conn.fault(error)
        raise fault

    def executemany(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse: a server-side cursor runs one query."""
        raise NotSupportedError("executemany is not supported on server-side cursors")

    def fetchmany(self, size: int = 0) -> list[Row]:
        """Return the next ``size`` rows (``arraysize`` by default)."""
        return super().fetchmany(index(size))
