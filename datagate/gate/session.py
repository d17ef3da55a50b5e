"""One caller's way through the gate."""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

from datagate.audit import AuditRecord
from datagate.backends.postgres.backend import carry
from datagate.backends.postgres.guards import STILL_CURRENT
from datagate.backends.postgres.statements import ReadStatement, StatementKind
from datagate.errors import DatagateError, Refused, RightsChanged, UndefinedRelation
from datagate.gate.admitted import Admitted, Explained
from datagate.gate.lookout import Flight, Pledge, Stake
from datagate.gate.rights import CALLER_LEVEL, Rights
from datagate.gate.shared import Road, Shared, keep
from datagate.model.caller import Caller
from datagate.model.catalog import Relation
from datagate.model.decision import Decision, purposes_asked
from datagate.model.guard import Target, TargetKey
from datagate.model.names import RelationName
from datagate.model.policy import Action
from datagate.sql.rewrite import Surroundings
from datagate.sql.views import Seen
from datagate.stores.signals import consent_parties


class GateSession:
    """One caller's way through the gate; the caller is fixed."""

    def __init__(self, shared: Shared, caller: Caller, frontend: str) -> None:
        self._gate = shared
        self._shared = shared.current
        self._caller = caller
        self._frontend = frontend
        self._rights: Rights | None = None
        self._admitted: dict[tuple[str, bool], tuple[Admitted, AuditRecord]] = {}
        self._flight: Callable[[], Flight | None] | None = None
        self._stake: Stake | None = None

    def watch(self, flight: Flight) -> None:
        """Have statements that run on a connection cancelled when the caller's rights end; until :meth:`leave`."""
        self._flight = ref(flight)
        self._gate.lookout.watch(self)

    def leave(self) -> None:
        """The connection of :meth:`watch` is closed."""
        if self._flight is not None:
            self._flight = None
            self._gate.lookout.leave(self)

    @property
    def flight(self) -> Flight | None:
        """The connection that is watched, while there is one."""
        return None if self._flight is None else self._flight()

    @property
    def stake(self) -> Stake | None:
        """What the statements under way stand on; None before the first."""
        return self._stake

    def pledge(self) -> Pledge:
        """What has to stay as it is now, for a snapshot or a cursor that is taken from now on and read for long.

        Raises:
            DatagateError: The caller has no rights, or the state cannot be read.
        """
        rights = self._current_rights()
        purpose = self._caller.purpose
        known = purpose is not None and purpose in self._shared.policies.purposes
        consents = consent_parties(self._shared.policies.purposes.chain(purpose)) if known and purpose else ()
        values = self._gate.lookout.epochs([*rights.facts.epoch.parties, *consents])
        total = sum(values[party] for party in dict.fromkeys(rights.facts.epoch.parties))
        if total != rights.facts.epoch.value:
            self.refresh()
            raise RightsChanged("the caller's rights changed a moment ago; run the transaction again")
        return Pledge(values, rights.facts.valid_until, self._shared.policies.version)

    def confirm(self, pledge: Pledge) -> None:
        """Hold what is read from an older snapshot to the state as it is now.

        Raises:
            RightsChanged: Rights, consents for the caller's purpose, or policies are no longer what they were.
        """
        ended = pledge.valid_until is not None and pledge.valid_until <= self._gate.lookout.now()
        same_policies = self._gate.current.policies.version == pledge.policy_version
        if ended or not same_policies or self._gate.lookout.epochs(pledge.epochs) != pledge.epochs:
            self.refresh()
            raise RightsChanged("the caller's rights, or consents, changed meanwhile; roll back and run it again")

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
        if self._gate.current is not self._shared:
            self._shared = self._gate.current
            self.refresh()
        if not self._shared.state_within or (self._flight is not None and not self._gate.lookout.sound):
            # Statements cannot check a state that lies elsewhere, so it is read anew for each. Nor is anything assumed
            # while nobody hears of changes.
            self.refresh()
        known = self._admitted.get((text, assuming))
        if known is not None:
            admitted, record = known
            self._stand(admitted)
            self._shared.audit.record(record, self._shared.recorded_at())
            return admitted
        try:
            explained = self._explain_anew(text, assuming=assuming)
        except DatagateError as error:
            self._record(text, permitted=False, decisions=(), reason=error.audit_reason or error.message)
            raise
        record = self._record(text, permitted=True, decisions=explained.decisions, reason=None)
        keep(self._admitted, (text, assuming), (explained.admitted, record))
        self._stand(explained.admitted)
        return explained.admitted

    def _stand(self, admitted: Admitted) -> None:
        """Note what the statement that is about to run stands on, beside those that run already (a pipeline's)."""
        if self._flight is None or self._rights is None:
            return
        facts, flight = self._rights.facts, self.flight
        consents = admitted.consents
        if self._stake is not None and flight is not None and flight.under_way:
            consents = consents | self._stake.consents
        stake = self._stake
        if stake is None or stake.total != facts.epoch.value or stake.consents != consents or stake.facts is not facts:
            parties = frozenset(facts.epoch.parties)
            self._stake = Stake(parties, facts.epoch.value, consents, facts.valid_until, facts)
            if facts.valid_until is not None:
                self._gate.lookout.expects(facts.valid_until)

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
            refusal = Refused(CALLER_LEVEL[rights.standing.reason])
            refusal.audit_reason = f"{rights.standing.reason.value}: {rights.standing.detail}"
            raise refusal
        statement = self._shared.read(text)
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
            consents=frozenset(
                consent_parties(dict.fromkeys(purpose for each in decisions for purpose in purposes_asked(each)))
            ),
            shows_rows=road.carried.shows_rows,
        )
        return Explained(admitted, bindings, decisions, road.carried.by)

    def _current_rights(self) -> Rights:
        if self._rights is None:
            self._rights = Rights(self._shared, self._caller)
        return self._rights

    def _road(
        self, text: str, statement: ReadStatement, rights: Rights, *, assuming: bool
    ) -> tuple[Road, tuple[Decision, ...]]:
        """The rewriting for this caller: shared with callers of the same shapes, or made and verified now."""
        owners = self._shared.owners(text)
        if owners is not None:
            decisions = tuple(rights.decision(*owner) for owner in owners)
            road = self._shared.road((text, assuming, *(decision.shape for decision in decisions)))
            if road is not None:
                return road, decisions
        walk = _Walk(rights)
        try:
            carried = carry(text, statement, walk.around(), self._shared.functions, walk.views, assuming=assuming)
        except UndefinedRelation as error:
            error.audit_reason = walk.denied or error.message
            raise
        decisions = tuple(rights.decision(*owner) for owner in walk.owners)
        road = Road(carried)
        shapes = tuple(decision.shape for decision in decisions)
        self._shared.keep_road(text, tuple(walk.owners), (text, assuming, *shapes), road)
        return road, decisions

    def _record(
        self, text: str, *, permitted: bool, decisions: tuple[Decision, ...], reason: str | None
    ) -> AuditRecord:
        record = AuditRecord(
            caller=self._caller,
            frontend=self._frontend,
            text=text,
            permitted=permitted,
            relations=tuple(str(decision.relation) for decision in decisions),
            rules=tuple(dict.fromkeys(rule for decision in decisions for rule in decision.rules)),
            policy_version=self._shared.policies.version,
            reason=reason,
        )
        self._shared.audit.record(record, self._shared.recorded_at())
        return record


class _Walk:
    """Notes what a rewriting asks of the caller's rights, so that it can be shared by equal askers."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self.owners: dict[tuple[RelationName, Action], None] = {}
        self.views: dict[RelationName, Relation] = {}
        self.denied: str | None = None

    def around(self) -> Surroundings:
        """What the passes see."""
        shared = self._rights.shared
        check = STILL_CURRENT if shared.state_within else None
        return Surroundings(shared.catalog, self._sight, self._rights.guard, self._aim, self._lock, check)

    def _lock(self, relation: Relation) -> None:
        owner = self._rights.shared.policy_relation(relation)
        if owner is not None:
            self.owners.update({(owner, Action.UPDATE): None, (owner, Action.DELETE): None})
        if owner is None or not self._rights.may_lock(owner):
            raise Refused(f"locking rows of {relation.name} needs the right to update or delete some of them")

    def _aim(self, relation: Relation, key: TargetKey) -> Target:
        owner = self._rights.shared.policy_relation(relation)
        if owner is not None:
            self.owners[owner, key.action] = None
        return self._rights.aim(relation, key)

    def _sight(self, relation: Relation) -> Seen:
        seen = self._rights.sight(relation)
        owner = self._rights.shared.policy_relation(relation)
        if owner is not None:
            self.owners[owner, Action.SELECT] = None
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
