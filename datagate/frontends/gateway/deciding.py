"""What a message needs before it is taken: the gate's decision on its text, and a connection to the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from typing import Any

from datagate.backends.postgres.engine import is_blank
from datagate.errors import (
    DatagateError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SeveralStatements,
)
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.asking import asked
from datagate.frontends.gateway.local import Local, may_be_local, read_local
from datagate.frontends.gateway.pins import Turn, resets_all, turn_of
from datagate.frontends.gateway.plans import Asked
from datagate.frontends.gateway.prepared import Portal, Told, executed, no_portal, no_statement, shown_name
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.phases import Phase
from datagate.frontends.gateway.relay import Expectation, Step
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import Sendable
from datagate.frontends.gateway.speech import ABORTED, Several, Speech
from datagate.frontends.gateway.upstream import Upstream, profile_change

QUERY, PARSE, BIND, DESCRIBE = frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.DESCRIBE
EXECUTE = frontend.EXECUTE
_EXECUTE = re.compile(r'\s*EXECUTE\s+(?:"([^"]+)"|(\w+))', re.IGNORECASE)
_DEALLOCATE = re.compile(r'\s*DEALLOCATE\s+(?:PREPARE\s+)?(?:"([^"]+)"|(\w+))\s*;?\s*', re.IGNORECASE)
_SINGLY = NotSupportedError(
    "SET of who is calling, in one text with what ends a transaction before or amid; send them singly"
)


class Deciding(Speech):
    """Gets for each message what it needs."""

    async def quiet(self) -> None:
        """Wait until all that was sent is answered, so that it is known how it ended."""
        raise NotImplementedError

    def _needs(self, kind: int, message: Any) -> Coroutine[Any, Any, None] | None:
        """What has to be waited for; None where all is there."""
        if self.unsettled and kind in (QUERY, PARSE, BIND, EXECUTE):
            if self.relay.expected:
                return self.quiet()
            self.unsettled = False
        wait = self._needs_its_own(kind, message)
        if wait is None and self.relay.expected and self._is_about_the_caller(kind, message):
            return self.quiet()
        return wait

    def _is_about_the_caller(self, kind: int, message: Any) -> bool:
        """Whether it sets or shows who is calling: then it must be known how all before it ended."""
        if kind == QUERY:
            statement: object = self._decision
        elif kind == EXECUTE and (portal := self.portals.get(message.portal)) is not None:
            statement = portal.statement
        else:
            return False
        return isinstance(statement, Local) or self._forgets_wishes(statement)

    def _forgets_wishes(self, statement: object) -> bool:
        """Whether RESET ALL or DISCARD ALL takes away what was SET of who is calling."""
        return isinstance(statement, Sendable) and self.way.wishes.changed and resets_all(statement)

    def _needs_its_own(self, kind: int, message: Any) -> Coroutine[Any, Any, None] | None:
        if kind in (QUERY, PARSE):
            text = decoded(message if kind == QUERY else message.text)
            if text is not None and not is_blank(text):
                if kind == QUERY and self._decision is None and self.read_by_settled and not may_be_local(text):
                    planning = self._needs_plan(message, text)
                    if planning is not None:
                        return planning
                wait = self._needs_decision(text, assuming=True)
                if wait is not None:
                    return wait
                if kind == QUERY and isinstance(self._decision, SeveralStatements) and self._decision.texts:
                    return self._decide_several(text, self._decision.texts)
                if isinstance(self._decision, SeveralStatements) and not self._decision.texts:
                    self._decision = None  # nothing but a comment, by which some ask whether the server lives
                if isinstance(self._decision, DatagateError):
                    return None
        elif kind == BIND:
            wait = self._needs_for_bind(message)
            if wait is not None or isinstance(self._decision, DatagateError):
                return wait
            if not self._pledged and self._lasts(message.portal):
                return self._pledge(message.portal)
        elif kind == EXECUTE and (portal := self.portals.get(message.portal)) is not None:
            if portal.pledged and not portal.held:
                return self._check_portal(portal, message.portal)
            told = portal.may_differ if self._decision is None and self.upstream is not None else None
            return None if told is None else self._compare(portal, message.portal, told)
        elif kind == DESCRIBE and message.kind == frontend.PORTAL and message.name not in self.portals:
            return self._check_declared(message.name) if self._declared is None else None
        elif kind not in (DESCRIBE, EXECUTE) or self.upstream is not None:
            return None
        return self.attach() if self.upstream is None else None

    def _needs_decision(self, text: str, *, assuming: bool) -> Coroutine[Any, Any, None] | None:
        if self._decision is not None:
            return None
        forgotten = _DEALLOCATE.fullmatch(text)
        if forgotten is not None and self._forgotten(forgotten[1] or forgotten[2].lower()):
            # Prepared by the protocol: known to us by that name, and to the server by another.
            self._decision = Several(((text, backend.command_complete("DEALLOCATE"), None),))
            return None
        local = read_local(text)
        if local is not None:
            self._decision = local.checked(self.way)
            return None
        try:
            text = self._executed(text)
        except DatagateError as error:
            self._decision = error
            return None
        if not self.way.knows(text, assuming=assuming):
            return self._decide_elsewhere(text, assuming=assuming)
        self._decision, self._run = self.way.decide(text, assuming=assuming), self.way.run
        return None

    def _needs_plan(self, message: bytes, text: str) -> Coroutine[Any, Any, None] | None:
        """Take the plan of a text that comes again, or have one made."""
        found = self.way.plan(message) if not self.way.waits else None
        if found is None:
            wanted = self.way.plans.wanted(message)
            return self._decide_planned(wanted, text) if wanted is not None else None
        try:
            self._run = self.way.repeat(found[0])
            if self._run is not None:
                self._run.keep()
        except DatagateError as error:
            self._decision = error
        else:
            self._decision, self._planned = found[0].sendable, found
        return None

    async def _decide_planned(self, asked: Asked, text: str) -> None:
        self._decision, plan = await self.way.decide_planned(asked, text)
        self._run = self.way.run
        self._planned = (plan, asked.values) if plan is not None else None

    def _no_statement(self, name: bytes) -> DatagateError:
        return no_statement(name, by_sql=self.way.has_prepared(shown_name(name)))

    def _executed(self, text: str) -> str:
        """The text, or what it means where it is EXECUTE of what the protocol prepared; DatagateError as `executed`."""
        found = _EXECUTE.match(text)
        prepared = self.statements.get((found[1] or found[2].lower()).encode()) if found is not None else None
        if prepared is None or not isinstance(prepared.statement, Sendable):
            return text
        return executed(prepared, text)

    def _forgotten(self, name: str) -> bool:
        found = self.statements.pop(name.encode(), None)
        return found is not None

    async def _decide_elsewhere(self, text: str, *, assuming: bool) -> None:
        self._decision = await self.way.decide_elsewhere(text, assuming=assuming)
        self._run = self.way.run

    async def _decide_several(self, whole: str, texts: Sequence[str]) -> None:
        """Admit all statements of a text before the first is sent; one that is refused refuses all."""
        await self.quiet()
        before = self.way.wishes.standing
        decided = await self._decided_several(whole, texts)
        if isinstance(decided, DatagateError) and self.way.wishes.standing is not before:
            self.way.wishes.standing = before
            self.way.turn()
        self._decision = decided

    async def _decided_several(self, whole: str, texts: Sequence[str]) -> Several | DatagateError:
        """Who is calling changes as the statements say, as if each before had been done by then."""
        statements: list[tuple[str, Sendable | bytes, Run | None]] = []
        turns = frozenset((Turn.BEGINS,)) if self.relay.status != backend.IDLE else frozenset[Turn]()
        begin = 0
        for text in texts:
            begin = whole.index(text, begin)
            local = read_local(text)
            found = local.checked(self.way) if local is not None else None
            if isinstance(found, Local):
                if self.relay.status == backend.FAILED:
                    return ABORTED
                if turns - {Turn.BEGINS} and (found.sets or self.way.wishes.uncommitted):
                    return _SINGLY
                described = found.description(b"") if found.column is not None else b""
                statements.append((text, described + found.run(self.way, in_block=Turn.BEGINS in turns), None))
                continue
            decision = found or await self.way.decide_elsewhere(text, assuming=True)
            if isinstance(decision, DatagateError) and decision.position is not None:
                decision.position += begin
            if not isinstance(decision, Sendable) or decision.own:
                missing = ProgrammingError("there is no parameter $1", sqlstate="42P02")
                return decision if isinstance(decision, DatagateError) else missing
            if self._forgets_wishes(decision):
                self.way.forget_wishes()
            turn = turn_of(decision)
            if turn is None and Turn.ENDS in turns and self.way.wishes.uncommitted:
                return _SINGLY
            turns |= {turn} if turn is not None else frozenset()
            statements.append((text, decision, self.way.run))
        return Several(tuple(statements))

    def _lasts(self, portal: bytes) -> bool:
        """Whether what is bound may be run later than now; False where all of it is asked for right behind."""
        if not isinstance(self._decision, Sendable) or not self.way.lasts(self._decision):
            return False
        for kind, body in self.inbox:
            if kind == EXECUTE:
                return body != portal + bytes(5)
            if kind != DESCRIBE:
                return True
        return True

    async def _pledge(self, portal: bytes) -> None:
        refusal = await self.way.pledge_portal(shown_name(portal))
        self._decision, self._pledged = refusal or self._decision, refusal is None

    async def _check_declared(self, name: bytes) -> None:
        """Whether what no Bind opened is a cursor that may be described: psycopg asks so what it DECLAREd."""
        self._declared = await self.way.check_declared(shown_name(name)) or True

    def _describe_cursor(self, name: bytes) -> None:
        """Answer a Describe of what no Bind opened, once it is known whether there is such a cursor."""
        fault, self._declared = self._declared, None
        if self.upstream is None or (isinstance(fault, DatagateError) and fault.sqlstate == "34000"):
            self._refuse(DESCRIBE, no_portal(name))
        elif isinstance(fault, DatagateError):
            self._refuse(DESCRIBE, fault)
        else:
            self.send_describe_cursor(name)

    async def _check_portal(self, portal: Portal, name: bytes) -> None:
        self._decision = await self.way.check_portal(shown_name(name))
        portal.held = True

    async def _compare(self, portal: Portal, name: bytes, told: Told) -> None:
        """Hold a run to what the client was told of its columns: with other rights they may be others.

        The error is what PostgreSQL says where a table was altered meanwhile, on which clients prepare anew.
        """
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def never() -> None:
            if not answer.done():
                answer.set_result(None)

        self._out.append(frontend.describe(frontend.PORTAL, name) + frontend.FLUSH_MESSAGE)
        asked = portal.prepared.asked
        what = Expectation(Step.DESCRIBE_PORTAL, shown=False, asked=asked, learns=answer.set_result, undo=never)
        self.relay.expect(what)
        self.flush()
        description = await answer
        if description is None or not isinstance(portal.statement, Sendable):
            return
        if Told.of(description, b"").columns == told.columns:
            told.texts.add(portal.statement.text)
        else:
            self._decision = answers.COLUMNS_CHANGED

    def _needs_for_bind(self, message: frontend.Bind) -> Coroutine[Any, Any, None] | None:
        """The decision is made for each run; where the parameters are not what it assumed, made without assuming."""
        prepared = self.statements.get(message.statement)
        if prepared is None or is_blank(prepared.asked):
            return None
        if self._decision is None and prepared.era is not None and prepared.era == self.way.era:
            self._decision, self._run = prepared.statement, prepared.run
            prepared.era = prepared.run = None
        wait = self._needs_decision(prepared.asked, assuming=True)
        if wait is None and isinstance(self._decision, Sendable):
            sendable = self._decision
            fits = len(message.values) == sendable.own
            if fits and not sendable.holds(prepared.types, message.values):
                self._decision = None
                return self._needs_decision(prepared.asked, assuming=False)
        return wait

    def attach(self) -> Coroutine[Any, Any, None] | None:
        """Get a connection to the server: at once, or by waiting."""
        self._holder = self.way.holder
        upstream = self.pool.take_nowait(self._holder, self.profile)
        if upstream is None:
            return self._wait_for_upstream()
        self._attached(upstream)
        return None

    async def _wait_for_upstream(self) -> None:
        upstream = await self.pool.take(self._holder, self.profile)
        if self.phase is Phase.ENDED:
            self.pool.give(self._holder, upstream)
            return
        self._attached(upstream)

    def _attached(self, upstream: Upstream) -> None:
        self.upstream = upstream
        upstream.attach(self.relay)
        if upstream.profile != self.profile:
            self.send_hidden(profile_change(upstream.profile, self.profile))
            upstream.profile = self.profile

    async def settings(self) -> dict[bytes, bytes]:
        """The server's settings under this client's profile, by trying it on a connection.

        Raises:
            OperationalError: The server cannot be reached, or does not take the settings.
        """
        holder = str(self.way.caller.actor.id)
        upstream = await self.pool.take(holder, self.profile)
        try:
            if upstream.profile != self.profile:
                change = profile_change(upstream.profile, self.profile)
                upstream.profile = self.profile
                if not await asked(upstream, change, 10.0):
                    upstream.dirty = True
                    names = ", ".join(self.profile)
                    raise OperationalError(
                        f"invalid value for a parameter of the start-up packet, one of: {names}", sqlstate="22023"
                    )
            return dict(upstream.parameters)
        finally:
            self.pool.give(holder, upstream)


def decoded(text: bytes) -> str | None:
    """The text of a statement; None where the bytes are no UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
