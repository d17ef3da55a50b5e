"""500,000 people with indexes, for look-ups under a row filter: behind a gate, by hand, and by row-level security."""

from __future__ import annotations

import psycopg

from benchmarks.by_hand import NATIVE
from benchmarks.harness import settle
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import state_engine
from datagate.model.caller import Caller
from datagate.stores.store import StateStore

DATABASE = "people"
ROWS = 500_000
CALLER = Caller.of("olaf", purpose="operations")
REGIONS = (1, 2, 3)

CONDITIONS = (
    "username LIKE 'u44%'",
    "username LIKE 'u44f0%'",
    "score BETWEEN 500 AND 500.5",
    "address <<= '10.0.44.0/24'",
    "seen_at >= date '2025-06-01' AND seen_at < date '2025-06-01' + interval '1 hour'",
)
"""Indexed, and of operators that PostgreSQL does not call leak-proof, though with these literals they are."""

_SCHEMA = f"""
CREATE SCHEMA bench;
CREATE TABLE bench.people AS
SELECT i AS person_id, 'u' || md5(i::text) AS username, 1 + i % 10 AS region,
       (i * 7919 % 100000003 / 100000.0)::numeric(9, 5) AS score,
       inet '10.0.0.0' + (i * 7919 % 500000) AS address, timestamp '2025-01-01' + i * interval '1 minute' AS seen_at,
       '+49 30 ' || (1000000 + i) AS phone
  FROM generate_series(1::bigint, {ROWS}) AS i;
ALTER TABLE bench.people ADD PRIMARY KEY (person_id);
CREATE INDEX people_username ON bench.people (username);
CREATE INDEX people_score ON bench.people (score);
CREATE INDEX people_address ON bench.people (address);
CREATE INDEX people_seen_at ON bench.people (seen_at);
"""

_REGIONS = f"region IN ({', '.join(map(str, REGIONS))})"
_MASKED = (
    "person_id, username, region, score, address, seen_at, repeat('*', length(phone) - 4) || right(phone, 4) AS phone"
)

_NATIVE = (
    f"CREATE ROLE {NATIVE} LOGIN",
    f"CREATE SCHEMA {NATIVE} AUTHORIZATION {NATIVE}",
    f"GRANT USAGE ON SCHEMA bench TO {NATIVE}",
    f"GRANT SELECT ON bench.people TO {NATIVE}",
    "ALTER TABLE bench.people ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY p ON bench.people TO {NATIVE} USING ({_REGIONS})",
    f"CREATE VIEW {NATIVE}.people WITH (security_barrier) AS SELECT {_MASKED} FROM bench.people",
    f"ALTER VIEW {NATIVE}.people OWNER TO {NATIVE}",
)


def create(running: EmbeddedPostgres) -> str:
    """The people, who may see them, and the same by row-level security."""
    dsn = running.create_database(DATABASE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {DATABASE} SET search_path = bench, public".encode())
        connection.execute(_SCHEMA.encode())
        for statement in _NATIVE:
            connection.execute(statement.encode())
        store = StateStore(state_engine(dsn))
        store.create()
        store.grant_role("olaf", "operator")
        store.grant_attribute("olaf", "regions", REGIONS)
    settle(dsn)
    return dsn


def query(condition: str) -> str:
    """What the caller asks."""
    return f"SELECT person_id, username, phone FROM people WHERE {condition}"


def by_hand(condition: str) -> str:
    """The same with filter and mask written into it."""
    own = f"SELECT {_MASKED} FROM bench.people WHERE {_REGIONS}"
    return f"SELECT person_id, username, phone FROM ({own}) AS people WHERE {condition}"
