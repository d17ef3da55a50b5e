"""One engine and one pool for all callers; each connection is lent to one caller at a time.

Law: a connection comes out of the pool only through `CallerEngine.raw_connection`, which opens the gate on it for the
engine's caller; it goes back with the gate shut. Whoever takes one out of the pool past that finds it shut.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection, QueuePool, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.engine.base import OptionEngine  # what Engine.execution_options() returns; not in the public index
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.concurrency import await_

from datagate.errors import InterfaceError
from datagate.frontends.driver.dialect import DatagateAsyncDialect, DatagateDialect
from datagate.frontends.driver.lending import lent
from datagate.frontends.orm.connection import CallerConnection, WritesNoMasks
from datagate.frontends.orm.outlook import Lane
from datagate.gate import Gate, GateSession
from datagate.model.caller import Caller

FRONTEND = "session"
_KEPT_LANES = 1024
_PSYCOPG = frozenset({"postgresql+psycopg", "postgresql+psycopg_async", "datagate+psycopg", "datagate"})
_ASYNCPG = "postgresql+asyncpg"
_GATE_SETTINGS = ("policies", "state", "keyring", "audit")
_DIALECT_SETTINGS = {
    "isolation_level": "_on_connect_isolation_level",
    "json_serializer": "_json_serializer",
    "json_deserializer": "_json_deserializer",
    "native_inet_types": "_native_inet_types",
    "client_encoding": "client_encoding",
}
_BORROWER: ContextVar[Lane] = ContextVar("datagate_borrower")


class _AtTheDoor:
    """The gate as the driver meets it when the pool opens a connection: for whoever the connection is opened."""

    def __init__(self, gate: Gate) -> None:
        self.session_settings = gate.session_settings

    def session(self, caller: Caller, *, frontend: str) -> GateSession:  # noqa: ARG002 - the driver's protocol
        """The borrower's way through the gate."""
        return borrower().gate_session.beside()


def borrower() -> Lane:
    """For whom the pool is asked for a connection just now.

    Raises:
        InterfaceError: for nobody.
    """
    lane = _BORROWER.get(None)
    if lane is None:
        raise InterfaceError("the pool is shared by callers; take connections from the engine of one of them")
    return lane


class PingsForBorrowers(WritesNoMasks, DefaultDialect):
    """What a dialect needs where connections go from caller to caller."""

    def do_ping(self, dbapi_connection: DBAPIConnection) -> bool:
        """Ask whether the server is there, in the name of the one who is to get the connection."""
        lend(dbapi_connection, borrower())
        alive: bool = super().do_ping(dbapi_connection)
        return alive


class LendingDialect(PingsForBorrowers, DatagateDialect):
    """The driver's dialect, where connections go from caller to caller."""

    supports_statement_cache = True


class LendingAsyncDialect(PingsForBorrowers, DatagateAsyncDialect):
    """The same for asynchronous engines."""

    supports_statement_cache = True


def lend(connection: Any, lane: Lane) -> None:
    """Open the gate on a pooled connection for a caller."""
    lending = lent(connection).lend(lane.gate_session)
    if lending is not None:
        await_(lending)


class CallerEngine(OptionEngine):
    """One caller's engine, over the pool and compiled cache that all callers share."""

    lane: Lane
    _connection_cls = CallerConnection

    def __init__(self, proxied: Engine, execution_options: Any = None, lane: Lane | None = None) -> None:
        if lane is None:
            if not isinstance(proxied, CallerEngine):
                raise InterfaceError("an engine of a caller needs its caller")
            lane = proxied.lane
        self.lane = lane
        super().__init__(proxied, execution_options or {})

    @property
    def caller(self) -> Caller:
        """In whose name everything on this engine runs."""
        return self.lane.gate_session.caller

    def raw_connection(self) -> PoolProxiedConnection:
        """A connection of the pool, lent to this caller."""
        token = _BORROWER.set(self.lane)
        try:
            pooled = self.pool.connect()
            try:
                # What listeners have left there, which need not be what the pool holds.
                lend(pooled.dbapi_connection, self.lane)
            except BaseException as error:
                pooled.invalidate(error if isinstance(error, Exception) else None)
                raise
            return pooled
        finally:
            _BORROWER.reset(token)


CallerEngine._option_cls = CallerEngine  # so that execution_options() keeps the caller


class GatedEngine:
    """An engine whose statements all pass the gate; take `as_caller` of it to run any. Thread-safe."""

    def __init__(self, shared: Engine, gate: Gate, *, is_async: bool) -> None:
        self.gate = gate
        self.is_async = is_async
        self._shared = shared
        self._lanes: OrderedDict[Caller, Lane] = OrderedDict()
        self._lock = threading.Lock()

    def lane(self, caller: Caller) -> Lane:
        """The caller's way, kept for when he comes again."""
        with self._lock:
            found = self._lanes.get(caller)
            if found is None:
                found = self._lanes[caller] = Lane(self.gate.session(caller, frontend=FRONTEND), self.gate)
                if len(self._lanes) > _KEPT_LANES:
                    self._lanes.popitem(last=False)
            self._lanes.move_to_end(caller)
        return found

    def as_caller(self, caller: Caller) -> Engine:
        """The engine of one caller; for an asynchronous engine, put it into `AsyncEngine`."""
        lane = self.lane(caller)
        if lane.engine is None:
            lane.engine = CallerEngine(self._shared, lane=lane)
        return lane.engine

    def connect(self, caller: Caller) -> Connection:
        """A connection for one caller, for Core."""
        self._expect_sync()
        return self.as_caller(caller).connect()

    def async_engine(self, caller: Caller) -> AsyncEngine:
        """The asynchronous engine of one caller."""
        if not self.is_async:
            raise InterfaceError("this engine is synchronous; give gate_engine one from create_async_engine")
        return AsyncEngine(self.as_caller(caller))

    def dispose(self) -> None:
        """Close the pool's connections."""
        self._expect_sync()
        self._shared.dispose()

    async def dispose_async(self) -> None:
        """Close the pool's connections."""
        await AsyncEngine(self._shared).dispose()

    def _expect_sync(self) -> None:
        if self.is_async:
            raise InterfaceError("this engine is asynchronous; use async_engine(caller), dispose_async()")


def gate_engine(engine: Engine | AsyncEngine, gate: Gate) -> GatedEngine:
    """An engine to the same database whose every statement passes the gate.

    The given engine is left as it is, for migrations and the like. What it was told is taken over: URL, listeners of
    ``do_connect``, connection arguments, kind and size of pool, JSON functions, isolation level, execution options.
    Listeners of other events are not: put them on ``gate_engine(…).as_caller(caller)``.

    Raises:
        InterfaceError: it is none of ``postgresql+psycopg`` or ``postgresql+asyncpg``, or opens connections by a
            ``creator`` of its own.
    """
    plain = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    name = _lending(plain)
    is_async = bool(plain.dialect.is_async)
    shared = create_engine(
        plain.url.set(drivername=f"datagate+{name}"),
        creator=_opens_like(plain),
        hide_parameters=plain.hide_parameters,
        execution_options=plain.get_execution_options(),
        logging_name=plain.logging_name,
        echo=plain.echo,
        **_told(plain),
    )
    _follow(plain, shared, gate)
    event.listen(shared.pool, "checkin", _shut)
    return GatedEngine(shared, gate, is_async=is_async)


def _lending(plain: Engine) -> str:
    """The dialect that lends connections to the engine's database; InterfaceError where there is none."""
    if isinstance(plain, OptionEngine):
        raise InterfaceError("gate_engine needs the engine itself, not one of its execution_options(…)")
    if plain.dialect.name not in ("postgresql", "datagate"):
        raise InterfaceError(
            f"datagate stands before PostgreSQL only, as yet; it has no backend for {plain.dialect.name}"
        )
    if plain.url.drivername == _ASYNCPG:
        return "lending_asyncpg"
    if plain.url.drivername not in _PSYCOPG:
        raise InterfaceError(
            "gate_engine needs an engine of postgresql+psycopg:// or postgresql+asyncpg://, "
            f"not of {plain.url.drivername}://"
        )
    return "lending_async" if plain.dialect.is_async else "lending"


_OPENING: ContextVar[Engine] = ContextVar("datagate_opening")


def _opens_like(plain: Engine) -> Callable[[ConnectionPoolEntry], DBAPIConnection]:
    """Open connections as the plain engine does, with all that it was told, but for a gated one: see `_follow`."""

    def creator(record: ConnectionPoolEntry) -> DBAPIConnection:
        token = _OPENING.set(plain)
        try:
            connection = plain.pool._invoke_creator(record)  # takes creators of both signatures
        finally:
            _OPENING.reset(token)
        try:
            lent(connection)
        except InterfaceError:
            connection.close()
            raise InterfaceError(
                "gate_engine cannot follow an engine with a creator of its own; give it a URL"
            ) from None
        return connection

    return creator


def _follow(plain: Engine, shared: Engine, gate: Gate) -> None:
    """Let the plain engine's way of opening a connection end in a gated one, while the shared engine opens one."""

    def connect(_dialect: Dialect, _record: object, cargs: Any, cparams: dict[str, Any]) -> DBAPIConnection | None:
        if _OPENING.get(None) is not plain or _BORROWER.get(None) is None:
            return None
        (_, own) = shared.dialect.create_connect_args(plain.url)
        arguments = {**cparams, "caller": borrower().gate_session.caller, "gate": _AtTheDoor(gate)}
        if "context" in own:
            arguments["context"] = own["context"]
        for setting in _GATE_SETTINGS:
            arguments.pop(setting, None)
        return shared.dialect.connect(*cargs, **arguments)

    event.listen(plain, "do_connect", connect)


def _told(plain: Engine) -> dict[str, Any]:
    """What the plain engine was told of pool and dialect, as create_engine takes it."""
    pool, dialect = plain.pool, plain.dialect
    told: dict[str, Any] = {
        "poolclass": type(pool),
        "pool_pre_ping": pool._pre_ping,
        "pool_recycle": pool._recycle,
        "insertmanyvalues_page_size": dialect.insertmanyvalues_page_size,
        "label_length": dialect.label_length,
    }
    if isinstance(pool, QueuePool):
        told["pool_size"] = pool.size()
        told["max_overflow"] = pool._max_overflow
        told["pool_timeout"] = pool._timeout
        told["pool_use_lifo"] = pool._pool.use_lifo
    for name, attribute in _DIALECT_SETTINGS.items():
        value = getattr(dialect, attribute, None)
        if value is not None:
            told[name] = value
    return told


def _shut(connection: DBAPIConnection | None, _record: object) -> None:
    if connection is not None:
        lent(connection).shut_gate()


registry.register("datagate.lending", __name__, "LendingDialect")
registry.register("datagate.lending_async", __name__, "LendingAsyncDialect")
registry.register("datagate.lending_asyncpg", f"{__name__}_asyncpg", "LendingAsyncpgDialect")
