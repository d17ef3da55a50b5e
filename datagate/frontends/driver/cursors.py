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

from datagate.errors import Error, InterfaceError, NotSupportedError, ProgrammingError, RightsChanged, SeveralStatements
from datagate.frontends.driver.admission import GatedQuery, Statement
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


def rows_in(cursor: BaseCursor[Any, Any]) -> int | None:
    """How many rows a statement returned or changed; None where the server has not said so (a pipeline)."""
    return cursor.rowcount if cursor.rowcount >= 0 else None


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
    """What sync and async server-side cursors share: the query is admitted, then DECLAREd."""

    __slots__ = ()

    def _make_declare_statement(self, query: Any) -> Any:
        if type(query) is not Statement or not query.is_query:
            raise NotSupportedError("a server-side cursor needs a SELECT or VALUES")
        connection: Gated[Any] = self._conn  # type: ignore[assignment] # connections.py refuses others
        connection.opened(self._name)
        prefix = super()._make_declare_statement(SQL(""))
        # It may be held beyond the transaction.
        self._conn.has_session_state = True  # type: ignore[attr-defined] # only Gated ones come here
        return query.declared(prefix.as_bytes(self._conn))  # type: ignore[union-attr] # SQL in, SQL out


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
        conn.start_over()
        yield from self._while_permitted(query, params, binary, size)

    def _while_permitted(self, query: Query, params: Params | None, binary: bool | None, size: int) -> Iterator[Row]:
        """Rows as they come, none after the gate has cancelled the statement, though they may have come before."""
        conn = self._conn
        statement = rows_of(conn.admit(query, params))
        with closing(cast("Generator[Row]", super().stream(statement, params, binary=binary, size=size))) as rows:
            for row in rows:
                conn.check_revoked()
                yield row

    def copy(  # type: ignore[override] # the door opens before the context is entered
        self, statement: Query, params: Params | None = None, *, writer: Writer | None = None
    ) -> AbstractContextManager[Copy]:
        """Have COPY … TO STDOUT admitted, and read what it gives (`psycopg.Cursor.copy`)."""
        admitted = self._conn.admit(statement, params)
        if not admitted.copies:
            raise NotSupportedError(NO_COPY)
        return self._copying(admitted, params, writer)

    @contextmanager
    def _copying(self, admitted: Any, params: Params | None, writer: Writer | None) -> Iterator[Copy]:
        conn = self._conn
        try:
            with super().copy(admitted, params, writer=writer) as copying:
                yield copying
        except psycopg.Error as error:
            fault = conn.fault(error)
        else:
            return
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
        begun = None
        try:
            statement = no_copy(conn.admit(query, params))
            begun = perf_counter_ns()
            out = super().execute(statement, params, prepare=prepare, binary=binary)
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
            return self._execute_several(several.texts, binary=binary)
        except Error as error:
            conn.failed(begun, error)
            raise
        else:
            conn.completed(begun, rows_in(self), self.pgresult)
            return out
        if fault is not None:
            conn.failed(begun, fault)
            raise fault
        conn.start_over()
        statement = conn.admit(query, params)
        begun = perf_counter_ns()
        out = super().execute(statement, params, prepare=prepare, binary=binary)
        conn.completed(begun, rows_in(self), self.pgresult)
        return out

    def _execute_several(self, texts: Sequence[str], *, binary: bool | None) -> Self:
        """Run the statements of one text: all are admitted before the first is sent; all take effect, or none."""
        conn = self._conn
        admitted = [no_copy(conn.admit(text, None)) for text in texts]
        results = []
        try:
            with conn.transaction() if conn.is_alone(admitted) else nullcontext():
                for statement in admitted:
                    super().execute(statement, binary=binary)
                    results += self._results
        except psycopg.Error as error:
            fault = conn.fault(error)
        else:
            self._results = results
            self._select_current_result(0)
            return self
        raise fault

    def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Have a statement admitted once and execute it for each set of parameters."""
        conn = self._conn
        begun = None
        try:
            statement = conn.admit(query, NO_PARAMETERS)
            begun = perf_counter_ns()
            super().executemany(statement, params_seq, returning=returning)
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
        conn.start_over()
        statement = conn.admit(query, NO_PARAMETERS)
        begun = perf_counter_ns()
        super().executemany(statement, params_seq, returning=returning)
        conn.completed(begun, rows_in(self), self.pgresult)

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
    __slots__ = ()

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
