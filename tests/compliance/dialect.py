"""The driver's dialect as the compliance suite needs it: DDL goes past the gate, and the gate learns what it made.

The suite makes and drops tables all the time. Migrations do not go through the gate, so a plain connection makes them
here; what the gate knows of catalog and policies is read anew before the next statement. Every table is permitted to
the suite's caller whole. Nothing in here is part of the package.
"""

from __future__ import annotations

import json
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine.interfaces import DBAPIConnection

from datagate.audit import MemorySink
from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.errors import PolicyError
from datagate.frontends.driver.dialect import DatagateDialect
from datagate.gate import Gate, GateSession, state_engine
from datagate.model.caller import Caller
from datagate.model.catalog import RelationKind
from datagate.policy.load import load_policies
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

CALLER = Caller.of("suite", purpose="work")
_DDL = re.compile(r"\s*(CREATE|DROP|ALTER|COMMENT|TRUNCATE|GRANT|REVOKE)\b", re.IGNORECASE)
_PLAIN = re.compile("[a-z_][a-z0-9_]*")
_CONFIGURATION = "purposes: {work: Tests.}\nroles: {tester: Tests.}\ntags: {plain: Nothing.}\n"
_RULES = {"permit": "all", "to": {"role": "tester"}, "for": ["work"], "show": "all", "insert": "all", "update": "all"}


class Keeper:
    """The gate of one database, which is opened anew after DDL; a session of it, too."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.store = StateStore(state_engine(dsn))
        self.store.create()
        self.store.grant_role("suite", "tester")
        self.made = 0
        self._gate: Gate | None = None
        self._of = -1

    @property
    def gate(self) -> Gate:
        """The gate, as the catalog is now."""
        if self._gate is None or self._of != self.made:
            self._gate, self._of = self._open(), self.made
        return self._gate

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        """The gate's."""
        return self.gate.session_settings

    def session(self, caller: Caller, *, frontend: str) -> Any:
        """What asks the gate as it is."""
        return Session(self, caller, frontend)

    def _open(self) -> Gate:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                catalog = read_catalog(connection)
            # Extensions that the suite makes (citext) have a min() of their own, which a steward would name like this.
            own = [f"public.{function}" for function in catalog.user_functions if _PLAIN.fullmatch(function)]
            (directory / "datagate.yaml").write_text(f"{_CONFIGURATION}functions: {json.dumps(sorted(own))}\n")
            kinds = {RelationKind.TABLE, RelationKind.PARTITIONED, RelationKind.MATERIALIZED_VIEW}
            for number, relation in enumerate(catalog.relations.values()):
                if relation.kind in kinds and relation.name.schema not in _OTHERS and relation.columns:
                    columns = {column.name: "plain" for column in relation.columns}
                    policy: dict[str, object] = {"relation": str(relation.name), "owner": "suite", "why": "A test."}
                    policy |= {"columns": columns, "rules": [{**_RULES, "delete": True}]}
                    (directory / f"p{number}.yaml").write_text(json.dumps(policy))
            try:
                policies = load_policies(directory, PostgresPredicates(catalog.functions))
            except PolicyError as error:
                # Names that a policy file cannot say: those relations are denied, and their tests differ.
                for problem in error.problems:
                    Path(problem.source.file).unlink(missing_ok=True)
                policies = load_policies(directory, PostgresPredicates(catalog.functions))
        # As Gate.open does, but without trying rules on copies of the tables: these permit everything.
        gate = Gate(
            catalog=catalog, policies=policies, state=self.store, state_within=True, keyring=Keyring({}),
            audit=MemorySink(), clock=None,
        )  # fmt: skip
        gate._begin(None, watch=False)
        return gate


_OTHERS = frozenset({"pg_catalog", "information_schema", "datagate"})


class Session:
    """A gate session that follows its keeper."""

    def __init__(self, keeper: Keeper, caller: Caller, frontend: str) -> None:
        self._keeper, self._caller, self._frontend = keeper, caller, frontend
        self._inner: GateSession | None = None
        self._of: Gate | None = None

    def __getattr__(self, name: str) -> Any:
        """As the gate does now."""
        gate = self._keeper.gate
        if self._inner is None or self._of is not gate:
            self._inner, self._of = gate.session(self._caller, frontend=self._frontend), gate
        return getattr(self._inner, name)


_KEEPERS: dict[str, Keeper] = {}


class SuiteDialect(DatagateDialect):
    """``postgresql+datagate``: so named that the suite's own preparations for PostgreSQL are made."""

    supports_statement_cache = True

    @classmethod
    def load_provisioning(cls) -> None:
        """What the suite prepares on PostgreSQL is registered for this dialect too."""
        import_module("sqlalchemy.dialects.postgresql.provision")

    def connect(self, *cargs: Any, **cparams: Any) -> DBAPIConnection:
        """Connect for the suite's caller."""
        libpq = {name: value for name, value in cparams.items() if name not in ("context", "async_creator_fn")}
        dsn = make_conninfo(cargs[0] if cargs else "", **libpq)
        if dsn not in _KEEPERS:
            _KEEPERS[dsn] = Keeper(dsn)
        connection: Any = super().connect(*cargs, **cparams, caller=CALLER, gate=_KEEPERS[dsn])
        connection.suite_keeper = _KEEPERS[dsn]
        return connection  # type: ignore[no-any-return]

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        """DDL past the gate, the rest through it."""
        if _DDL.match(statement) is None:
            super().do_execute(cursor, statement, parameters, context)  # type: ignore[no-untyped-call]
            return
        connection = cursor.connection
        if not connection.autocommit:
            connection.commit()
        keeper: Keeper = connection.suite_keeper
        keeper.made += 1
        with psycopg.connect(keeper.dsn, autocommit=True, options="-c lock_timeout=5s") as plain:
            plain.execute(statement, parameters)

    def do_execute_no_params(self, cursor: Any, statement: Any, context: Any = None) -> None:
        """As above."""
        if _DDL.match(statement) is None:
            super().do_execute_no_params(cursor, statement, context)  # type: ignore[no-untyped-call]
        else:
            self.do_execute(cursor, statement, None, context)
