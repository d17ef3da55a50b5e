"""A gateway in a thread of its own, in front of a real bank; and beside it the callers' twins."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
import uvloop
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, create_engine

from datagate.audit import MemorySink, Sink
from datagate.frontends.gateway.login import Tokens
from datagate.frontends.gateway.protocol.scram import Verifier
from datagate.frontends.gateway.sockets import bind
from datagate.frontends.gateway.users import User, UserFile
from datagate.frontends.gateway.worker import Settings, Worker
from datagate.gate import Gate
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures.bank.callers import CALLERS, world
from tests.conftest import CUSTOMERS
from tests.house.source import ROOT
from tests.twin.build import KEYS

SERVICE = "gateway_service"
PASSWORD = "correct horse"  # noqa: S105 - for users of the tests
PURPOSES = {
    "ana": ("analytics", "marketing.email"),
    "ada": ("advice",),
    "cora": ("self-service",),
    "rex": ("compliance",),
    "tom": ("tax",),
}
ANALYST, ADVISER = CALLERS["analyst"], CALLERS["adviser"]

T = TypeVar("T")


class Running:
    """A gateway that serves; use it as a context manager."""

    def __init__(
        self,
        owner: str,
        folder: Path,
        *,
        service: str | None = None,
        audit: Sink | None = None,
        gate: Gate | None = None,
        tokens: Tokens | None = None,
        policies: Path = ROOT / "policies",
        purposes: Mapping[str, tuple[str, ...]] = PURPOSES,
        **settings: Any,
    ) -> None:
        self.owner = owner
        self.sink = MemorySink()
        self._closing = ExitStack()
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(owner))
        self._closing.callback(engine.dispose)
        self.store = StateStore(engine)
        service = service or make_conninfo(owner, user=SERVICE)
        record = audit if audit is not None else self.sink
        # Opening one runs all examples of the policies; gateways with other limits may share it.
        self.gate = gate or Gate.open(service, policies=policies, state=self.store, keyring=Keyring(KEYS), audit=record)
        self._tokens = tokens
        self.trust: dict[str, Any] = {}
        self.users = UserFile(folder / "users.json")
        for name, allowed in purposes.items():
            self.users.put(User(name=name, verifier=Verifier.of(PASSWORD, os.urandom(16)), purposes=allowed))
        self._settings = Settings(service, folder / "users.json", **settings)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.worker = self.do(self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self.worker.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._closing.close()

    async def _start(self) -> Worker:
        worker = Worker(self._settings, self.gate, self._tokens)
        listener = bind("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        worker.start(listener)
        return worker

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run something in the gateway's own loop."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(60)

    def dsn(self, user: str = "ana", **more: Any) -> str:
        """How a client connects."""
        given = {"host": "127.0.0.1", "port": self.port, "user": user, "password": PASSWORD, "dbname": self.database}
        return make_conninfo("", **{**given, "connect_timeout": 10, **more})

    def asyncpg(self, user: str) -> dict[str, Any]:
        """How asyncpg connects."""
        where = {"host": "127.0.0.1", "port": self.port, "user": user, "password": PASSWORD}
        return {**where, "database": self.database, "timeout": 10}

    @property
    def database(self) -> str:
        """The database's name."""
        return str(psycopg.conninfo.conninfo_to_dict(self.owner)["dbname"])

    def connect(self, user: str = "ana", **more: Any) -> psycopg.Connection[Any]:
        """Connect as psycopg does, committing each statement."""
        return psycopg.connect(self.dsn(user, **more), autocommit=True)


def make_bank(owner: str) -> None:
    """Tell an existing bank what is known of its callers, and make the service role."""
    engine = make_role(owner)
    world(CUSTOMERS).record(StateStore(engine))
    engine.dispose()


def make_role(owner: str) -> Engine:
    """Make the service role for an existing bank, which has its state; gives an engine for that."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(owner))
    with psycopg.connect(owner, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (SERVICE,)).fetchone() is None:
            connection.execute(f"CREATE ROLE {SERVICE} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA bank TO {SERVICE}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA bank TO {SERVICE}")
    StateStore(engine).grant_service_role(SERVICE)
    return engine
