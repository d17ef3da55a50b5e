"""TPC-H and TPC-DS behind a gate, each with a twin per caller; one of each per server version and process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from fixtures import tpcds, tpch
from fixtures.personas import World
from fixtures.tpcds.callers import WORLD as TPCDS_WORLD
from fixtures.tpch.callers import WORLD as TPCH_WORLD
from tests.twin.pairs import Pairs

Load = Callable[[psycopg.Connection[Any]], None]


@pytest.fixture(scope="session")
def tpch_pairs(postgres: EmbeddedPostgres) -> Iterator[Pairs]:
    """TPC-H at a hundredth of its scale."""
    yield from _pairs(postgres, "tpch", tpch.load, tpch.POLICIES, TPCH_WORLD)


@pytest.fixture(scope="session")
def tpcds_pairs(postgres: EmbeddedPostgres) -> Iterator[Pairs]:
    """A sample of TPC-DS."""
    yield from _pairs(postgres, "tpcds", tpcds.load, tpcds.POLICIES, TPCDS_WORLD)


def _pairs(postgres: EmbeddedPostgres, name: str, load: Load, policies: Path, world: World) -> Iterator[Pairs]:
    dsn = postgres.create_database(name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        load(connection)
        connection.execute(f"ALTER DATABASE {name} SET search_path = {name}, public".encode())
    with Pairs(postgres, dsn, policies, world) as pairs:
        yield pairs
    postgres.drop_database(name)
