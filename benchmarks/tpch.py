"""A TPC-H database of any scale with state schema, for the benchmarks of rewriting and of plans."""

from __future__ import annotations

from decimal import Decimal

import psycopg

from benchmarks.harness import settle
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import state_engine
from datagate.stores.store import StateStore
from fixtures import tpc, tpch
from fixtures.personas import World


def create(server: EmbeddedPostgres, scale: Decimal, world: World) -> str:
    """Load the data and the world, and return the connection string; schema ``tpch`` is on the search path."""
    data = tpc.cached(f"tpch-{scale}", lambda into: tpc.generate("tpch", str(scale), tpch.TABLES, into))
    dsn = server.create_database("tpch")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER DATABASE tpch SET search_path = tpch, public")
        tpc.load(connection, tpch.SCHEMA, tpch.tables(), data)
    store = StateStore(state_engine(dsn))
    store.create()
    world.record(store)
    settle(dsn)
    return dsn
