"""The state on each kind of database: a SQLite file, and every PostgreSQL that the tests run on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text

from datagate.backends.postgres.embedded import Binaries
from datagate.stores import StateStore
from tests.conftest import Servers, chosen_binaries

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class State:
    """A store whose clock stands at NOW, and plain SQL beside it."""

    store: StateStore
    engine: Engine

    @property
    def on_postgres(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def run(self, statement: str, **values: object) -> None:
        """Run plain SQL in which ``datagate.`` stands before each table."""
        if not self.on_postgres:
            statement = statement.replace("datagate.", "")
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "state_engine" in metafunc.fixturenames:
        homes = [None, *chosen_binaries()]
        names = ["sqlite" if home is None else f"pg{home.version}" for home in homes]
        metafunc.parametrize("state_engine", homes, ids=names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def state_engine(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """An engine on a database with an empty state in it."""
    binaries: Binaries | None = request.param
    if binaries is None:
        engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('state') / 'state.db'}")
        StateStore(engine).create()
        yield engine
        engine.dispose()
        return
    server = servers.running(binaries)
    dsn = server.create_database("state")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    StateStore(engine).create()
    yield engine
    engine.dispose()
    server.drop_database("state")


@pytest.fixture
def state(state_engine: Engine) -> Iterator[State]:
    """The state, empty but for its epochs, which only grow."""
    state = State(StateStore(state_engine, clock=lambda: NOW), state_engine)
    yield state
    state.run("UPDATE datagate.mandates SET parent = NULL")
    for table in ("entitlements", "consents", "mandates"):
        state.run(f"DELETE FROM datagate.{table}")


@pytest.fixture
def store(state: State) -> StateStore:
    return state.store
