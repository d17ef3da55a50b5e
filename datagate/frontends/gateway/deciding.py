"""What a message needs before it is taken: the gate's decision on its text, and a connection to the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from typing import Any

from datagate.backends.postgres.engine import is_blank
from datagate.errors import (
    DatagateError,
    OperationalError,
    ProgrammingError,
    SeveralStatements,
)
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.asking import asked
from datagate.frontends.gateway.local import Local, read_local
from datagate.frontends.gateway.plans import Asked
from datagate.frontends.gateway.prepared import Portal, Told, no_portal, shown_name
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.phases import Phase
from datagate.frontends.gateway.relay import Expectation, Step
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import Sendable
from datagate.frontends.gateway.speech import Several, Speech
from datagate.frontends.gateway.upstream import Upstream, profile_change

QUERY, PARSE, BIND, DESCRIBE = frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.DESCRIBE
EXECUTE = frontend.EXECUTE
_DEALLOCATE = re.compile(r'\s*DEALLOCATE\s+(?:PREPARE\s+)?(?:"([^"]+)"|(\w+))\s*;?\s*', re.IGNORECASE)


class Deciding(Speech):
    """Gets for each message what it needs."""

    def _needs(self, kind: int, message: Any) -> Coroutine[Any, Any, None] | None:
        """What has to be waited for; None where all is there."""
        if kind in (QUERY, PARSE):
            text = decoded(message if kind == QUERY else message.text)
            if text is not None and not is_blank(text):
                if kind == QUERY and self._decision is None and self.read_by_settled:
                    planning = self._needs_plan(message, text)
                    if planning is not None:
                        return planning
                wait = self._needs_decision(text, assuming=True)
                if wait is not None:
                    return wait
                if kind == QUERY and isinstance(self._decision, SeveralStatements) and self._decision.texts:
                    return self._decide_several(self._decision.texts)
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

    def _forgotten(self, name: str) -> bool:
        found = self.statements.pop(name.encode(), None)
        return found is not None

    async def _decide_elsewhere(self, text: str, *, assuming: bool) -> None:
        self._decision = await self.way.decide_elsewhere(text, assuming=assuming)
        self._run = self.way.run

    async def _decide_several(self, texts: Sequence[str]) -> None:
        """Admit all statements of a text before the first is sent; one that is refused refuses all."""
        statements: list[tuple[str, Sendable | bytes, Run | None]] = []
        for text in texts:
            local = read_local(text)
            found = local.checked(self.way) if local is not None else None
            if isinstance(found, Local):
                described = found.description(b"") if found.value is None else b""
                statements.append((text, described + found.run(self.way), None))
                continue
            decision = found or await self.way.decide_elsewhere(text, assuming=True)
            if not isinstance(decision, Sendable) or decision.own:
                missing = ProgrammingError("there is no parameter $1", sqlstate="42P02")
                self._decision = decision if isinstance(decision, DatagateError) else missing
                return
            statements.append((text, decision, self.way.run))
        self._decision = Several(tuple(statements))

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
                    raise OperationalError("a setting of the start-up packet has no valid value", sqlstate="22023")
            return dict(upstream.parameters)
        finally:
            self.pool.give(holder, upstream)


def decoded(text: bytes) -> str | None:
    """The text of a statement; None where the bytes are no UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
