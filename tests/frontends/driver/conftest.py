from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres, find_binaries
from datagate.frontends import driver
from datagate.model.caller import Caller
from tests.frontends.driver.standin import StandInGate

CANARY = "canary-7f3a"
CALLER = Caller.of("ann", purpose="analytics")

_SCHEMA = f"""
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, region text NOT NULL, ssn text UNIQUE);
CREATE INDEX customers_region ON customers (region);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, amount numeric(10,2), note text);
INSERT INTO customers SELECT n, 'name ' || n, CASE WHEN n % 2 = 0 THEN 'EU' ELSE 'US' END, 'ssn-' || n
  FROM generate_series(1, 1000) n;
INSERT INTO customers VALUES (5000, 'canary', 'EU', '{CANARY}');
INSERT INTO orders SELECT n, n, n * 1.5, NULL FROM generate_series(1, 100) n;
CREATE TABLE secrets (value text);
CREATE SEQUENCE calls;
CREATE FUNCTION stale(times int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('calls') <= times THEN RAISE EXCEPTION '{CANARY}' USING ERRCODE = 'DG001'; END IF;
  RETURN currval('calls');
END $$;
CREATE FUNCTION shout(level text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF level = 'notice' THEN RAISE NOTICE '{CANARY}' USING DETAIL = '{CANARY}', HINT = '{CANARY}';
  ELSE RAISE EXCEPTION '{CANARY}' USING DETAIL = '{CANARY}', HINT = '{CANARY}', ERRCODE = level; END IF;
  RETURN 1;
END $$;
"""


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(find_binaries()[0], settings={"max_prepared_transactions": "5"}) as running:
        yield running


@pytest.fixture(scope="session")
def dsn(server: EmbeddedPostgres) -> str:
    dsn = server.create_database("driver")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SCHEMA)
    return dsn


@pytest.fixture
def gate() -> StandInGate:
    return StandInGate()


@pytest.fixture
def conn(dsn: str, gate: StandInGate) -> Iterator[driver.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER SEQUENCE calls RESTART")
    connection = driver.connect(dsn, caller=CALLER, gate=gate)
    yield connection
    connection.close()
