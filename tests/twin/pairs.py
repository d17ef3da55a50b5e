"""A real database behind a gate, and beside it a twin for each caller, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine

from datagate.audit import MemorySink
from datagate.gate import Gate, GateSession
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures.personas import World
from tests.twin.build import KEYS, build_twin
from tests.twin.compare import Outcome, check_statement
from tests.twin.consents import answers_of
from tests.twin.rows import Connection

# A guard that asks of other relations is a join of its own, and counts for what PostgreSQL plans together.
OPTIONS = "-c statement_timeout=30s -c from_collapse_limit=20"


class Server(Protocol):
    """What makes databases: the embedded server, or anything like it."""

    def create_database(self, name: str) -> str:
        """Create an empty database and give its connection string."""
        ...

    def drop_database(self, name: str) -> None:
        """Remove a database."""
        ...


@dataclass(slots=True)
class Pair:
    """One caller's way through the gate, and the caller's twin."""

    session: GateSession
    real: Connection
    twin: Connection
    _make_backwards: Callable[[], Connection]
    _backwards: Connection | None = None

    @property
    def backwards(self) -> Connection:
        """The twin with its rows stored from the end, made when it is first asked for."""
        if self._backwards is None:
            self._backwards = self._make_backwards()
        return self._backwards

    def check(self, text: str, parameters: Sequence[object] = (), *, ordered: bool = False) -> Outcome:
        """Hold a statement to the twin; AssertionError, showing both answers, where they differ."""
        return check_statement(self.session, self.real, self.twin, text, parameters, ordered=ordered)


class Pairs:
    """Pairs for the callers of one world.

    Args:
        server: where the twins are made.
        dsn: a superuser's connection string of the real database, filled, without state.
        policies: the directory of its policy files.
        world: what is known of the callers and the data subjects; it is recorded in the database's own state.
    """

    def __init__(self, server: Server, dsn: str, policies: Path, world: World) -> None:
        self._server = server
        self._dsn = dsn
        self._world = world
        self._made: dict[Caller, Pair] = {}
        self._closing = ExitStack()
        record(dsn, world)
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
        self._closing.callback(engine.dispose)
        self.gate = Gate.open(
            dsn, policies=policies, state=StateStore(engine), keyring=Keyring(KEYS), audit=MemorySink()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def pair(self, caller: Caller) -> Pair:
        """The caller's pair."""
        if caller not in self._made:
            self._made[caller] = self._make(caller)
        return self._made[caller]

    def _make(self, caller: Caller) -> Pair:
        real, number = self._connect(self._dsn), len(self._made)

        def twin(name: str, *, backwards: bool) -> Connection:
            return self._twin(real, caller, f"{conninfo_to_dict(self._dsn)['dbname']}_{name}_{number}", backwards)

        session = self.gate.session(caller, frontend="test")
        return Pair(session, real, twin("twin", backwards=False), lambda: twin("backwards", backwards=True))

    def _twin(self, real: Connection, caller: Caller, name: str, backwards: bool) -> Connection:
        dsn = self._server.create_database(name)
        self._closing.callback(self._server.drop_database, name)
        facts, answers, now = self._world.facts(caller), answers_of(self._world), datetime.now(UTC)
        build_twin(real, dsn, self.gate.policies, caller, facts, answers, KEYS, now, backwards=backwards)
        return self._connect(dsn)

    def _connect(self, dsn: str) -> Connection:
        connection = self._closing.enter_context(psycopg.connect(dsn, autocommit=True, options=OPTIONS))
        for name, value in self.gate.session_settings:
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        return connection


def record(dsn: str, world: World) -> None:
    """Create the state in the data's own database, and tell it what the world knows."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    store = StateStore(engine)
    store.create()
    world.record(store)
    engine.dispose()
    with psycopg.connect(dsn, autocommit=True) as connection:
        # What autovacuum does within a minute: without it the planner takes the new tables for empty.
        connection.execute("ANALYZE datagate.entitlements, datagate.consents, datagate.mandates, datagate.epochs")
