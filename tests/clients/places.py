"""Where clients connect: a gateway before the shop that they know, and beside it each caller's redacted twin.

A twin is a copy of the same database from which everything that its caller may not see was dropped, so that even OIDs
are the same. What a client is told at the one must be what it is told at the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import state_engine
from datagate.stores import StateStore
from fixtures.statements import corpus
from tests.frontends.gateway.running import PASSWORD, SERVICE, Running

FIXTURE = Path(corpus.__file__).parent.parent / "clients"
DROPS: Mapping[str, str] = {
    "broad": "DROP TABLE vault CASCADE; ALTER TABLE orders DROP COLUMN o_secret;",
    "narrow": """DROP TABLE vault, orders, lineitem, types_t CASCADE; ALTER TABLE customer DROP COLUMN c_phone CASCADE;
        DELETE FROM customer WHERE c_nationkey >= 10; UPDATE customer SET c_comment = NULL;""",
}
"""The two callers, who must see different things, and what neither their twins have."""
_READER = "clients_twin"
"""Who reads the twins: the server asks for a password over TCP."""
_HIDDEN = "DROP FUNCTION secret_function CASCADE; DROP SEQUENCE secret_sequence; DROP SCHEMA datagate CASCADE;"


@dataclass(frozen=True, slots=True)
class Place:
    """How to connect."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def dsn(self) -> str:
        """As libpq takes it."""
        where = f"host={self.host} port={self.port} user={self.user} dbname={self.database}"
        return f"{where} password='{self.password}' connect_timeout=10"

    @property
    def url(self) -> str:
        """As most others take it."""
        password = self.password.replace(" ", "%20")
        return f"postgresql://{self.user}:{password}@{self.host}:{self.port}/{self.database}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program that reads libpq's variables."""
        given = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": "disable",
        }
        return {**os.environ, **given}


@dataclass(frozen=True, slots=True)
class Pair:
    """One caller's two places."""

    gateway: Place
    twin: Place


@dataclass(frozen=True, slots=True)
class Site:
    """``owner``: the superuser's connection string of the real database; the gateway before it; the callers' pairs."""

    owner: str
    gateway: Running
    pairs: Mapping[str, Pair]


@contextmanager
def site(server: EmbeddedPostgres, folder: Path) -> Iterator[Site]:
    """Make the shop and the twins on a server that listens on TCP, and serve the shop through a gateway."""
    owner = server.create_database("clients")
    with psycopg.connect(owner) as connection:
        connection.execute((FIXTURE / "schema.sql").read_text().encode())
        ((port,),) = connection.execute("SELECT current_setting('port')::int").fetchall()
    engine = state_engine(owner)
    store = StateStore(engine)
    store.create()
    twins = {caller: _twin(server, caller, port) for caller in DROPS}
    with psycopg.connect(owner, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (SERVICE,)).fetchone() is None:
            connection.execute(f"CREATE ROLE {SERVICE} LOGIN".encode())
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (_READER,)).fetchone() is None:
            connection.execute(f"CREATE ROLE {_READER} SUPERUSER LOGIN PASSWORD '{PASSWORD}'".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {SERVICE}".encode())
    store.grant_service_role(SERVICE)
    for caller in DROPS:
        store.grant_role(caller, caller)
    engine.dispose()
    purposes = dict.fromkeys(DROPS, ("use",))
    with Running(owner, folder, policies=FIXTURE / "policies", purposes=purposes) as gateway:
        pairs = {
            caller: Pair(Place("127.0.0.1", gateway.port, caller, PASSWORD, gateway.database), twin)
            for caller, twin in twins.items()
        }
        yield Site(owner, gateway, pairs)
    for database in ("clients", *(twin.database for twin in twins.values())):
        server.drop_database(database)


def _twin(server: EmbeddedPostgres, caller: str, port: int) -> Place:
    dsn = server.create_database(f"clients_{caller}", template="clients")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((_HIDDEN + DROPS[caller]).encode())
        # What clients are told at their start must not hang on who made the database.
        connection.execute(f"ALTER DATABASE clients_{caller} SET timezone = 'UTC'".encode())
    return Place("127.0.0.1", port, _READER, PASSWORD, f"clients_{caller}")
