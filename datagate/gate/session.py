"""One caller's way through the gate."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import uuid4
from weakref import ref

from datagate.audit import AuditRecord, Completion
from datagate.backends.postgres.backend import carry
from datagate.backends.postgres.fingerprint import fingerprint, normalized
from datagate.backends.postgres.statements import ReadStatement, StatementKind
from datagate.backends.postgres.wrappers import WrapperKind
from datagate.decision.filters import consent_purposes
from datagate.errors import (
    DatagateError,
    ProgrammingError,
    Refused,
    RightsChanged,
    SeveralStatements,
    UndefinedRelation,
)
from datagate.gate.admitted import Admitted, Explained
from datagate.gate.footing import Footing, Sight, acting_for, sighted
from datagate.gate.kept import Kept
from datagate.gate.lookout import Flight, Pledge, Stake
from datagate.gate.recording import chain_of, reason_of
from datagate.gate.rights import CALLER_LEVEL, Rights
from datagate.gate.shared import Road, Shared, keep
from datagate.gate.walk import Walk
from datagate.gate.wrapped import explain_wrapper, session_statement
from datagate.model.caller import Caller
from datagate.model.decision import Decision, DenyReason
from datagate.model.names import MandateId, PrincipalId
from datagate.sql.views import Seen
from datagate.stores.signals import consent_parties

_RECORDED: ContextVar[str | None] = ContextVar("recorded", default=None)
"""Of this thread or task: several may share a session, and each completes what it had admitted itself."""


@dataclass(slots=True)
class _Held:
    """The rights of one session, on all of its connections."""

    rights: Rights | None = None


class GateSession:
    """One caller's way through the gate; the caller is fixed."""

    def __init__(self, shared: Shared, caller: Caller, frontend: str, client: str | None = None) -> None:
        self._gate = shared
        self._shared = shared.current
        self._caller = caller
        self._frontend = frontend
        self._client = client
        self._held = _Held()
        self._admitted_by: Rights | None = None
        self._id = str(uuid4())
        self._used: frozenset[MandateId] = frozenset()
        self._admitted: dict[tuple[str, bool], tuple[Admitted, AuditRecord]] = {}
        self._kept = Kept()
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
        """What has to stay as it is now for a cursor that is declared now and read for long.

        Raises:
            DatagateError: The caller has no rights, or the state cannot be read.
        """
        rights = self._current_rights()
        purposes, purpose = self._shared.policies.purposes, self._caller.purpose
        asked = purposes.chain(purpose) if purpose is not None and purpose in purposes else ()
        consents = frozenset(consent_parties(asked))
        values = self._gate.lookout.epochs([*rights.facts.epoch.parties, *consents])
        if sum(values[party] for party in set(rights.facts.epoch.parties)) != rights.facts.epoch.value:
            self.refresh()
            raise RightsChanged("the caller's rights changed a moment ago; run the transaction again")
        return Pledge(values, consents, rights.facts.valid_until, self._shared.policies.version)

    def confirm(self, pledge: Pledge) -> None:
        """Hold what is read from a cursor to the state as it is now.

        Raises:
            RightsChanged: Rights, consents for the caller's purpose, or policies are no longer what they were.
        """
        ended = pledge.valid_until is not None and pledge.valid_until <= self._gate.lookout.now()
        same_policies = self._gate.current.policies.version == pledge.policy_version
        if ended or not same_policies or self._gate.lookout.epochs(pledge.epochs) != pledge.epochs:
            self.refresh()
            raise RightsChanged("rights changed since this cursor was opened; close it and open it again")

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
        out = GateSession(self._gate, self._caller, self._frontend, self._client)
        out._id, out._held, out._used = self._id, self._held, self._used
        return out

    @property
    def caller(self) -> Caller:
        """Whose way it is."""
        return self._caller

    def footing(self) -> Footing:
        """What the caller's sight stands on by now, asked of the state; facts that have changed are forgotten."""
        self._follow()
        rights, shared = self._current_rights(), self._shared
        beat = shared.pulse.beat(rights.facts.epoch.parties, rights.answered)
        ended = rights.facts.valid_until is not None and rights.facts.valid_until <= beat.instant
        if ended or beat.parties != rights.facts.epoch.value:
            self.refresh()
            rights = self._current_rights()
        turns = [each for each in (beat.turn, rights.facts.valid_until) if each is not None]
        return Footing(shared.policies.version, beat.parties, beat.consents, min(turns, default=None))

    def rights_mark(self) -> Rights:
        """Another object whenever the caller's rights were read anew; nothing is asked if they are known."""
        self._follow()
        return self._current_rights()

    def sight(self, schema: str | None, name: str) -> Sight | None:
        """How the caller sees a relation; None: it does not exist for him."""
        self._follow()
        return sighted(self._current_rights(), schema, name)

    def acting_for(self, mandate_id: str, *, purpose: str | None = None) -> Caller:
        """The caller under a mandate that he holds; under one already, only a mandate handed on from that.

        Raises:
            Refused: there is no such mandate in his hands.
        """
        self._follow()
        return acting_for(self._shared, self._caller, MandateId(mandate_id), purpose)

    def opened(self, cursor: str) -> None:
        """Note that a frontend opens a cursor of its own making, under the rights of the statement just admitted."""
        self._kept.open(cursor, self.pledge())

    def inherit(self, former: GateSession) -> None:
        """Hold the cursors that are open on the connection to what they pledged when a former session declared them."""
        self._kept.cursors.update(former._kept.cursors)
        self._kept.past.update(former._kept.past)

    def failed(self) -> None:
        """Note that the server failed a statement, which might have been one that closes or opens a cursor."""
        self._kept.failed()

    def check_cursor(self, cursor: str) -> frozenset[PrincipalId]:
        """RightsChanged where a cursor was opened under rights, consents or policies that are no longer in force.

        The answer tells of withdrawals meanwhile. Any other name may be a portal, and is not fetched from.
        """
        pledge = self._kept.cursors.get(cursor)
        if pledge is None:
            raise ProgrammingError(f'cursor "{cursor}" does not exist', sqlstate="34000")
        self.confirm(pledge)
        self._stand(pledge.consents)
        return pledge.consents

    def _follow(self) -> None:
        """Go by the policies that are in force now."""
        self._shared = self._gate.current
        if self._rights is not None and self._rights.policies is not self._shared.policies:
            self.refresh()

    def admit(self, text: str, *, assuming: bool = True) -> Admitted:
        """Let a statement through, or raise.

        Args:
            text: one statement in the engine's own style, with ``$n`` for the caller's parameters.
            assuming: False where a parameter does not fit what was assumed of it.

        Raises:
            DatagateError: what is wrong with the statement, or why it is refused; the refusal has been recorded.
        """
        self._follow()
        if not self._shared.state_within or (self._flight is not None and not self._gate.lookout.sound):
            # Statements cannot check a state that lies elsewhere, so it is read anew for each. Nor is anything assumed
            # while nobody hears of changes.
            self.refresh()
        if self._admitted_by is not self._rights:
            # Read anew, perhaps by the same session over another connection.
            self._admitted, self._admitted_by = {}, self._rights
        known = self._admitted.get((text, assuming))
        if known is not None:
            admitted, record = known
            self._stand(admitted.consents)
            self._keep(record)
            return admitted
        try:
            explained = self._explain_anew(text, assuming=assuming)
            self._count_use()
        except SeveralStatements:
            # Each of them will be asked for, and recorded, by itself.
            raise
        except DatagateError as error:
            self._record(text, permitted=False, decisions=(), reason=reason_of(error))
            raise
        record = self._record(text, permitted=True, decisions=explained.decisions, reason=None)
        if self._shared.read(text).kind is StatementKind.QUERY and not self._kept.temporary:
            if self._admitted_by is not self._rights:
                self._admitted, self._admitted_by = {}, self._rights
            keep(self._admitted, (text, assuming), (explained.admitted, record))
        self._stand(explained.admitted.consents)
        return explained.admitted

    def _stand(self, consents: frozenset[PrincipalId]) -> None:
        """Note what the statement that is about to run stands on, beside those that run already (a pipeline's)."""
        if self._flight is None or self._rights is None:
            return
        facts, flight, stake = self._rights.facts, self.flight, self._stake
        if stake is not None and flight is not None and flight.under_way:
            consents = consents | stake.consents
        if stake is None or stake.total != facts.epoch.value or stake.consents != consents or stake.facts is not facts:
            parties = frozenset(facts.epoch.parties)
            self._stake = Stake(parties, facts.epoch.value, consents, facts.valid_until, facts)
            if facts.valid_until is not None:
                self._gate.lookout.expects(facts.valid_until)

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
        known = self._rights
        if (statement.fetches or statement.wrapper is not None) and known is not None and not known.still_current():
            # What such a statement sends does not check by itself that the facts are in force.
            self.refresh()
        rights = self._current_rights()
        if rights.standing is not None:
            refusal = Refused(rights.told)
            refusal.audit_reason = f"{rights.standing.reason.value}: {rights.standing.detail}"
            raise refusal
        if statement.wrapper is not None:
            wrapper = statement.wrapper
            explained = explain_wrapper(wrapper, rights, self._kept, lambda text: self.explain(text, assuming=assuming))
            if wrapper.kind is WrapperKind.DECLARE:
                self.opened(wrapper.name)
            return explained
        if statement.kind is StatementKind.EXECUTE:
            return self.explain(self._kept.execute(statement), assuming=assuming)
        if statement.kind is StatementKind.SESSION:
            fetched = statement.cursor if statement.fetches else None
            consents = self.check_cursor(fetched) if fetched is not None else frozenset()
            explained = session_statement(text, statement, rights, self._kept)
            return replace(explained, admitted=replace(explained.admitted, consents=consents))
        road, decisions = self._road(text, statement, rights, assuming=assuming)
        bindings = road.carried.bindings
        admitted = Admitted(
            kind=StatementKind.QUERY,
            text=road.carried.text,
            parameters=tuple(rights.value(binding, decisions) for binding in bindings),
            caller_parameters=statement.parameters,
            assumptions=road.carried.assumptions,
            consents=frozenset(consent_parties(purpose for each in decisions for purpose in consent_purposes(each))),
            shows_rows=road.carried.shows_rows,
        )
        return Explained(admitted, bindings, decisions, road.carried.by)

    def exists(self, oid: int) -> bool:
        """Whether a relation, by its OID in the database, exists for the caller."""
        found = next((each for each in self._shared.catalog.relations.values() if each.oid == oid), None)
        return found is not None and self._current_rights().sight(found) is not Seen.NOT

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
        walk = Walk(rights, temporary)
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
            chain=chain_of(self._rights),
        )
        self._keep(record)
        return record

    def _keep(self, record: AuditRecord) -> None:
        _RECORDED.set(self._shared.audit.record(record, self._shared.recorded_at()))
