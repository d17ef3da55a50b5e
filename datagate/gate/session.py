"""One caller's way through the gate."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import uuid4

from datagate.audit import AuditRecord, Completion
from datagate.backends.postgres.backend import carry
from datagate.backends.postgres.fingerprint import fingerprint, normalized
from datagate.backends.postgres.guards import STILL_CURRENT
from datagate.backends.postgres.statements import ReadStatement, StatementKind
from datagate.decision.writes import never_raw, not_writable
from datagate.errors import DatagateError, Refused, SeveralStatements, StatementSyntaxError, UndefinedRelation
from datagate.gate.admitted import Admitted, Explained
from datagate.gate.footing import Footing, Sight
from datagate.gate.kept import Kept
from datagate.gate.rights import CALLER_LEVEL, Rights
from datagate.gate.shared import Road, Shared, keep
from datagate.gate.wrapped import explain_wrapper, session_statement
from datagate.model.caller import Caller
from datagate.model.catalog import Relation
from datagate.model.decision import TRUE, CellCase, Decision, DenyReason
from datagate.model.guard import Target, TargetKey
from datagate.model.names import MandateId, Purpose, RelationName
from datagate.model.policy import Action
from datagate.sql.rewrite import Surroundings
from datagate.sql.views import Seen

_RECORDED: ContextVar[str | None] = ContextVar("recorded", default=None)
"""Of this thread or task: several may share a session, and each completes what it had admitted itself."""


@dataclass(slots=True)
class _Held:
    """The rights of one session, on all of its connections."""

    rights: Rights | None = None


class GateSession:
    """One caller's way through the gate; the caller is fixed."""

    def __init__(self, shared: Shared, caller: Caller, frontend: str, client: str | None = None) -> None:
        self._shared = shared
        self._caller = caller
        self._frontend = frontend
        self._client = client
        self._held = _Held()
        self._admitted_by: Rights | None = None
        self._id = str(uuid4())
        self._used: frozenset[MandateId] = frozenset()
        self._admitted: dict[tuple[str, bool], tuple[Admitted, AuditRecord]] = {}
        self._kept = Kept()

    def refresh(self) -> None:
        """Forget facts that were read before the caller's rights changed."""
        self._rights = None
        self._admitted = {}

    @property
    def _rights(self) -> Rights | None:
        return self._held.rights

    @_rights.setter
    def _rights(self, rights: Rights | None) -> None:
        self._held.rights = rights

    def beside(self) -> GateSession:
        """The same session over another connection, with what it keeps there: cursors, prepared queries."""
        out = GateSession(self._shared, self._caller, self._frontend, self._client)
        out._id, out._held, out._used = self._id, self._held, self._used
        return out

    @property
    def caller(self) -> Caller:
        """Whose way it is."""
        return self._caller

    def footing(self) -> Footing:
        """What the caller's sight stands on by now, asked of the state; facts that have changed are forgotten."""
        rights = self._current_rights()
        shared = self._shared
        beat = shared.pulse.beat(rights.facts.epoch.parties, rights.answered)
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

    def opened(self, cursor: str) -> None:
        """Note that a frontend opens a cursor of its own making, under the rights of the statement just admitted."""
        self._kept.open(cursor, self._current_rights().standing_of_cursors)

    def failed(self) -> None:
        """Note that the server failed a statement, which might have been one that closes or opens a cursor."""
        self._kept.failed()

    def check_cursor(self, cursor: str) -> None:
        """RightsChanged where a cursor was opened under rights that are no longer in force."""
        self._read_anew()
        self._kept.fetch(cursor, self._current_rights().standing_of_cursors)

    def _read_anew(self) -> None:
        """Forget facts that are no longer in force."""
        if self._rights is not None and not self._rights.still_current():
            self.refresh()

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
        if self._admitted_by is not self._rights:
            # Read anew, perhaps by the same session over another connection.
            self._admitted, self._admitted_by = {}, self._rights
        known = self._admitted.get((text, assuming))
        if known is not None:
            admitted, record = known
            self._keep(record)
            return admitted
        try:
            explained = self._explain_anew(text, assuming=assuming)
            self._count_use()
        except SeveralStatements:
            # Each of them will be asked for, and recorded, by itself.
            raise
        except DatagateError as error:
            self._record(text, permitted=False, decisions=(), reason=_reason(error))
            raise
        record = self._record(text, permitted=True, decisions=explained.decisions, reason=None)
        if self._shared.read(text).kind is StatementKind.QUERY and not self._kept.temporary:
            if self._admitted_by is not self._rights:
                self._admitted, self._admitted_by = {}, self._rights
            keep(self._admitted, (text, assuming), (explained.admitted, record))
        return explained.admitted

    @property
    def recorded(self) -> str | None:
        """What the sink called the record of the last statement of this thread or task; for `complete`."""
        return _RECORDED.get()

    def complete(self, recorded: str | None, completion: Completion) -> None:
        """Record how a statement ended; ``recorded`` is what its record was called."""
        sink = self._shared.completing
        if recorded is not None and sink is not None:
            sink.complete(recorded, completion, self._shared.recorded_at())

    def keyed(self, table: int) -> tuple[str, int] | None:
        """The relation, and the number of its data subject's column, whose keys are recorded; None for others."""
        return self._shared.keyed.get(table)

    def _count_use(self) -> None:
        """Count this session as a use of its mandates, once for each that has a number of them; Refused without one."""
        chain = self._current_rights().facts.chain
        limited = frozenset(mandate.id for mandate in chain if mandate.max_uses is not None)
        if limited <= self._used:
            return
        used_up = self._shared.state.use_mandates(chain, self._id)
        if used_up is not None:
            refusal = Refused(CALLER_LEVEL[DenyReason.MANDATE_USED_UP])
            refusal.audit_reason = f"{DenyReason.MANDATE_USED_UP.value}: mandate {used_up}"
            raise refusal
        self._used |= limited

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
        statement = self._shared.read(text)
        if statement.fetches or statement.wrapper is not None:
            # What such a statement sends does not check by itself that the facts are in force.
            self._read_anew()
        rights = self._current_rights()
        if rights.standing is not None:
            refusal = Refused(rights.told)
            refusal.audit_reason = f"{rights.standing.reason.value}: {rights.standing.detail}"
            raise refusal
        if statement.wrapper is not None:
            return explain_wrapper(
                statement.wrapper, rights, self._kept, lambda inner: self.explain(inner, assuming=assuming)
            )
        if statement.kind is StatementKind.EXECUTE:
            return self.explain(self._kept.execute(statement), assuming=assuming)
        if statement.kind is StatementKind.SESSION:
            return session_statement(text, statement, rights, self._kept)
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
        temporary = frozenset(self._kept.temporary)
        owners = self._shared.owners(text) if not temporary else None
        if owners is not None:
            decisions = tuple(rights.decision(*owner) for owner in owners)
            road = self._shared.road((text, assuming, *(decision.shape for decision in decisions)))
            if road is not None:
                return road, decisions
        walk = _Walk(rights, temporary)
        try:
            carried = carry(text, statement, walk.around(), self._shared.functions, walk.views, assuming=assuming)
        except UndefinedRelation as error:
            error.audit_reason = walk.denied or error.message
            raise
        decisions = tuple(rights.decision(*owner) for owner in walk.owners)
        road = Road(carried)
        shapes = tuple(decision.shape for decision in decisions)
        if not temporary:
            # What names mean to this session alone is shared with nobody.
            self._shared.keep_road(text, tuple(walk.owners), (text, assuming, *shapes), road)
        return road, decisions

    def _record(
        self, text: str, *, permitted: bool, decisions: tuple[Decision, ...], reason: str | None
    ) -> AuditRecord:
        shared = self._shared
        relations = tuple(dict.fromkeys(str(decision.relation) for decision in decisions))
        record = AuditRecord(
            caller=self._caller,
            frontend=self._frontend,
            text=text,
            permitted=permitted,
            relations=relations,
            rules=tuple(dict.fromkeys(rule for decision in decisions for rule in decision.rules)),
            policy_version=shared.policies.version,
            reason=reason,
            columns=tuple((str(each.relation), tuple(column.name for column in each.columns)) for each in decisions),
            keyed=tuple(name for name in relations if name in shared.keyed_relations),
            actions=tuple(sorted({decision.action.value for decision in decisions})),
            epoch=self._rights.facts.epoch.value if self._rights is not None else None,
            fingerprint=fingerprint(text),
            normalized=normalized(text),
            client=self._client,
            chain=_chain(self._rights),
        )
        self._keep(record)
        return record

    def _keep(self, record: AuditRecord) -> None:
        _RECORDED.set(self._shared.audit.record(record, self._shared.recorded_at()))


def _reason(error: DatagateError) -> str:
    """Why it was refused, for the audit: the parser's message would quote the text, and so its literals."""
    if isinstance(error, StatementSyntaxError):
        return f"{error.sqlstate}: the text does not parse"
    return error.audit_reason or error.message


def _chain(rights: Rights | None) -> tuple[tuple[str, str], ...]:
    """Who handed what to whom, from the principal on: the mandate's id and its holder."""
    if rights is None:
        return ()
    return tuple((str(each.id), str(each.holder)) for each in rights.facts.chain)


class _Walk:
    """Notes what a rewriting asks of the caller's rights, so that it can be shared by equal askers."""

    def __init__(self, rights: Rights, temporary: frozenset[str]) -> None:
        self._rights = rights
        self._temporary = temporary
        self.owners: dict[tuple[RelationName, Action], None] = {}
        self.views: dict[RelationName, Relation] = {}
        self.denied: str | None = None

    def around(self) -> Surroundings:
        """What the passes see."""
        shared = self._rights.shared
        check = STILL_CURRENT if shared.state_within else None
        catalog = replace(shared.catalog, temporary=self._temporary) if self._temporary else shared.catalog
        return Surroundings(catalog, self._sight, self._rights.guard, self._aim, self._lock, check)

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
