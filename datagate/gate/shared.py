"""What all callers of one database share: catalog, policies, state, and the caches of work done once."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from datagate.audit import CompletingSink, HoldingSink, Sink
from datagate.backends.postgres.backend import Carried
from datagate.backends.postgres.consents import CONSENTS
from datagate.backends.postgres.depth import deeply
from datagate.backends.postgres.guards import compile_guard
from datagate.backends.postgres.statements import ReadStatement, read_statement
from datagate.decision.widening import only_widens
from datagate.gate.lookout import Lookout
from datagate.model.catalog import Catalog, Relation
from datagate.model.decision import Decision
from datagate.model.facts import Facts
from datagate.model.guard import Guard
from datagate.model.names import RelationName
from datagate.model.policy import Action, PolicySet
from datagate.stores.keyring import Keyring
from datagate.stores.pulse import Pulse
from datagate.stores.store import StateStore

CACHE_SIZE = 4096

Owner = tuple[RelationName, Action]

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Road:
    """A rewriting that callers of equal shapes share."""

    carried: Carried


class Shared:
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
        self.state = state
        self.state_within = state_within
        self.keyring = keyring
        self.audit = audit
        self.completing = audit if isinstance(audit, CompletingSink) else None
        self.holding = audit if isinstance(audit, HoldingSink) else None
        # A sink that says nothing of it may wait.
        self.waits = bool(getattr(audit, "waits", True))
        self._clock = clock
        self.lookout = Lookout(state, self.reread, self._widens, clock)
        self.adopt(catalog, policies)

    @property
    def current(self) -> Shared:
        """What holds for statements that begin now: this, until policies are read again."""
        return self

    def reread(self) -> object:
        """Read the policies again, where they can be."""
        return None

    def _widens(self, role: str, facts: Facts) -> bool:
        return only_widens(role, facts.principal, self.current.policies)

    def succeeded(self, catalog: Catalog, policies: PolicySet) -> Shared:
        """The same with other policies, and caches of their own: nothing made under the old ones outlives them."""
        successor = copy(self)
        successor.adopt(catalog, policies)
        return successor

    def adopt(self, catalog: Catalog, policies: PolicySet) -> None:
        """Hold these policies from the beginning: once, before anybody else has this."""
        self.catalog = catalog
        self.policies = policies
        self.functions = catalog.functions | policies.functions
        self.keyed = keyed_columns(catalog, policies)
        self.keyed_relations = frozenset(name for name, _ in self.keyed.values())
        self._roads: dict[tuple[object, ...], Road] = {}
        self._texts: dict[str, ReadStatement] = {}
        self._owners: dict[str, tuple[Owner, ...]] = {}
        self._guards: dict[tuple[object, ...], Guard] = {}

    @property
    def pulse(self) -> Pulse:
        """Tells whether the state changed; one for all policies that follow each other."""
        return self.state.pulse

    def instant(self) -> datetime:
        """The instant to decide at: by the clock that also judges what is in force inside statements."""
        return self._clock() if self._clock is not None else self.state.now()

    def recorded_at(self) -> datetime:
        """The instant to record."""
        return self._clock() if self._clock is not None else datetime.now(UTC)

    @deeply
    def read(self, text: str) -> ReadStatement:
        """Parse a text, or take it from the cache."""
        found = self._texts.get(text)
        if found is None:
            found = read_statement(text)
            keep(self._texts, text, found)
        return found

    def policy_relation(self, relation: Relation) -> RelationName | None:
        """Whose policy applies: the relation's own, else that of the table it is a partition or child of."""
        step: Relation | None = relation
        while step is not None:
            if step.name in self.policies.relations:
                return step.name
            step = self.catalog.relations.get(step.parent) if step.parent is not None else None
        return None

    def road(self, key: tuple[object, ...]) -> Road | None:
        """A rewriting made before for the same text and shapes."""
        return self._roads.get(key)

    def owners(self, text: str) -> tuple[Owner, ...] | None:
        """The relations whose policies decided on this text before, by action; None for a text not seen yet."""
        return self._owners.get(text)

    def keep_road(self, text: str, owners: tuple[Owner, ...], key: tuple[object, ...], road: Road) -> None:
        """Keep a rewriting."""
        keep(self._owners, text, owners)
        keep(self._roads, key, road)

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
            )
            keep(self._guards, key, found)
        return found


def keep(cache: dict[Key, Value], key: Key, value: Value) -> None:
    """Keep an entry; a full cache is dropped whole, which is rare and cheap to make good."""
    if len(cache) >= CACHE_SIZE:
        cache.clear()
    cache[key] = value


def keyed_columns(catalog: Catalog, policies: PolicySet) -> dict[int, tuple[str, int]]:
    """By OID of a table: the relation whose policy it has, and the number of the column that names the data subject.

    Only of relations whose policy has the audit keep keys; partitions and children are read under their own OID.
    """
    found: dict[int, tuple[str, int]] = {}
    for relation in catalog.relations.values():
        step: Relation | None = relation
        while step is not None and step.name not in policies.relations:
            step = catalog.relations.get(step.parent) if step.parent is not None else None
        policy = policies.relations.get(step.name) if step is not None else None
        if policy is None or not policy.audit_keys or policy.data_subject is None:
            continue
        for column in relation.columns:
            if column.name == policy.data_subject:
                found[relation.oid] = (str(policy.relation), column.number)
    return found
