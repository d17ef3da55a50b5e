"""One client's way through the gate: who it is by now, and what the gate makes of its statements.

What the gate has made before is looked up at once; what it has yet to parse, decide on or read from the state happens
in a thread, so that the other clients do not wait for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from time import perf_counter
from typing import Protocol

from datagate.errors import DatagateError, Refused
from datagate.frontends.gateway.identity import NOT_PERMITTED, WISHES, Identity
from datagate.frontends.gateway.measures import Measures
from datagate.frontends.gateway.pins import pins
from datagate.frontends.gateway.plans import Asked, Plan, Plans, Values, types_of
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import Sendable
from datagate.frontends.gateway.settling import Settling
from datagate.frontends.gateway.wishes import Wishes
from datagate.gate import Flight, Gate, GateSession, Known, Recorded, StatementKind
from datagate.model.caller import Caller

FRONTEND = "gateway"
_MOST_KEPT = 512

# Statements that need neither the state nor a rewriting.
_QUICK = re.compile(r"(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|SET|RESET|SHOW)\b", re.IGNORECASE)

Decision = Sendable | DatagateError


class Gates(Protocol):
    """Where the gate is; it may be replaced by one with newer policies."""

    @property
    def current(self) -> Gate:
        """The gate by which statements are admitted now."""


class Way:
    """One client's way through the gate.

    Args:
        gates: Where the gate is.
        identity: Who logged in.
        wishes: The settings by which the client said who is calling.
        executor: Where slow work happens.
        client: The address that the client comes from.
        measures: What is counted.
        settling: Waits for records.

    Raises:
        Refused: The wishes are not permitted to this login.
    """

    def __init__(
        self,
        gates: Gates,
        identity: Identity,
        wishes: Mapping[str, str],
        executor: Executor,
        client: str,
        measures: Measures,
        settling: Settling,
    ) -> None:
        self._gates = gates
        self._identity, start = identity.settled(wishes, gates.current.current.policies)
        self.wishes = Wishes(start)
        self._executor = executor
        self._client = client
        self._measures = measures
        self._identity.check(start)
        self.caller: Caller = self._identity.choose(start)
        self._gate = gates.current
        self.holder = str(self.caller.actor.id)
        self._session: GateSession = self._gate.session(self.caller, frontend=FRONTEND, client=self._client)
        self._kept: dict[tuple[str, bool], Sendable] = {}
        self._quick: set[str] = set()
        self._flight: Flight | None = None
        self._watched = True
        self._former: list[GateSession] = []
        self.run: Run | None = None
        self.plans = Plans()
        self.settling = settling

    async def trusted(self) -> None:
        """Hold a service that speaks for an end user to the policies, which may ask for a role that the user has.

        Raises:
            Refused: It is not trusted to.
            OperationalError: The state cannot be read.
        """
        if self.caller.asserted_by is not None:
            fault = await self._asked(self._session.check)
            if fault is not None:
                raise Refused(NOT_PERMITTED) if isinstance(fault, Refused) else fault

    def flies(self, flight: Flight) -> None:
        """Have what runs on a connection cancelled when rights end, until :meth:`leave`."""
        self._flight = flight
        self._watched = False

    def _watch(self) -> None:
        """Watch the connection, which may have to be waited for unless changes are heard of already."""
        if self._flight is not None and not self._watched:
            self._session.watch(self._flight)
            self._watched = True
        former, self._former = self._former, []
        for each in former:
            each.leave()

    def leave(self) -> None:
        """The client is gone."""
        self._flight, self._watched = None, True
        for each in (*self._former, self._session):
            each.leave()

    def check_wish(self, name: str, value: str | None) -> None:
        """Refused where :meth:`wish` would be."""
        self._identity.choose(self.wishes.with_value(name, value))

    def wish(self, name: str, value: str | None, *, local: bool = False) -> None:
        """Change who is calling, from the next statement on; None: back to what it was at the start.

        Raises:
            Refused: It is not permitted to this login; nothing changed.
        """
        self.check_wish(name, value)
        self.wishes.set(name, value, local=local)
        self.turn()

    def forget_wishes(self) -> None:
        """RESET ALL: be who the client began as."""
        self.wishes.reset()
        self.turn()

    def turn(self) -> None:
        """Be whom the settings name by now: they were set, or the transaction ended in which they were."""
        self.caller = self._identity.choose(self.wishes.now)
        self.holder = str(self.caller.actor.id)
        self._renew()

    def shown(self, name: str) -> str:
        """The present value of one of the settings that say who is calling."""
        values = {
            "datagate.purpose": self.caller.purpose or "",
            "datagate.on_behalf_of": self.caller.principal if self.caller.mandate is not None else "",
            "datagate.mandate": self.caller.mandate or "",
            "datagate.end_user": self.caller.principal if self.caller.asserted_by is not None else "",
        }
        return values.get(name, self.wishes.now.get(name, ""))

    def revoked(self, seconds: float) -> None:
        """A running statement was ended, so long after the end of its rights was heard of."""
        self._measures.revoked(seconds)

    def refresh(self) -> None:
        """The caller's rights changed."""
        self._measures.changed.inc()
        self._session.refresh()
        self._kept.clear()
        self.plans.forget()

    @property
    def era(self) -> object:
        """Another object once the caller, the purpose or the policies are others: what was decided before is over."""
        if self._gate is not self._gates.current:
            self._renew()
        return self._session, self._gate.current

    def knows(self, text: str, *, assuming: bool) -> bool:
        """Whether the gate's answer is at hand."""
        if self._gate is not self._gates.current:
            self._renew()
        if not self._watched:
            if not self._session.hears:
                return False
            self._watch()
        if self._session.waits:
            return False
        if self._session.known(text, assuming=assuming) is not None:
            return True
        return text in self._quick and self._session.standing is not None

    def plan(self, text: bytes) -> tuple[Plan, Values] | None:
        """What is sent for a text, where that is made ready, good by now, and can be recorded without waiting."""
        if self._gate is not self._gates.current:
            self._renew()
        standing = self._session.standing if self._watched else None
        if standing is None:
            return None
        found = self.plans.find(text)
        if found is None:
            return None
        plan = found[0]
        if plan.standing is not standing:
            self.plans.forget()
            return None
        return found if plan.at_once else None

    def stands(self, plan: Plan) -> bool:
        """Whether a plan is still what :meth:`plan` or :meth:`bound` would give."""
        return self._watched and self._gate is self._gates.current and self._session.stands(plan.standing)

    def bound(self, text: str) -> Plan | None:
        """What is sent for a prepared statement that ran before, as :meth:`plan` has it."""
        if self._gate is not self._gates.current:
            self._renew()
        standing = self._session.standing if self._watched else None
        known = self._session.known(text) if standing is not None else None
        if known is None or not self._at_once(known):
            return None
        plan = self.plans.bound.get(text)
        if plan is None or plan.known is not known or plan.standing is not standing:
            kept = self._kept.get((text, True))
            if kept is None or kept.admitted is not known.admitted or pins(kept):
                return None
            plan = self.plans.bound[text] = Plan(known, standing, kept, ())
        return plan

    def _at_once(self, known: Known) -> bool:
        """Whether a statement is recorded without waiting, or beside what only reads."""
        return known.record.reads_only or not self._session.waits

    @property
    def waits(self) -> bool:
        """Whether recording waits for a disk or a server."""
        return self._session.waits

    def repeat(self, plan: Plan) -> Run | None:
        """Have a plan's statement recorded once more; its run, where it is recorded how statements end.

        Raises:
            AuditUnavailable: It cannot be recorded.
        """
        session = self._session
        self._measures.repeated += 1
        recorded = session.repeat(plan.known, ahead=True)
        if recorded is None or not session.completes:
            return None
        return Run(session, recorded, waits=session.waits)

    async def decide_planned(self, asked: Asked, text: str) -> tuple[Decision, Plan | None]:
        """Have a text admitted with its numbers as parameters, and made ready; or as it is, where that does not go."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._decide_planned, asked, text)

    def _decide_planned(self, asked: Asked, text: str) -> tuple[Decision, Plan | None]:
        if asked.values:
            try:
                self._session.explain(asked.text)
            except DatagateError:
                # Told of the caller's own text, below.
                self.plans.reject(asked)
        if self.plans.rejects(asked):
            return self.decide(text, assuming=True), None
        decision = self.decide(asked.text, assuming=True, asked=text)
        known = self._session.known(asked.text)
        if known is None or not isinstance(decision, Sendable):
            self.plans.reject(asked)
            return (decision if not asked.values else self.decide(text, assuming=True)), None
        types, at_once = types_of(asked.values), self._at_once(known)
        plan = Plan(known, self._session.standing, decision, types, at_once=at_once, around=asked.around)
        if self.plans.keep(asked, plan):
            return decision, plan
        return self.decide(text, assuming=True), None

    def decide(self, text: str, *, assuming: bool, asked: str | None = None) -> Decision:
        """Have a statement admitted; what is wrong with it is returned, for it is told when it is its turn.

        :attr:`run` is then the run that begins with it, where it is recorded how statements end. ``asked``: the
        caller's own text, where that is another.
        """
        begun = perf_counter()
        self.run = None
        try:
            self._watch()
            admitted = self._session.admit(text, assuming=assuming, asked=asked)
            self.run = self._begun(self._session.recorded)
            kept = self._kept.get((text, assuming))
            if kept is not None and kept.admitted is admitted:
                self._measures.admitted(None)
                return kept
            sendable = Sendable.of(admitted)
        except DatagateError as error:
            self._measures.refused(error)
            return error
        self._measures.admitted(perf_counter() - begun)
        if len(self._kept) >= _MOST_KEPT or len(self._quick) >= _MOST_KEPT:
            self._kept.clear()
            self._quick.clear()
        if admitted.kind is StatementKind.QUERY:
            self._kept[text, assuming] = sendable
        elif _QUICK.match(admitted.text):
            self._quick.add(text)
        return sendable

    def _begun(self, recorded: Recorded) -> Run | None:
        return Run(self._session, recorded) if recorded is not None and self._session.completes else None

    def has_prepared(self, name: str) -> bool:
        """Whether PREPARE named a query so."""
        return self._session.has_prepared(name)

    def failed(self) -> None:
        """The server failed something: no cursor is taken for closed that might still be open."""
        self._session.failed()

    def lasts(self, sendable: Sendable) -> bool:
        """Whether it matters when a statement that was admitted is run."""
        return sendable.admitted.kind is StatementKind.QUERY or _QUICK.match(sendable.admitted.text) is None

    async def pledge_portal(self, portal: str) -> DatagateError | None:
        """Note what a portal stands on that is to be bound and run later; RightsChanged where that is past already."""
        return await self._asked(lambda: self._session.opened(f"portal {portal}"))

    async def check_portal(self, portal: str) -> DatagateError | None:
        """RightsChanged where a portal is run under rights that are no longer in force."""
        return await self._asked(lambda: self._session.check_cursor(f"portal {portal}"))

    async def check_declared(self, cursor: str) -> DatagateError | None:
        """What is wrong with looking at a declared cursor: there is none, or its rights are no longer in force."""
        return await self._asked(lambda: self._session.check_cursor(cursor))

    async def _asked(self, ask: Callable[[], object]) -> DatagateError | None:
        """What a question to the state raises, which happens in a thread."""

        def answered() -> DatagateError | None:
            try:
                ask()
            except DatagateError as error:
                return error
            return None

        return await asyncio.get_running_loop().run_in_executor(self._executor, answered)

    async def decide_elsewhere(self, text: str, *, assuming: bool) -> Decision:
        """The same in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: self.decide(text, assuming=assuming))

    def exists(self, oid: int) -> bool:
        """Whether a relation, by its OID, exists for the caller."""
        return self._session.exists(oid)

    def _renew(self) -> None:
        self._gate = self._gates.current
        former, self._session = (
            self._session,
            self._gate.session(self.caller, frontend=FRONTEND, client=self._client),
        )
        self._session.inherit(former)
        self._former.append(former)
        self._watched = self._flight is None
        self._kept.clear()
        self.plans.forget()


def wishes_among(parameters: Mapping[str, str]) -> dict[str, str]:
    """Those settings that say who is calling."""
    return {name: parameters[name] for name in WISHES if name in parameters}
