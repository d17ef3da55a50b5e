"""Opens a gate: reads catalog and policies, and holds them to each other and to their examples."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import psycopg
from sqlalchemy import Engine, NullPool, create_engine

from datagate.audit import AuditRecord, LoggingSink, Sink
from datagate.backends.postgres import masks
from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.examples import run_examples
from datagate.backends.postgres.guards import quote
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.backends.postgres.settings import check_settings
from datagate.errors import InterfaceError, PolicyError, TokenRefused
from datagate.gate.reloading import LOG, FileWatch, Reloaded, told
from datagate.gate.session import GateSession
from datagate.gate.shared import Shared
from datagate.model.caller import Caller, TokenVerifier
from datagate.model.catalog import Catalog
from datagate.model.policy import PolicySet
from datagate.policy.check import check_catalog, check_functions, check_types
from datagate.policy.load import read_source
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

UNIDENTIFIED = Caller.of("(nobody)")
"""In whose name a refused token is recorded."""

_PLAIN = re.compile("[a-z_][a-z0-9_]*")


class Gate(Shared):
    """The gate before one database; share it between connections. Thread-safe."""

    _current: Shared | None = None
    _origin: tuple[str, Path] | None = None
    _files: FileWatch | None = None
    _owns_state: bool = False
    _reading: Lock

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
        watch: bool = False,
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
            watch: read the policies again whenever their files change, until :meth:`close`.

        Raises:
            PolicyError: policies are wrong, in themselves or for this database, or do not do what their examples say.
            psycopg.Error: the database cannot be reached.
        """
        origin = None if isinstance(policies, PolicySet) else (dsn, Path(policies))
        with psycopg.connect(dsn, autocommit=True) as connection:
            catalog = read_catalog(connection)
            if isinstance(policies, PolicySet):
                check_against(policies, catalog, connection)
            else:
                policies = load_proven(Path(policies), catalog, connection)
            store = state if isinstance(state, StateStore) else StateStore(state_engine(state or dsn))
            state_within = store.shares_database(connection)
        gate = cls(
            catalog=catalog,
            policies=policies,
            state=store,
            state_within=state_within,
            keyring=keyring if keyring is not None else Keyring({}),
            audit=audit if audit is not None else LoggingSink(),
            clock=clock,
        )
        gate._owns_state = store is not state
        gate._begin(origin, watch=watch)
        return gate

    def _begin(self, origin: tuple[str, Path] | None, *, watch: bool) -> None:
        self._reading = Lock()
        self._origin = origin
        if watch and origin is not None:
            self._files = FileWatch(origin[1], self.reload)

    def close(self) -> None:
        """Watch the policies' files no longer, and close what the gate keeps open to a state that it opened itself.

        The connections of callers stay as they are.
        """
        files, self._files = self._files, None
        if self._owns_state:
            self.state.close()
        if files is not None:
            files.close()

    @property
    def current(self) -> Shared:
        """What holds for statements that begin now."""
        return self._current if self._current is not None else self

    def reread(self) -> object:
        """As :meth:`reload`, where there is a directory to read; for the lookout, which was told to."""
        return self.reload() if self._origin is not None else None

    def reload(self) -> Reloaded:
        """Read catalog and policies again, and put them in force at once and whole, for each session's next statement.

        They have to pass what they had to pass in :meth:`open`, examples included. What does not pass, or cannot be
        read, leaves the old version in force; the log says so too (``datagate.policies``), and so does the answer.

        Raises:
            InterfaceError: The gate was opened with a set already read, so that there is nothing to read again.
        """
        if self._origin is None:
            raise InterfaceError("the gate was opened with policies already read; open it with their directory")
        dsn, directory = self._origin
        with self._reading:
            before = self.current.policies.version
            try:
                with psycopg.connect(dsn, autocommit=True) as connection:
                    catalog = read_catalog(connection)
                    policies = load_proven(directory, catalog, connection)
            except PolicyError as error:
                problems = told(error.problems)
            except psycopg.Error as error:
                problems = (f"the database cannot be used: {type(error).__name__}",)
            else:
                self._current = self.succeeded(catalog, policies)
                self.catalog, self.policies, self.functions = catalog, policies, self._current.functions
                LOG.info("policies %.12s are in force, in place of %.12s", policies.version, before)
                return Reloaded(policies.version, policies.version != before, ())
        LOG.error("new policies are not in force, %.12s stay: %s", before, "; ".join(problems))
        return Reloaded(before, changed=False, problems=problems)

    def session(self, caller: Caller, *, frontend: str, client: str | None = None) -> GateSession:
        """One caller's way through the gate; ``client`` is the address that they come from, where that is known."""
        return GateSession(self, caller, frontend, client)

    def caller(self, token: str, verifier: TokenVerifier, *, frontend: str) -> Caller:
        """The caller that a token names; a token that is refused is recorded with its reason.

        Raises:
            TokenRefused: It is not accepted, and the message does not say why.
        """
        try:
            return Caller.from_token(token, verifier)
        except TokenRefused as error:
            refused = AuditRecord(
                caller=UNIDENTIFIED,
                frontend=frontend,
                text="",
                permitted=False,
                relations=(),
                rules=(),
                policy_version=self.policies.version,
                reason=error.audit_reason,
            )
            self.audit.record(refused, self.recorded_at())
            raise

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        """Settings that a frontend puts on every upstream connection before anything else.

        What names and literals mean must be what it was when the catalog was read, whatever the connection string,
        the role or the database says.
        """
        # Where it is not listed, PostgreSQL looks for types among the session's temporary tables before anywhere else
        # (manual, 20.11.1): CREATE TEMP TABLE text would give ``::text`` another meaning.
        # Spelled as people do: some clients read what SHOW says.
        schemas = (schema for schema in self.catalog.search_path if schema != "pg_catalog")
        searched = [schema if _PLAIN.fullmatch(schema) else quote(schema) for schema in schemas]
        path = ", ".join([*searched, "pg_temp"])
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
    check_against(source.policies, catalog, connection)
    problems = run_examples(connection, source.policies, source.examples, catalog, datetime.now(UTC))
    if problems:
        raise PolicyError(problems)
    return source.policies


def check_against(policies: PolicySet, catalog: Catalog, connection: psycopg.Connection[Any]) -> None:
    """PolicyError with everything in which the policies and the database disagree.

    The connection is to the catalog's database, and in autocommit mode; what is begun on it is rolled back.
    """
    functions = check_functions(policies, catalog, PostgresPredicates(catalog.functions))
    problems = [*check_catalog(policies, catalog), *check_types(policies, catalog, masks), *functions]
    # What does not fit the tables cannot be asked about on a copy of them.
    problems = problems or check_settings(connection, policies, catalog)
    if problems:
        raise PolicyError(problems)


def state_engine(dsn: str, *, keeps: int = 0) -> Engine:
    """A SQLAlchemy engine for a state URL, or for a libpq connection string.

    It keeps no connection open, so that nobody has to close it; where facts are read often, have it keep some, and
    close its store at the end.

    Args:
        dsn: Where the state is.
        keeps: How many connections to PostgreSQL stay open for those who read next; others come and go beside them.
    """
    if "://" in dsn and not dsn.startswith(("postgresql://", "postgres://")):
        return create_engine(dsn, poolclass=NullPool)
    url = "postgresql+psycopg://"
    if not keeps:
        return create_engine(url, creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    # One that broke meanwhile is noticed before anything is asked of it.
    return create_engine(
        url, creator=lambda: psycopg.connect(dsn), pool_size=keeps, max_overflow=100, pool_pre_ping=True,
        pool_use_lifo=True,
    )  # fmt: skip
