"""asyncpg's way to the wire, with the gate in it.

Law: all that asyncpg sends, for its caller or for itself (types that it looks up, transactions, portals), it sends by
methods of its protocol object. A connection of ours has `GatedProtocol` in that place, which sends what the gate
admitted and nothing else; a method of asyncpg's protocol that it does not have fails. Statements stay prepared, but are
admitted anew each time that they run, and prepared anew where the gate's text has changed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg

from datagate.audit import Completion
from datagate.backends.postgres.parameters import check_types
from datagate.errors import (
    DatagateError,
    Error,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    RightsChanged,
    SeveralStatements,
)
from datagate.frontends.driver.admission import Admission, Admitted
from datagate.frontends.driver.asyncpg_state import ARRAYS, GatedState, fits
from datagate.frontends.driver.cursors import NO_COPY, TO_COPY

if TYPE_CHECKING:
    from datagate.frontends.driver.asyncpg_connection import AsyncpgConnection

_BEGIN = re.compile(r"\s*(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
_NAME = "__asyncpg_savepoint_[0-9a-f]+__"
# What asyncpg's transactions send; the driver lets psycopg's pass in the same way.
_OWN = re.compile(
    rf"""BEGIN(?:\ ISOLATION\ LEVEL\ (?:READ\ (?:UN)?COMMITTED|REPEATABLE\ READ|SERIALIZABLE))?
            (?:\ READ\ ONLY)?(?:\ DEFERRABLE)?;
    | COMMIT; | ROLLBACK; | (?:SAVEPOINT|RELEASE\ SAVEPOINT|ROLLBACK\ TO)\ {_NAME};""",
    re.VERBOSE,
)
_SEVERAL = "asyncpg sends one statement at a time; send them one after the other"
_TRANSACTION = re.compile(r"\s*(;|$|(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SHOW)\b)", re.IGNORECASE)
_LOOKS = 5
_Send = Callable[[Any, tuple[object, ...]], Awaitable[Any]]


class GatedProtocol:
    """What stands in the place of asyncpg's protocol object."""

    def __init__(self, inner: Any, connection: AsyncpgConnection) -> None:
        self._inner = inner
        self._connection = connection
        self._portals: dict[str, Any] = {}
        self._begun_by: str | None = None
        self._made = 0
        self.busy = 0
        self.own = 0
        self.get_settings = inner.get_settings
        self.get_server_pid = inner.get_server_pid
        self.get_record_class = inner.get_record_class
        self.is_in_transaction = inner.is_in_transaction
        self.is_connected = inner.is_connected
        self.is_closed = inner.is_closed
        self.abort = inner.abort
        self.close = inner.close
        self._get_timeout = inner._get_timeout
        self._is_cancelling = inner._is_cancelling
        self._wait_for_cancellation = inner._wait_for_cancellation

    @property
    def backend_pid(self) -> int:
        """As asyncpg's."""
        return int(self._inner.backend_pid)

    @property
    def backend_secret(self) -> object:
        """As asyncpg's."""
        return self._inner.backend_secret

    @property
    def queries_count(self) -> int:
        """As asyncpg's."""
        return int(self._inner.queries_count)

    # --- statements --------------------------------------------------------------------------------------------------

    async def prepare(
        self, stmt_name: str, query: str, timeout: Any, *, record_class: type, ignore_custom_codec: bool = False
    ) -> GatedState:
        """Prepare what the gate would send for a text now; it is admitted, and recorded, when it runs.

        What is refused, or fails on the server already, is recorded now.
        """
        state = GatedState(query, stmt_name, record_class=record_class, ignore_custom_codec=ignore_custom_codec)
        way = self._way()
        session: Any = way.session
        try:
            admitted = session.explain(query).admitted if query.strip(" \t\r\n\f\v;") else way.admit_numbered(query)
        except DatagateError:
            admitted = None
        if admitted is None:
            admitted = _one(way, query)
        way.asked = query
        try:
            await self._sending(way, lambda: self._fit(state, admitted, timeout))
        except Error as error:
            fault = error
        else:
            return state
        begun = perf_counter_ns()
        way.admit_numbered(query)
        self._failed(way, begun, fault)
        raise fault

    async def bind_execute(
        self, state: GatedState, args: Sequence[object], portal_name: str, limit: int, return_extra: bool, timeout: Any
    ) -> Any:
        """Run a prepared statement."""

        async def send(prepared: Any, values: tuple[object, ...]) -> Any:
            out = await self._inner.bind_execute(prepared, values, portal_name, limit, True, timeout)
            if portal_name:
                self._portals[portal_name] = prepared
            return out

        data, status, exhausted = await self._run(state, args, timeout, send, portal=portal_name)
        if state.admitted is not None and not state.admitted.shows_rows:
            data = []
        return (data, status, exhausted) if return_extra else data

    async def bind_execute_many(
        self, state: GatedState, args: Iterable[Sequence[object]], portal_name: str, timeout: Any, return_rows: bool
    ) -> Any:
        """Run a prepared statement for each set of parameters."""
        sets = [tuple(each) for each in args]

        async def send(prepared: Any, values: tuple[object, ...]) -> Any:
            every = [(*each, *values) for each in sets]
            return await self._inner.bind_execute_many(prepared, every, portal_name, timeout, return_rows)

        return await self._run(state, (), timeout, send, sets=sets)

    async def bind(self, state: GatedState, args: Sequence[object], portal_name: str, timeout: Any) -> Any:
        """Open a portal."""

        async def send(prepared: Any, values: tuple[object, ...]) -> Any:
            out = await self._inner.bind(prepared, values, portal_name, timeout)
            self._portals[portal_name] = prepared
            return out

        return await self._run(state, args, timeout, send, portal=portal_name)

    async def execute(self, state: GatedState, portal_name: str, limit: int, return_extra: bool, timeout: Any) -> Any:
        """Read on from a portal, if what it was opened under is still in force."""
        way = self._way()
        way.check_cursor(portal_name)
        way.asked = state.query
        prepared = self._portals[portal_name]
        read = self._inner.execute
        return await self._sending(way, lambda: read(prepared, portal_name, limit, return_extra, timeout))

    async def close_portal(self, portal_name: str, timeout: Any) -> None:
        """Close a portal of this connection's."""
        if self._portals.pop(portal_name, None) is not None:
            await self._sending(self._way(), lambda: self._inner.close_portal(portal_name, timeout))

    async def close_statement(self, state: GatedState, timeout: Any) -> None:
        """Have the server forget a statement."""
        prepared, state.prepared = state.prepared, None
        if prepared is not None:
            await self._inner.close_statement(prepared, timeout)

    async def query(self, query: str, timeout: Any) -> Any:
        """Run a text without parameters of the caller's, and return the server's word for what was done."""
        if _OWN.fullmatch(query):
            status = await self._sending(self._way(), lambda: self._inner.query(query, timeout))
            self._begun_by = query if query.startswith("BEGIN") else None
            return status
        plain = GatedState(query, "", record_class=self._inner.get_record_class(), ignore_custom_codec=False)
        begins = _BEGIN.match(query) is not None

        async def send(prepared: Any, values: tuple[object, ...]) -> Any:
            if prepared is None:
                return await self._inner.query(plain.admitted.text if plain.admitted is not None else ";", timeout)
            _, status, _ = await self._inner.bind_execute(prepared, values, "", 0, True, timeout)
            return (status or b"").decode()

        status = await self._run(plain, (), timeout, send, simple=True)
        self._begun_by = query if begins and self.is_in_transaction() else None
        return status

    async def copy_out(self, copy_stmt: str, sink: Any, timeout: Any) -> str:
        """COPY … TO STDOUT, admitted."""
        way = self._way()
        admitted = way.admit_numbered(copy_stmt)
        if not admitted.copies or admitted.parameters:
            raise NotSupportedError(NO_COPY)
        self._begun_by = None
        begun = perf_counter_ns()
        status: str = await self._sending(way, lambda: self._inner.copy_out(admitted.text, sink, timeout), begun)
        self._completed(way, begun, None)
        return status

    async def copy_in(self, *_args: object) -> NoReturn:
        """Refuse: rows that come in are checked by INSERT."""
        raise NotSupportedError(NO_COPY)

    async def put_away(self, text: str) -> None:
        """Send a text of this driver's own, between two callers."""
        try:
            await self._inner.query(text, None)
        except asyncpg.PostgresError as error:
            state = error.sqlstate or "XX000"
        else:
            self._begun_by = None
            self._portals.clear()
            return
        raise OperationalError(f"what the last caller left could not be put away (SQLSTATE {state})")

    # --- how they run ------------------------------------------------------------------------------------------------

    def _way(self) -> Admission:
        way = self._connection.admission
        if way is None:
            raise InterfaceError("the connection has no gate; take it from the engine of a caller")
        return way

    async def _run(
        self,
        state: GatedState,
        args: Sequence[object],
        timeout: Any,
        send: _Send,
        *,
        portal: str = "",
        sets: Sequence[tuple[object, ...]] | None = None,
        simple: bool = False,
    ) -> Any:
        """Have a statement admitted and run it; once more, if rights changed and nothing is lost by starting over."""
        way = self._way()
        begun_by = self._begun_by
        first = begun_by is not None or not self.is_in_transaction()
        try:
            return await self._run_once(way, state, args, timeout, send, portal, sets, simple=simple)
        except RightsChanged:
            if not first:
                raise
        if self.is_in_transaction():
            await self._inner.query("ROLLBACK", timeout)
        if begun_by is not None:
            await self._inner.query(begun_by, timeout)
        return await self._run_once(way, state, args, timeout, send, portal, sets, simple=simple)

    async def _run_once(
        self,
        way: Admission,
        state: GatedState,
        args: Sequence[object],
        timeout: Any,
        send: _Send,
        portal: str,
        sets: Sequence[tuple[object, ...]] | None,
        *,
        simple: bool,
    ) -> Any:
        admitted = _one(way, state.query)
        if admitted.copies:
            raise NotSupportedError(TO_COPY)
        self._begun_by = None
        if admitted.kind.name != "QUERY" and not _TRANSACTION.match(state.query):
            self._connection.left_something = True
        values = tuple(list(each) if isinstance(each, tuple) else each for each in admitted.parameters)
        begun = perf_counter_ns()

        async def sent() -> Any:
            nonlocal values
            if simple and not values:
                state.admitted, state.prepared = admitted, None
                return await send(None, ())
            await self._fit(state, admitted, timeout)
            if not fits(state, args if sets is None else None, sets or ()):
                without = way.session.admit(state.query, assuming=False)
                values = tuple(list(each) if isinstance(each, tuple) else each for each in without.parameters)
                await self._fit(state, without, timeout)
            return await send(state.prepared, values if sets is not None else (*args, *values))

        if portal:
            way.opened(portal)
        out = await self._sending(way, sent, begun)
        self._completed(way, begun, len(out[0]) if isinstance(out, tuple) else None)
        return out

    async def _sending(self, way: Admission, send: Callable[[], Awaitable[Any]], begun: int | None = None) -> Any:
        """Await something that is sent; what goes wrong becomes an error of datagate's, with nothing hanging on it."""
        self.busy += 1
        self._connection.begins()
        try:
            return await send()
        except asyncpg.PostgresError as error:
            fault = self._connection.fault(way, error)
        except asyncpg.InterfaceError as error:
            fault = _clients_own(error, self._connection)
        except Error as error:
            fault = error
        finally:
            self.busy -= 1
        if begun is not None:
            self._failed(way, begun, fault)
        raise fault

    @staticmethod
    def _failed(way: Admission, begun: int, fault: Error) -> None:
        took = (perf_counter_ns() - begun) // 1000
        way.session.complete(way.session.recorded, Completion(None, took, fault.sqlstate))

    def _completed(self, way: Admission, begun: int, rows: int | None) -> None:
        way.session.complete(way.session.recorded, Completion(rows, (perf_counter_ns() - begun) // 1000))

    async def _fit(self, state: GatedState, admitted: Admitted, timeout: Any) -> None:
        """Have the server prepared for what the gate admits now."""
        known = state.admitted
        if state.prepared is not None and known is not None and known.text == admitted.text:
            state.admitted, self.own = admitted, admitted.caller_parameters
            return
        former, name = state.prepared, state.name
        if former is not None and name:
            self._made += 1
            name = f"{state.name}{self._made}"
        prepared = await self._inner.prepare(
            name,
            admitted.text,
            timeout,
            record_class=state.record_class,
            ignore_custom_codec=state.ignore_custom_codec,
        )
        await self._look_up(prepared)
        types = tuple(each.oid for each in prepared._get_parameters())
        check_types(types[: admitted.caller_parameters])
        if len(types) != admitted.caller_parameters + len(admitted.parameters):
            raise ProgrammingError("the statement's parameters are not numbered from $1 on without a gap")
        if former is not None and state.name:
            await self._inner.close_statement(former, timeout)
        state.prepared, state.admitted, state.types = prepared, admitted, types
        self.own = admitted.caller_parameters
        if state.described is not None and state.described != state.attributes():
            state.closed = True
            raise RightsChanged("the columns of this statement changed with the caller's rights; run it again")

    async def _look_up(self, prepared: Any) -> None:
        """Learn the types of a statement, as asyncpg does, in the caller's name."""
        settings = self._inner.get_settings()
        missing = prepared._init_types()
        if not ARRAYS.keys().isdisjoint(missing):
            # Policy values come in arrays of PostgreSQL's own, and so do those of the question about types itself.
            settings.register_data_types([ARRAYS[each] for each in missing if each in ARRAYS])
            missing = prepared._init_types()
        looks = 0
        while missing:
            if looks == _LOOKS:
                raise InternalError("the types of the statement could not be looked up")
            types, _ = await self._connection._introspect_types(missing, None)
            settings.register_data_types(types)
            missing = prepared._init_types()
            looks += 1
        prepared._init_codecs()
        if looks and not prepared.name:
            # What was asked meanwhile has taken its place on the server.
            prepared.mark_unprepared()


def _one(way: Admission, text: str) -> Admitted:
    """Have a statement admitted that stands alone in its text."""
    try:
        return way.admit_numbered(text)
    except SeveralStatements:
        pass
    raise NotSupportedError(_SEVERAL)


def _clients_own(error: asyncpg.InterfaceError, connection: AsyncpgConnection) -> Error:
    """Translate what asyncpg itself finds wrong."""
    if connection.is_closed():
        return OperationalError("the connection to the server is closed or was lost; connect again")
    return InterfaceError(str(error))
