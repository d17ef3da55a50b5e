"""Opens a gate: reads catalog and policies, and holds them to each other and to their examples."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, NullPool, create_engine

from datagate.audit import LoggingSink, Sink
from datagate.backends.postgres import masks
from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.examples import run_examples
from datagate.backends.postgres.guards import quote
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.errors import PolicyError
from datagate.gate.session import GateSession
from datagate.gate.shared import Shared
from datagate.model.caller import Caller
from datagate.model.catalog import Catalog
from datagate.model.policy import PolicySet
from datagate.policy.check import check_catalog, check_functions, check_types
from datagate.policy.load import read_source
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore


class Gate(Shared):
    """The gate before one database; share it between connections. Thread-safe."""

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        policies: str | Path | PolicySet,
        state: str | StateStore | None = None,
        keyring: Keyring | None = None,
        audit: Sink | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> Gate:
        """Read catalog and policies, check the one against the other, and run the policies' examples.

        Args:
            dsn: libpq connection string of the data's database; it needs to read the catalog (and the state).
            policies: a directory of policy files, or a set already read (which has no examples any more).
            state: where entitlements, consents and mandates are kept; the data's own database by default. Over a
                connection string, each reading of facts opens a connection; a StateStore has its engine's pool.
            keyring: keys of masks; none by default, so that masks with keys refuse.
            audit: where records go; Python's logging by default.
            clock: gives the present, timezone-aware; by default the state's own clock for decisions, and the
                system's for records.

        Raises:
            PolicyError: policies are wrong, in themselves or for this database, or do not do what their examples say.
            psycopg.Error: the database cannot be reached.
        """
        with psycopg.connect(dsn, autocommit=True) as connection:
            catalog = read_catalog(connection)
            if isinstance(policies, PolicySet):
                check_against(policies, catalog)
            else:
                policies = load_proven(Path(policies), catalog, connection)
            store = state if isinstance(state, StateStore) else StateStore(state_engine(state or dsn))
            state_within = store.shares_database(connection)
        return cls(
            catalog=catalog,
            policies=policies,
            state=store,
            state_within=state_within,
            keyring=keyring if keyring is not None else Keyring({}),
            audit=audit if audit is not None else LoggingSink(),
            clock=clock,
        )

    def session(self, caller: Caller, *, frontend: str, client: str | None = None) -> GateSession:
        """One caller's way through the gate; ``client`` is the address that they come from, where that is known."""
        return GateSession(self, caller, frontend, client)

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        """Settings that a frontend puts on every upstream connection before anything else.

        What names and literals mean must be what it was when the catalog was read, whatever the connection string,
        the role or the database says.
        """
        path = ", ".join(quote(schema) for schema in self.catalog.search_path if schema != "pg_catalog")
        return (
            ("search_path", path),
            ("standard_conforming_strings", "on"),
            ("transform_null_equals", "off"),
            # A guard whose filter is an EXISTS counts as one more join; by default the planner stops at eight.
            ("from_collapse_limit", "12"),
        )


def load_proven(directory: Path, catalog: Catalog, connection: psycopg.Connection[Any]) -> PolicySet:
    """The policies of a directory; PolicyError unless they fit the database and all of their examples hold."""
    source = read_source(directory, PostgresPredicates(catalog.functions))
    check_against(source.policies, catalog)
    problems = run_examples(connection, source.policies, source.examples, catalog, datetime.now(UTC))
    if problems:
        raise PolicyError(problems)
    return source.policies


def check_against(policies: PolicySet, catalog: Catalog) -> None:
    """PolicyError with everything in which the policies and the database disagree."""
    functions = check_functions(policies, catalog, PostgresPredicates(catalog.functions))
    problems = [*check_catalog(policies, catalog), *check_types(policies, catalog, masks), *functions]
    if problems:
        raise PolicyError(problems)


def state_engine(dsn: str) -> Engine:
    """A SQLAlchemy engine for a state URL, or for a libpq connection string.

    It keeps no connection open, so that nobody has to close it; where facts are read often, give the gate a StateStore
    over an engine with a pool.
    """
    if "://" in dsn and not dsn.startswith(("postgresql://", "postgres://")):
        return create_engine(dsn, poolclass=NullPool)
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
