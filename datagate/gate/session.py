"""One caller's way through the gate."""

from __future__ import annotations

from dataclasses import replace

from datagate.audit import AuditRecord
from datagate.backends.postgres.backend import carry
from datagate.backends.postgres.guards import STILL_CURRENT
from datagate.backends.postgres.statements import ReadStatement, StatementKind
from datagate.decision.writes import never_raw, not_writable
from datagate.errors import DatagateError, Refused, UndefinedRelation
from datagate.gate.admitted import Admitted, Explained
from datagate.gate.footing import Footing, Sight
from datagate.gate.rights import CALLER_LEVEL, Rights
from datagate.gate.shared import Road, Shared, keep
from datagate.model.caller import Caller
from datagate.model.catalog import Relation
from datagate.model.decision import TRUE, CellCase, Decision
from datagate.model.guard import Target, TargetKey
from datagate.model.names import MandateId, Purpose, RelationName
from datagate.model.policy import Action
from datagate.sql.rewrite import Surroundings
from datagate.sql.views import Seen


class GateSession:
    """One caller's way through the gate; the caller is fixed."""

    def __init__(self, shared: Shared, caller: Caller, frontend: str) -> None:
        self._shared = shared
        self._caller = caller
        self._frontend = frontend
        self._rights: Rights | None = None
        self._admitted: dict[tuple[str, bool], tuple[Admitted, AuditRecord]] = {}

    def refresh(self) -> None:
        """Forget facts that were read before the caller's rights changed."""
        self._rights = None
        self._admitted = {}

    @property
    def caller(self) -> Caller:
        """Whose way it is."""
        return self._caller

    def footing(self) -> Footing:
        """What the caller's sight stands on by now, asked of the state; facts that have changed are forgotten."""
        rights = self._current_rights()
        shared = self._shared
        beat = shared.pulse.beat(rights.facts.epoch.parties, rights.consent_purposes)
        ended = rights.facts.valid_until is not None and rights.facts.valid_until <= beat.instant
        if ended or beat.parties != rights.facts.epoch.value or rights.policies is not shared.policies:
            self.refresh()
            rights = self._current_rights()
        turns = [each for each in (beat.turn, rights.facts.valid_until) if each is not None]
        return Footing(shared.policies.version, beat.parties, beat.consents, min(turns, default=None))

    def rights_mark(self) -> object:
        """Another object whenever the caller's rights were read anew; nothing is asked if they are known."""
        if self._rights is not None and self._rights.policies is not self._shared.policies:
            self.refresh()
        return self._current_rights()

    def sight(self, schema: str | None, name: str) -> Sight | None:
        """How the caller sees a relation; None: it does not exist for him."""
        rights = self._current_rights()
        found = self._shared.catalog.resolve(schema, name)
        if found is None or rights.standing is not None:
            return None
        relation = self._shared.catalog.relations[found]
        if rights.sight(relation) is Seen.NOT:
            return None
        owner = self._shared.policy_relation(relation)
        columns = rights.visible_columns(relation)
        if owner is None or rights.sight(relation) is Seen.EXPANDED:
            return Sight(columns, frozenset(), frozenset(), frozenset())
        seen = rights.decision(owner)
        decided = seen.columns
        masked = frozenset(each.name for each in decided if never_raw(each))
        raw = frozenset(each.name for each in decided if each.cases == (CellCase(TRUE, ()),))
        refused = not_writable(seen, rights.decision(owner, Action.INSERT), columns)
        return Sight(columns, masked & columns, columns - masked - raw, columns.difference(refused))

    def acting_for(self, mandate_id: str, *, purpose: str | None = None) -> Caller:
        """The caller under a mandate that he holds; under one already, only a mandate handed on from that.

        Raises:
            Refused: there is no such mandate in his hands.
        """
        asked = Purpose(purpose) if purpose is not None else self._caller.purpose
        probe = replace(self._caller, mandate=MandateId(mandate_id), purpose=asked)
        chain = self._shared.state.facts(probe, self._shared.instant()).chain
        held = bool(chain) and chain[0].holder == self._caller.actor.id
        if not held or (self._caller.mandate is not None and self._caller.mandate not in {each.id for each in chain}):
            raise Refused("no such mandate is in the hands of this caller, or none that was handed on from his own")
        return replace(probe, principal=chain[0].principal)

    def admit(self, text: str, *, assuming: bool = True) -> Admitted:
        """Let a statement through, or raise.

        Args:
            text: one statement in the engine's own style, with ``$n`` for the caller's parameters.
            assuming: False where a parameter does not fit what was assumed of it.

        Raises:
            DatagateError: what is wrong with the statement, or why it is refused; the refusal has been recorded.
        """
        if not self._shared.state_within:
            # Statements cannot check a state that lies elsewhere, so it is read anew for each.
            self.refresh()
        if self._rights is not None and self._rights.policies is not self._shared.policies:
            self.refresh()
        known = self._admitted.get((text, assuming))
        if known is not None:
            admitted, record = known
            self._shared.audit.record(record, self._shared.recorded_at())
            return admitted
        try:
            explained = self._explain_anew(text, assuming=assuming)
        except DatagateError as error:
            self._record(text, permitted=False, decisions=(), reason=error.audit_reason or error.message)
            raise
        record = self._record(text, permitted=True, decisions=explained.decisions, reason=None)
        keep(self._admitted, (text, assuming), (explained.admitted, record))
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
