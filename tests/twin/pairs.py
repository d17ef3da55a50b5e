"""A real database behind a gate, and beside it a twin for each caller, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine

from datagate.gate import Gate, GateSession
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures.personas import World
from tests.twin.build import KEYS, build_twin
from tests.twin.compare import Outcome, check_statement
from tests.twin.consents import answers_of

STATEMENT_TIMEOUT = "30s"


class Server(Protocol):
    """What makes databases: the embedded server, or anything like it."""

    def create_database(self, name: str) -> str:
        """Create an empty database and give its connection string."""
        ...

    def drop_database(self, name: str) -> None:
        """Remove a database."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """One caller's way through the gate, and the caller's twin."""

    session: GateSession
    real: psycopg.Connection[Any]
    twin: psycopg.Connection[Any]

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
        self.gate = Gate.open(dsn, policies=policies, state=StateStore(engine), keyring=Keyring(KEYS))

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
        name = f"{conninfo_to_dict(self._dsn)['dbname']}_twin_{len(self._made)}"
        twin_dsn = self._server.create_database(name)
        self._closing.callback(self._server.drop_database, name)
        real = self._connect(self._dsn)
        facts = self._world.facts(caller)
        answers = answers_of(self._world)
        build_twin(real, twin_dsn, self.gate.policies, caller, facts, answers, KEYS, datetime.now(UTC))
        return Pair(self.gate.session(caller, frontend="test"), real, self._connect(twin_dsn))

    def _connect(self, dsn: str) -> psycopg.Connection[Any]:
        options = f"-c statement_timeout={STATEMENT_TIMEOUT}"
        return self._closing.enter_context(psycopg.connect(dsn, autocommit=True, options=options))


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


def chosen(callers: Mapping[str, Caller], *names: str) -> dict[str, Caller]:
    """Some of the callers; KeyError for one that is not there."""
    return {name: callers[name] for name in names}
