"""The one road: parse, inventory, decide, guard, render, verify, audit.

A Gate holds what all callers share (backend, catalog, policies, caches); a GateSession is one caller's way through it.
Frontends send nothing but the text of an :class:`Admitted`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, create_engine

from datagate.audit import AuditRecord, LoggingSink, Sink
from datagate.backends.postgres import masks
from datagate.backends.postgres.backend import Carried, carry
from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.catalog_guards import CatalogGuards
from datagate.backends.postgres.examples import run_examples
from datagate.backends.postgres.guards import EPOCH, PARTIES, VALID_UNTIL, compile_guard, quote
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.backends.postgres.statements import ReadStatement, StatementKind, read_statement
from datagate.decision import decide
from datagate.errors import DatagateError, InternalError, PolicyError, Refused, UndefinedRelation
from datagate.model.caller import Caller
from datagate.model.catalog import Catalog, Relation, RelationKind
from datagate.model.decision import Decision, Denial, DenyReason, Outcome, Request
from datagate.model.facts import Facts
from datagate.model.fragment import Binding
from datagate.model.guard import Guard
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Action, PolicySet
from datagate.policy.check import check_catalog, check_functions, check_types
from datagate.policy.load import read_source
from datagate.sql.leakproof import Assumption
from datagate.sql.rewrite import Surroundings
from datagate.sql.views import Seen
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

__all__ = ["Admitted", "Gate", "GateSession", "StatementKind"]

CONSENTS = '"datagate"."consents"'
CACHE_SIZE = 4096

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A statement as the gate lets it through.

    ``text``: verified SQL with ``$n`` parameters, the only text that may be sent. ``parameters``: policy values,
    to be appended to the caller's own. ``caller_parameters``: the highest ``$n`` of the caller's own text.
    ``assumptions``: what must hold of the caller's parameters, else the statement is admitted anew without assuming.
    """

    kind: StatementKind
    text: str
    parameters: tuple[object, ...]
    caller_parameters: int
    assumptions: frozenset[Assumption]


@dataclass(frozen=True, slots=True)
class Explained:
    """An admitted statement with what stands behind it, for stewards: decisions by relation, and the rendering."""

    admitted: Admitted
    bindings: tuple[Binding, ...]
    decisions: tuple[Decision, ...]
    rendering: str


@dataclass(frozen=True, slots=True)
class _Road:
    """A rewriting that callers of equal shapes share."""

    carried: Carried


class Gate:
    """What all callers of one database share. Thread-safe: shared state is only ever replaced whole."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        policies: PolicySet,
        state: StateStore,
        state_within: bool,
        keyring: Keyring,
        audit: Sink,
        clock: Callable[[], datetime] | None,
    ) -> None:
        self.catalog = catalog
        self.policies = policies
        self.state = state
        self.state_within = state_within
        self.keyring = keyring
        self.audit = audit
        self._clock = clock
        self.functions = catalog.functions | policies.functions
        self._roads: dict[tuple[object, ...], _Road] = {}
        self._texts: dict[str, ReadStatement] = {}
        self._owners: dict[str, tuple[RelationName, ...]] = {}
        self._guards: dict[tuple[object, ...], Guard] = {}

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
            state: where entitlements, consents and mandates are kept; the data's own database by default.
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

    def instant(self) -> datetime:
        """The instant to decide at: by the clock that also judges what is in force inside statements."""
        return self._clock() if self._clock is not None else self.state.now()

    def recorded_at(self) -> datetime:
        """The instant to record."""
        return self._clock() if self._clock is not None else datetime.now(UTC)

    def session(self, caller: Caller, *, frontend: str) -> GateSession:
        """One caller's way through the gate."""
        return GateSession(self, caller, frontend)

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        """Settings that a frontend puts on every upstream connection before anything else.

        What names and literals mean must be what it meant when the catalog was read, whatever the connection string,
        the role or the database says.
        """
        path = ", ".join(quote(schema) for schema in self.catalog.search_path if schema != "pg_catalog")
        return (("search_path", path), ("standard_conforming_strings", "on"), ("transform_null_equals", "off"))

    def read(self, text: str) -> ReadStatement:
        """Parse a text, or take it from the cache."""
        found = self._texts.get(text)
        if found is None:
            found = read_statement(text)
            _keep(self._texts, text, found)
        return found

    def policy_relation(self, relation: Relation) -> RelationName | None:
        """Whose policy applies: the relation's own, else that of the table it is a partition or child of."""
        step: Relation | None = relation
        while step is not None:
            if step.name in self.policies.relations:
                return step.name
            step = self.catalog.relations.get(step.parent) if step.parent is not None else None
        return None

    def road(self, key: tuple[object, ...]) -> _Road | None:
        """A rewriting made before for the same text and shapes."""
        return self._roads.get(key)

    def owners(self, text: str) -> tuple[RelationName, ...] | None:
        """The relations whose policies decided on this text before; None for a text not seen yet."""
        return self._owners.get(text)

    def keep_road(self, text: str, owners: tuple[RelationName, ...], key: tuple[object, ...], road: _Road) -> None:
        """Keep a rewriting."""
        _keep(self._owners, text, owners)
        _keep(self._roads, key, road)

    def guard(self, decision: Decision, relation: Relation) -> Guard:
        """The guard that a decision prescribes for a relation."""
        key = (relation.oid, decision.shape)
        found = self._guards.get(key)
        if found is None:
            found = compile_guard(
                decision,
                relation,
                self.catalog,
                CONSENTS if self.state_within else None,
                check_facts=self.state_within,
            )
            _keep(self._guards, key, found)
        return found


_CALLER_LEVEL = {
    DenyReason.UNKNOWN_PURPOSE: "the purpose of this session is not known",
    DenyReason.NO_MANDATE: "the actor of this session acts for another principal without a mandate",
    DenyReason.MANDATE_ENDED: "the mandate of this session is not in force",
    DenyReason.MANDATE_REVOKED: "the mandate of this session is not in force",
    DenyReason.MANDATE_NOT_YET: "the mandate of this session is not in force",
    DenyReason.MANDATE_CHAIN: "the mandate of this session is not in force",
    DenyReason.MANDATE_PURPOSE: "the mandate of this session does not cover its purpose",
}
"""Denials that speak of the caller, not of a relation: they are told before any relation is looked at."""


class _Rights:
    """What one caller may do, by the facts of one reading."""

    def __init__(self, gate: Gate, caller: Caller) -> None:
        self.gate = gate
        self.caller = caller
        self.instant = gate.instant()
        self.facts: Facts = gate.state.facts(caller, self.instant)
        self._decisions: dict[RelationName, Decision] = {}
        self.catalog_guards = CatalogGuards(gate.catalog, self.visible_columns)
        self.standing = self._standing()

    def decision(self, relation: RelationName) -> Decision:
        """The decision on reading a relation that has a policy."""
        found = self._decisions.get(relation)
        if found is None:
            request = Request(self.caller, relation, Action.SELECT, self.instant)
            found = self._decisions[relation] = decide(request, self.gate.policies, self.facts)
        return found

    def _standing(self) -> Denial | None:
        for relation in self.gate.policies.relations:
            denial = self.decision(relation).denial
            return denial if denial is not None and denial.reason in _CALLER_LEVEL else None
        return None

    def visible_columns(self, relation: Relation) -> frozenset[str]:
        """The columns of a relation that exist for the caller; empty: the relation does not."""
        owner = self.gate.policy_relation(relation)
        if owner is not None:
            decision = self.decision(owner)
            return frozenset(column.name for column in decision.columns)
        if relation.kind is RelationKind.VIEW and relation.view_sql is not None and self.sees_through(relation):
            return frozenset(column.name for column in relation.columns)
        return frozenset()

    def sees_through(self, view: Relation) -> bool:
        """Whether every relation and column that a view depends on exists for the caller."""
        relations = self.gate.catalog.relations
        for name, column in view.view_columns:
            visible = self.visible_columns(relations[name]) if name in relations else frozenset()
            if not visible or (column and column not in visible):
                return False
        return bool(view.view_columns)

    def sight(self, relation: Relation) -> Seen:
        """How a relation stands in the caller's sight."""
        if self.catalog_guards.has(relation):
            return Seen.GUARDED
        owner = self.gate.policy_relation(relation)
        if owner is not None:
            decision = self.decision(owner)
            return Seen.GUARDED if decision.outcome is Outcome.PERMIT and self.visible_columns(relation) else Seen.NOT
        return Seen.EXPANDED if self.visible_columns(relation) else Seen.NOT

    def guard(self, relation: Relation) -> Guard:
        """The guard of a relation that stands GUARDED in the caller's sight."""
        if self.catalog_guards.has(relation):
            return self.catalog_guards.guard(relation)
        owner = self.gate.policy_relation(relation)
        if owner is None:
            raise InternalError("a relation without policy has no guard")
        return self.gate.guard(self.decision(owner), relation)

    def still_current(self) -> bool:
        """Whether the facts are still in force, asked of the state."""
        ended = self.facts.valid_until is not None and self.facts.valid_until <= self.gate.instant()
        return not ended and self.gate.state.is_current(self.facts.epoch)

    def value(self, binding: Binding, decisions: tuple[Decision, ...]) -> object:
        """The value that travels for a binding."""
        if binding == PARTIES:
            return self.facts.epoch.parties
        if binding == EPOCH:
            return self.facts.epoch.value
        if binding == VALID_UNTIL:
            return self.facts.valid_until
        root, _, rest = binding.name.partition(".")
        if root == "key":
            return self.gate.keyring.binding(binding.name).value
        if root == "purpose" and rest:
            return rest
        if root == "consenting":
            return self.gate.state.consenting(self.gate.policies.purposes.chain(Purpose(rest)), self.instant)
        if root == "catalog":
            return self.catalog_guards.value(binding)
        for decision in decisions:
            typed = decision.bindings.get(binding.name)
            if typed is not None:
                return typed.value
        raise InternalError("a policy value has no source; nothing was sent")


class GateSession:
    """One caller's way through the gate; the caller is fixed."""

    def __init__(self, gate: Gate, caller: Caller, frontend: str) -> None:
        self._gate = gate
        self._caller = caller
        self._frontend = frontend
        self._rights: _Rights | None = None
        self._admitted: dict[tuple[str, bool], tuple[Admitted, AuditRecord]] = {}

    def refresh(self) -> None:
        """Forget facts that were read before the caller's rights changed."""
        self._rights = None
        self._admitted = {}

    def admit(self, text: str, *, assuming: bool = True) -> Admitted:
        """Let a statement through, or raise.

        Args:
            text: one statement in the engine's own style, with ``$n`` for the caller's parameters.
            assuming: False where a parameter does not fit what was assumed of it.

        Raises:
            DatagateError: what is wrong with the statement, or why it is refused; the refusal has been recorded.
        """
        if not self._gate.state_within:
            # Statements cannot check a state that lies elsewhere, so it is read anew for each.
            self.refresh()
        known = self._admitted.get((text, assuming))
        if known is not None:
            admitted, record = known
            self._gate.audit.record(replace(record, instant=self._gate.recorded_at()))
            return admitted
        try:
            explained = self._explain_anew(text, assuming=assuming)
        except DatagateError as error:
            self._record(text, permitted=False, decisions=(), reason=error.audit_reason or error.message)
            raise
        record = self._record(text, permitted=True, decisions=explained.decisions, reason=None)
        _keep(self._admitted, (text, assuming), (explained.admitted, record))
        return explained.admitted

    def _explain_anew(self, text: str, *, assuming: bool) -> Explained:
        """As :meth:`explain`; a refusal stands only if the facts that it came from are still in force.

        What is permitted checks that inside the statement; what is refused is never sent.
        """
        rights = self._rights
        try:
            return self.explain(text, assuming=assuming)
        except (Refused, UndefinedRelation):
            if rights is None or rights.still_current():
                raise
        self.refresh()
        return self.explain(text, assuming=assuming)

    def explain(self, text: str, *, assuming: bool = True) -> Explained:
        """What :meth:`admit` would send, and why; nothing is recorded and nothing runs."""
        rights = self._current_rights()
        if rights.standing is not None:
            refusal = Refused(_CALLER_LEVEL[rights.standing.reason])
            refusal.audit_reason = f"{rights.standing.reason.value}: {rights.standing.detail}"
            raise refusal
        statement = self._gate.read(text)
        if statement.kind is StatementKind.SESSION:
            admitted = Admitted(StatementKind.SESSION, statement.canonical, (), 0, frozenset())
            return Explained(admitted, (), (), "session")
        road, decisions = self._road(text, statement, rights, assuming=assuming)
        bindings = road.carried.bindings
        admitted = Admitted(
            kind=StatementKind.QUERY,
            text=road.carried.text,
            parameters=tuple(rights.value(binding, decisions) for binding in bindings),
            caller_parameters=statement.parameters,
            assumptions=road.carried.assumptions,
        )
        return Explained(admitted, bindings, decisions, road.carried.by)

    def _current_rights(self) -> _Rights:
        if self._rights is None:
            self._rights = _Rights(self._gate, self._caller)
        return self._rights

    def _road(
        self, text: str, statement: ReadStatement, rights: _Rights, *, assuming: bool
    ) -> tuple[_Road, tuple[Decision, ...]]:
        """The rewriting for this caller: shared with callers of the same shapes, or made and verified now."""
        owners = self._gate.owners(text)
        if owners is not None:
            decisions = tuple(rights.decision(owner) for owner in owners)
            road = self._gate.road((text, assuming, *(decision.shape for decision in decisions)))
            if road is not None:
                return road, decisions
        walk = _Walk(rights)
        try:
            carried = carry(text, statement, walk.around(), self._gate.functions, walk.views, assuming=assuming)
        except UndefinedRelation as error:
            error.audit_reason = walk.denied or error.message
            raise
        decisions = tuple(rights.decision(owner) for owner in walk.owners)
        road = _Road(carried)
        shapes = tuple(decision.shape for decision in decisions)
        self._gate.keep_road(text, tuple(walk.owners), (text, assuming, *shapes), road)
        return road, decisions

    def _record(
        self, text: str, *, permitted: bool, decisions: tuple[Decision, ...], reason: str | None
    ) -> AuditRecord:
        record = AuditRecord(
            instant=self._gate.recorded_at(),
            caller=self._caller,
            frontend=self._frontend,
            text=text,
            permitted=permitted,
            relations=tuple(str(decision.relation) for decision in decisions),
            rules=tuple(dict.fromkeys(rule for decision in decisions for rule in decision.rules)),
            policy_version=self._gate.policies.version,
            reason=reason,
        )
        self._gate.audit.record(record)
        return record


class _Walk:
    """Notes what a rewriting asks of the caller's rights, so that it can be shared by equal askers."""

    def __init__(self, rights: _Rights) -> None:
        self._rights = rights
        self.owners: dict[RelationName, None] = {}
        self.views: dict[RelationName, Relation] = {}
        self.denied: str | None = None

    def around(self) -> Surroundings:
        """What the passes see."""
        return Surroundings(self._rights.gate.catalog, self._sight, self._rights.guard)

    def _sight(self, relation: Relation) -> Seen:
        seen = self._rights.sight(relation)
        owner = self._rights.gate.policy_relation(relation)
        if owner is not None:
            self.owners[owner] = None
        if seen is Seen.EXPANDED:
            self.views[relation.name] = relation
        if seen is Seen.NOT:
            self.denied = self._why(relation, owner)
        return seen

    def _why(self, relation: Relation, owner: RelationName | None) -> str:
        if owner is None:
            return f"{relation.name} has no policy, or is a view over what the caller may not see"
        denial = self._rights.decision(owner).denial
        return f"{relation.name}: {denial.reason.value}: {denial.detail}" if denial else f"{relation.name} is hidden"


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
    """A SQLAlchemy engine for a state URL, or for a libpq connection string."""
    if "://" in dsn and not dsn.startswith(("postgresql://", "postgres://")):
        return create_engine(dsn)
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))


def _keep(cache: dict[Key, Value], key: Key, value: Value) -> None:
    """Keep an entry; a full cache is dropped whole, which is rare and cheap to make good."""
    if len(cache) >= CACHE_SIZE:
        cache.clear()
    cache[key] = value
