"""One caller's way through the gate."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import uuid4
from weakref import ref

from datagate.audit import AuditRecord, Completion
from datagate.backends.postgres.backend import carry
from datagate.backends.postgres.depth import deeply
from datagate.backends.postgres.positions import position_of
from datagate.backends.postgres.statements import ReadStatement, StatementKind
from datagate.backends.postgres.wrappers import WrapperKind
from datagate.decision.filters import consent_purposes
from datagate.errors import (
    DatagateError,
    Refused,
    SeveralStatements,
    UndefinedRelation,
)
from datagate.gate.admitted import Admitted, Explained, Known
from datagate.gate.cursors import Cursors
from datagate.gate.footing import Footing, Sight, acting_for, sighted
from datagate.gate.kept import Kept
from datagate.gate.recording import Recorded, keep_record, reason_of, record_of, settle
from datagate.gate.rights import CALLER_LEVEL, Rights
from datagate.gate.shared import Road, Shared, keep
from datagate.gate.walk import Walk
from datagate.gate.watched import Flight, Stake
from datagate.gate.wrapped import explain_wrapper, session_statement
from datagate.model.caller import Caller
from datagate.model.decision import Decision, DenyReason
from datagate.model.names import MandateId, PrincipalId
from datagate.sql.views import Seen
from datagate.stores.signals import consent_parties

_RECORDED: ContextVar[Recorded] = ContextVar("recorded", default=None)
"""Of this thread or task: several may share a session, and each completes what it had admitted itself."""


@dataclass(slots=True)
class _Held:
    """The rights of one session, on all of its connections."""

    rights: Rights | None = None


class GateSession(Cursors):
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
        self._admitted: dict[tuple[str, bool], Known] = {}
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

    def check(self) -> None:
        """Refused where the caller may do nothing at all, whatever it asks for."""
        self._follow()
        rights = self._current_rights()
        if rights.standing is not None:
            refusal = Refused(rights.told)
            refusal.audit_reason = f"{rights.standing.reason.value}: {rights.standing.detail}"
            raise refusal

    def has_prepared(self, name: str) -> bool:
        """Whether PREPARE named a query so."""
        return name in self._kept.prepared

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

    def _follow(self) -> None:
        """Go by the policies that are in force now."""
        self._shared = self._gate.current
        if self._rights is not None and self._rights.policies is not self._shared.policies:
            self.refresh()

    def admit(self, text: str, *, assuming: bool = True, ahead: bool = False, asked: str | None = None) -> Admitted:
        """Let a statement through, or raise.

        Args:
            text: one statement in the engine's own style, with ``$n`` for the caller's parameters.
            assuming: False where a parameter does not fit what was assumed of it.
            ahead: Whether the frontend calls :meth:`complete` however the statement ends, and before any row of it
                leaves: then what only reads may run while it is being recorded.
            asked: the text to record, where the frontend has made parameters of the caller's constants.

        Raises:
            DatagateError: what is wrong with the statement, or why it is refused; the refusal has been recorded.
        """
        if self.standing is None:
            self.refresh()
            self._admitted_by = None
        known = self._admitted.get((text, assuming))
        if known is not None:
            _RECORDED.set(self.repeat(known, ahead=ahead))
            return known.admitted
        try:
            explained = self._explain_anew(text, assuming=assuming)
            self._count_use()
        except SeveralStatements:
            # Each of them will be asked for, and recorded, by itself.
            raise
        except DatagateError as error:
            if isinstance(error, UndefinedRelation) and error.relation is not None and error.position is None:
                error.position = position_of(text, *error.relation)
            self._record(asked or text, decisions=(), reason=reason_of(error))
            raise
        record = self._record(asked or text, decisions=explained.decisions, reason=None, ahead=ahead)
        if self._shared.read(text).kind is StatementKind.QUERY and not self._kept.temporary:
            if self._admitted_by is not self._rights:
                self._admitted, self._admitted_by = {}, self._rights
            keep(self._admitted, (text, assuming), Known(explained.admitted, record))
        self._stand(explained.admitted.consents)
        return explained.admitted

    @property
    def standing(self) -> object | None:
        """Another object once what was admitted has to be admitted anew; None where that is so each time.

        Statements cannot check a state that lies elsewhere, so it is read anew for each. Nor is anything assumed while
        nobody hears of changes. Nothing is asked.
        """
        self._follow()
        if not self._shared.state_within or (self._flight is not None and not self._gate.lookout.sound):
            return None
        if self._admitted_by is not self._rights:
            # Read anew, perhaps by the same session over another connection.
            self._admitted, self._admitted_by = {}, self._rights
        return self._admitted

    def stands(self, standing: object) -> bool:
        """Whether :attr:`standing` is still this; for what is asked by the ten thousand a second."""
        rights, shared = self._held.rights, self._shared
        return (
            standing is self._admitted
            and rights is not None
            and rights is self._admitted_by
            and shared is self._gate.current
            and rights.policies is shared.policies
            and shared.state_within
            and (self._flight is None or self._gate.lookout.sound)
        )

    def known(self, text: str, *, assuming: bool = True) -> Known | None:
        """What :meth:`admit` would answer without asking anybody, for :meth:`repeat`; nothing is recorded."""
        return self._admitted.get((text, assuming)) if self.standing is not None else None

    def repeat(self, known: Known, *, ahead: bool = False) -> Recorded:
        """Record a statement once more that is still admitted; what stands for its record. ``ahead`` as in `admit`."""
        self._stand(known.admitted.consents)
        return keep_record(self._shared, known.record, ahead=ahead)

    @property
    def hears(self) -> bool:
        """Whether changes of rights are heard of, so that :meth:`watch` waits for nothing."""
        return self._gate.lookout.sound

    def _stand(self, consents: frozenset[PrincipalId]) -> None:
        """Note what the statement that is about to run stands on, beside those that run already (a pipeline's)."""
        rights, stake = self._held.rights, self._stake
        if self._flight is None or rights is None:
            return
        facts = rights.facts
        if stake is not None and stake.facts is facts and stake.consents == consents:
            return
        flight = self.flight
        if stake is not None and flight is not None and flight.under_way:
            consents = consents | stake.consents
        if stake is None or stake.total != facts.epoch.value or stake.consents != consents or stake.facts is not facts:
            parties = frozenset(facts.epoch.parties)
            self._stake = Stake(parties, facts.epoch.value, consents, facts.valid_until, facts)
            if facts.valid_until is not None:
                self._gate.lookout.expects(facts.valid_until)

    @property
    def waits(self) -> bool:
        """Whether recording a statement waits for a disk or a server."""
        return self._shared.waits

    @property
    def completes(self) -> bool:
        """Whether it is recorded how statements end."""
        return self._shared.completing is not None

    @property
    def recorded(self) -> Recorded:
        """What stands for the record of the last statement of this thread or task; for `complete`."""
        return _RECORDED.get()

    def complete(self, recorded: Recorded, completion: Completion) -> None:
        """Record how a statement ended; ``recorded`` is what stands for its record.

        Raises:
            AuditUnavailable: A statement that was admitted ahead is not recorded; nothing of its answer may leave.
        """
        settle(self._shared, recorded, completion)

    def keyed(self, table: int) -> tuple[str, int] | None:
        """The relation, and the number of its data subject's column, whose keys are recorded; None for others."""
        return self._shared.keyed.get(table)

    @property
    def keeps_keys(self) -> bool:
        """Whether there is any table whose keys are recorded."""
        return bool(self._shared.keyed)

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

    @deeply
    def explain(self, text: str, *, assuming: bool = True) -> Explained:
        """What :meth:`admit` would send, and why; nothing is recorded and nothing runs."""
        statement = self._shared.read(text)
        known = self._rights
        if (statement.fetches or statement.wrapper is not None) and known is not None and not known.still_current():
            # What such a statement sends does not check by itself that the facts are in force.
            self.refresh()
        rights = self._current_rights()
        if not statement.gives_up:
            self.check()
            rights = self._current_rights()
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
        temporary = self._kept.tables(self._caller)
        owners = self._shared.owners(text) if not temporary else None
        if owners is not None:
            decisions = tuple(rights.decision(*owner) for owner in owners)
            road = self._shared.road((text, assuming, *(decision.shape for decision in decisions)))
            if road is not None:
                return road, decisions
        walk = Walk(rights, temporary)
        try:
            road = Road(carry(text, statement, walk.around(), self._shared.functions, walk.views, assuming=assuming))
        except UndefinedRelation as error:
            error.audit_reason = walk.denied or error.message
            raise self._kept.told(error) from None
        decisions = tuple(rights.decision(*owner) for owner in walk.owners)
        if not temporary:  # what names mean to this session alone is shared with nobody
            self._shared.keep_road(text, tuple(walk.owners), (text, assuming, *(d.shape for d in decisions)), road)
        return road, decisions

    def _record(
        self, text: str, *, decisions: tuple[Decision, ...], reason: str | None, ahead: bool = False
    ) -> AuditRecord:
        record = record_of(
            self._shared, self._caller, text, rights=self._rights, decisions=decisions, reason=reason,
            frontend=self._frontend, client=self._client,
        )  # fmt: skip
        _RECORDED.set(keep_record(self._shared, record, ahead=ahead))
        return record
