"""A market of one's own for each test, on a real PostgreSQL, with an engine that callers share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.orm import sessionmaker

import fixtures.market
from datagate.audit import AuditRecord
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends.orm import GatedEngine, GatedSession, gate_engine, gated_sessionmaker
from datagate.gate import Gate, state_engine
from datagate.stores.store import StateStore
from fixtures.market.callers import world

MARKET = Path(fixtures.market.__file__).parent
TEMPLATE = "market_template"


@dataclass
class Sink:
    """Keeps what was recorded."""

    records: list[AuditRecord] = field(default_factory=list)

    def record(self, record: AuditRecord, instant: datetime) -> None:  # noqa: ARG002 - the protocol's
        self.records.append(record)


@dataclass
class Market:
    """The market as its programs meet it."""

    dsn: str
    gate: Gate
    store: StateStore
    sink: Sink
    plain: sa.Engine
    engine: GatedEngine
    Session: sessionmaker[GatedSession]

    def sql(self, text: str, *parameters: object) -> list[Any]:
        """What the database's owner sees, or does."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


def url(dsn: str, driver: str = "postgresql+psycopg") -> sa.URL:
    parts = conninfo_to_dict(dsn)
    query = {"host": str(parts["host"]), "port": str(parts["port"])}
    return sa.URL.create(driver, username=str(parts["user"]), database=str(parts["dbname"]), query=query)


@pytest.fixture(scope="session")
def market_template(postgres: EmbeddedPostgres) -> str:
    dsn = postgres.create_database(TEMPLATE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((MARKET / "schema.sql").read_bytes())
    store = StateStore(state_engine(dsn))
    store.create()
    world().record(store)
    return TEMPLATE


@pytest.fixture
def market_dsn(postgres: EmbeddedPostgres, market_template: str) -> Iterator[str]:
    yield postgres.create_database("market", template=market_template)
    postgres.drop_database("market")


@pytest.fixture
def market(market_dsn: str) -> Iterator[Market]:
    sink = Sink()
    store = StateStore(state_engine(market_dsn))
    gate = Gate.open(market_dsn, policies=MARKET / "policies", state=store, audit=sink)
    plain = sa.create_engine(url(market_dsn), pool_size=2, max_overflow=3)
    engine = gate_engine(plain, gate)
    yield Market(market_dsn, gate, store, sink, plain, engine, gated_sessionmaker(engine))
    engine.dispose()
    plain.dispose()
    gate.pulse.close()
