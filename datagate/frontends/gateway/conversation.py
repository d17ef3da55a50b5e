"""What a client that has logged in says, and what is done about it: every text through the gate, in its turn.

Messages are taken one after the other. Before one is taken, all that it needs is there: the gate's decision on its
text, and a connection to the server. What has to be waited for stalls this client and no other.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from datagate.errors import DatagateError, OperationalError, ProgrammingError, ProtocolViolation, SeveralStatements
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.again import Again
from datagate.frontends.gateway.local import Local, read_local
from datagate.frontends.gateway.pins import pins
from datagate.frontends.gateway.pool import Pool, asked
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import Frame
from datagate.frontends.gateway.protocol.phases import Phase, Verdict, judge
from datagate.frontends.gateway.relay import SYNC_SHOWN, Expectation, Hearer, Relay, Step
from datagate.frontends.gateway.prepared import Portal, Prepared
from datagate.frontends.gateway.sending import BLANK, Sendable
from datagate.frontends.gateway.upstream import Profile, Upstream, profile_change
from datagate.frontends.gateway.way import Decision, Way

QUERY, PARSE, BIND, DESCRIBE = frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.DESCRIBE
EXECUTE, CLOSE, FLUSH, SYNC = frontend.EXECUTE, frontend.CLOSE, frontend.FLUSH, frontend.SYNC
_WHITE = " \t\r\n\f\v;"
_DEALLOCATE = re.compile(r'\s*DEALLOCATE\s+(?:PREPARE\s+)?(?:"([^"]+)"|(\w+))\s*;?\s*', re.IGNORECASE)
POISON_PORTAL = b"refused by datagate"
_READERS = {
    QUERY: frontend.read_query,
    PARSE: frontend.read_parse,
    BIND: frontend.read_bind,
    DESCRIBE: frontend.read_named,
    EXECUTE: frontend.read_execute,
    CLOSE: frontend.read_named,
}


@dataclass(frozen=True, slots=True)
class Several:
    """The statements of one text with what is sent for each; bytes: what the gateway itself answers."""

    statements: tuple[tuple[str, Sendable | bytes], ...]


class Line(Protocol):
    """The client's end of the wire."""

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""

    def hang_up(self) -> None:
        """Send what is written, and close."""

    def stalled(self, stalled: bool) -> None:
        """The conversation waits for something, or no more."""


class Conversation(Hearer):
    """One client's conversation after its login.

    Args:
        line: Its end of the wire.
        way: Its way through the gate.
        pool: Connections to the server.
        profile: The settings that it asked for.
    """

    def __init__(self, line: Line, way: Way, pool: Pool, profile: Profile) -> None:
        self.line = line
        self.way = way
        self.pool = pool
        self.profile = profile
        self.phase = Phase.READY
        self.tables = answers.TableFilter(way.exists)
        self.relay = Relay(self, self.tables)
        self.upstream: Upstream | None = None
        self.statements: dict[bytes, Prepared] = {}
        self.portals: dict[bytes, Portal] = {}
        self.inbox: deque[Frame] = deque()
        self.pinned = False
        self.again = Again(self)
        self._holder = ""
        self._current: tuple[int, Any] | None = None
        self._decision: Decision | Local | Several | None = None
        self._task: asyncio.Task[None] | None = None
        self._out: list[bytes] = []
        self._statement_count = 0

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

    # Taking messages.

    def take(self, frames: list[Frame]) -> None:
        """Take messages, as far as nothing has to be waited for."""
        self.inbox.extend(frames)
        if self._task is None:
            self._pump()

    def _pump(self) -> None:
        if self.again.wanted:
            if not self.relay.expected:
                self._stall(self.again.run())
            return
        try:
            while self._task is None and self.phase is not Phase.ENDED and (self._current or self.inbox):
                if self._current is None:
                    kind, body = self.inbox.popleft()
                    if judge(self.phase, kind) is Verdict.DROP:
                        continue
                    reader = _READERS.get(kind)
                    try:
                        self._current = (kind, reader(body) if reader is not None else body)
                    except ProtocolViolation as error:
                        self._refuse(kind, error)
                        continue
                kind, message = self._current
                wait = self._needs(kind, message)
                if wait is not None:
                    self._stall(wait)
                    break
                self._current = None
                self._handle(kind, message)
        except ProtocolViolation as error:
            self.end(answers.of_error(error, severity="FATAL"))
        except OperationalError as error:
            self.end(answers.of_error(error, severity="FATAL"))
        self.flush()

    def _stall(self, wait: Coroutine[Any, Any, None]) -> None:
        self.flush()
        self._task = asyncio.get_running_loop().create_task(self._waited(wait))
        self.line.stalled(True)

    async def _waited(self, wait: Coroutine[Any, Any, None]) -> None:
        try:
            await wait
        except OperationalError as error:
            self.end(answers.of_error(error, severity="FATAL"))
        self._task = None
        self.line.stalled(False)
        self._pump()

    # What a message needs before it is taken.

    def _needs(self, kind: int, message: Any) -> Coroutine[Any, Any, None] | None:
        """What has to be waited for; None where all is there."""
        if kind == QUERY or kind == PARSE:
            text = _decoded(message if kind == QUERY else message.text)
            if text is not None and text.strip(_WHITE):
                wait = self._needs_decision(text, assuming=True)
                if wait is not None:
                    return wait
                if kind == QUERY and isinstance(self._decision, SeveralStatements):
                    return self._decide_several(self._decision.texts)
                if isinstance(self._decision, DatagateError):
                    return None
        elif kind == BIND:
            wait = self._needs_for_bind(message)
            if wait is not None or isinstance(self._decision, DatagateError):
                return wait
        elif kind == EXECUTE and (portal := self.portals.get(message.portal)) is not None and portal.runs > 0:
            return self._check_portal(portal, message.portal)
        elif kind not in (DESCRIBE, EXECUTE) or self.upstream is not None:
            return None
        return self.attach() if self.upstream is None else None

    def _needs_decision(self, text: str, *, assuming: bool) -> Coroutine[Any, Any, None] | None:
        if self._decision is not None:
            return None
        forgotten = _DEALLOCATE.fullmatch(text)
        if forgotten is not None and self.statements.pop((forgotten[1] or forgotten[2].lower()).encode(), None):
            # Prepared by the protocol: known to us by that name, and to the server by another.
            self._decision = Several(((text, backend.command_complete("DEALLOCATE")),))
            return None
        local = read_local(text)
        if local is not None:
            self._decision = local.checked(self.way)
            return None
        if not self.way.knows(text, assuming=assuming):
            return self._decide_elsewhere(text, assuming=assuming)
        self._decision = self.way.decide(text, assuming=assuming)
        return None

    async def _decide_elsewhere(self, text: str, *, assuming: bool) -> None:
        self._decision = await self.way.decide_elsewhere(text, assuming=assuming)

    async def _decide_several(self, texts: Sequence[str]) -> None:
        """Admit all statements of a text before the first is sent; one that is refused refuses all."""
        statements: list[tuple[str, Sendable | bytes]] = []
        for text in texts:
            local = read_local(text)
            found = local.checked(self.way) if local is not None else None
            if isinstance(found, Local):
                described = found.description(b"") if found.value is None else b""
                statements.append((text, described + found.run(self.way)))
                continue
            decision = found or await self.way.decide_elsewhere(text, assuming=True)
            if not isinstance(decision, Sendable) or decision.own:
                missing = ProgrammingError("there is no parameter $1", sqlstate="42P02")
                self._decision = decision if isinstance(decision, DatagateError) else missing
                return
            statements.append((text, decision))
        self._decision = Several(tuple(statements))

    async def _check_portal(self, portal: Portal, name: bytes) -> None:
        self._decision = await self.way.check_portal(_shown(name))
        portal.runs = -1

    def _needs_for_bind(self, message: frontend.Bind) -> Coroutine[Any, Any, None] | None:
        """The decision is made for each run; where the parameters are not what it assumed, made without assuming."""
        prepared = self.statements.get(message.statement)
        if prepared is None or not prepared.asked.strip(_WHITE):
            return None
        if self._decision is None and prepared.fresh:
            self._decision = prepared.statement
            prepared.fresh = False
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
        self._holder = str(self.way.caller.actor.id)
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

    # Taking one message.

    def _handle(self, kind: int, message: Any) -> None:
        if kind == BIND:
            self._bind(message)
        elif kind == EXECUTE:
            self._execute(message)
        elif kind == SYNC:
            self._sync()
        elif kind == QUERY:
            self._query(message)
        elif kind == PARSE:
            self._parse(message)
        elif kind == DESCRIBE:
            self._describe(message)
        elif kind == CLOSE:
            self._close(message)
        elif kind == FLUSH:
            if self.upstream is not None:
                self._out.append(frontend.FLUSH_MESSAGE)
        elif kind == frontend.TERMINATE:
            self.end(b"")
        elif kind == frontend.FUNCTION_CALL:
            self._refuse(kind, ProgrammingError("function calls by OID are not carried", sqlstate="0A000"))
        else:
            self._copy(kind, message)

    def _taken(self) -> Decision | Local | Several | None:
        decision, self._decision = self._decision, None
        return decision

    def _query(self, body: bytes) -> None:
        text, decision = _decoded(body), self._taken()
        if text is None:
            self._refuse(QUERY, ProgrammingError("the statement is not UTF-8", sqlstate="22021"))
        elif isinstance(decision, DatagateError):
            self._refuse(QUERY, decision)
        elif isinstance(decision, Local):
            self._run_local(decision, described=True)
            self._sync()
        elif isinstance(decision, Several):
            self.statements.pop(b"", None)
            self._send_several(decision)
        elif decision is None:
            self._out.append(frontend.query(b""))
            self.relay.expect(Expectation(Step.SIMPLE))
        else:
            self.statements.pop(b"", None)
            self.again.begins(text, decision)
            self.send_query(text, decision)

    def send_query(self, text: str, sendable: Sendable, *, described: bool = False) -> None:
        """Run a simple query: as it is, or, where the policy has values in it, by the extended protocol."""
        upstream = self.upstream
        assert upstream is not None
        relay, out = self.relay, self._out
        self._note(sendable)
        if not sendable.values:
            out.append(frontend.query(sendable.text))
            relay.expect(Expectation(Step.SIMPLE, asked=text, rows_shown=sendable.admitted.shows_rows))
            return
        if sendable.own:
            self._refuse(QUERY, ProgrammingError("there is no parameter $1", sqlstate="42P02"))
            return
        self._send_unnamed(text, sendable, described=described)
        self.send_sync()

    def _send_unnamed(self, text: str, sendable: Sendable, *, described: bool) -> None:
        """One statement of a simple query, by the extended protocol."""
        assert self.upstream is not None
        relay, shown = self.relay, sendable.admitted.shows_rows
        self.upstream.unnamed = None
        self._out.append(frontend.parse(b"", sendable.text, ()))
        self._out.append(sendable.bind(_NO_PARAMETERS, b"", b""))
        self._out.append(_DESCRIBE_UNNAMED + _EXECUTE_UNNAMED)
        relay.expect(Expectation(Step.PARSE, shown=False, asked=text))
        relay.expect(Expectation(Step.BIND, shown=False, asked=text))
        relay.expect(Expectation(Step.DESCRIBE_SIMPLE, shown=not described, asked=text, rows_shown=shown))
        relay.expect(Expectation(Step.EXECUTE, asked=text, rows_shown=shown))

    def _send_several(self, several: Several) -> None:
        """The statements of one simple query: all take effect, or none, as the server has it."""
        for text, statement in several.statements:
            self.again.begins(None, BLANK)
            if isinstance(statement, bytes):
                self._say(statement)
            else:
                self._note(statement)
                self._send_unnamed(text, statement, described=False)
        self.send_sync()

    def _parse(self, message: frontend.Parse) -> None:
        decision, text = self._taken(), _decoded(message.text)
        fault = decision if isinstance(decision, DatagateError) else None
        if text is None:
            fault = ProgrammingError("the statement is not UTF-8", sqlstate="22021")
        elif message.name and message.name in self.statements:
            fault = ProgrammingError(f'prepared statement "{_shown(message.name)}" already exists', sqlstate="42P05")
        if fault is None and isinstance(decision, Sendable):
            try:
                decision.check_types(message.types)
            except ProgrammingError as error:
                fault = error
        if fault is not None or text is None or isinstance(decision, DatagateError):
            self._refuse(PARSE, fault or ProgrammingError("the statement is not UTF-8"))
            return
        assert not isinstance(decision, Several)
        prepared = Prepared(message.name, text, message.types, decision if decision is not None else BLANK)
        self.statements[message.name] = prepared

        def undo() -> None:
            if self.statements.get(message.name) is prepared:
                del self.statements[message.name]

        if isinstance(prepared.statement, Local):
            self._say(backend.PARSE_COMPLETE_MESSAGE, undo=undo)
        else:
            self.prepare(prepared, prepared.statement, shown=True, undo=undo)

    def prepare(self, prepared: Prepared, sendable: Sendable, *, shown: bool, undo: Any = None) -> bytes:
        """Have a statement prepared upstream, where it is not; its name there."""
        upstream = self.upstream
        assert upstream is not None
        key = (sendable.text, prepared.types)
        if not prepared.name:
            if not shown and upstream.unnamed == key:
                return b""
            upstream.unnamed = key
            name = b""
        else:
            known = upstream.prepared.get(key)
            if known is not None:
                upstream.prepared.move_to_end(key)
                if shown:
                    self._say(backend.PARSE_COMPLETE_MESSAGE, undo=undo)
                return known
            name = upstream.name_for(key)
            for surplus in upstream.surplus():
                self._out.append(frontend.close(frontend.STATEMENT, surplus))
                self.relay.expect(Expectation(Step.CLOSE, shown=False))

        def never() -> None:
            if upstream.prepared.get(key) == name:
                del upstream.prepared[key]
            upstream.unnamed = None
            if undo is not None:
                undo()

        self._out.append(frontend.parse(name, sendable.text, prepared.types))
        self.relay.expect(Expectation(Step.PARSE, shown=shown, asked=prepared.asked, undo=never))
        return name

    def _bind(self, message: frontend.Bind) -> None:
        decision, prepared = self._taken(), self.statements.get(message.statement)
        if prepared is None:
            fault: DatagateError = _no_statement(message.statement)
            self._refuse(BIND, fault)
        elif isinstance(decision, DatagateError):
            self._refuse(BIND, decision)
        elif isinstance(prepared.statement, Local):
            self.portals[message.portal] = Portal(prepared, message, prepared.statement)
            self._say(backend.BIND_COMPLETE_MESSAGE)
        else:
            sendable = decision if isinstance(decision, Sendable) else prepared.statement
            try:
                sendable.check_values(message)
            except ProtocolViolation as error:
                self._refuse(BIND, error)
                return
            portal = self.portals[message.portal] = Portal(prepared, message, sendable)
            self.send_bind(portal, sendable, shown=True)

    def send_bind(self, portal: Portal, sendable: Sendable, *, shown: bool) -> None:
        """Bind a portal upstream."""
        name = self.prepare(portal.prepared, sendable, shown=False)
        self._out.append(sendable.bind(portal.message, portal.message.portal, name))
        self.relay.expect(Expectation(Step.BIND, shown=shown, asked=portal.prepared.asked, portal=portal))

    def _describe(self, message: frontend.Named) -> None:
        if message.kind == frontend.PORTAL:
            portal = self.portals.get(message.name)
            if portal is not None and isinstance(portal.statement, Local):
                self._say(portal.statement.description(portal.message.results))
                return
            self.send_describe(message.name, portal)
            return
        prepared = self.statements.get(message.name)
        if prepared is None:
            self._refuse(DESCRIBE, _no_statement(message.name))
        elif isinstance(prepared.statement, Local):
            self._say(backend.parameter_description(()) + prepared.statement.description(b"\0\0"))
        else:
            name = self.prepare(prepared, prepared.statement, shown=False)
            self._out.append(frontend.describe(frontend.STATEMENT, name))
            own, shown = prepared.statement.own, prepared.statement.admitted.shows_rows
            what = Expectation(Step.DESCRIBE_STATEMENT, asked=prepared.asked, own=own, rows_shown=shown)
            self.relay.expect(what)

    def send_describe(self, name: bytes, portal: Portal | None) -> None:
        """Describe a portal upstream."""
        asked = portal.prepared.asked if portal is not None else ""
        self._out.append(frontend.describe(frontend.PORTAL, name))
        self.relay.expect(Expectation(Step.DESCRIBE_PORTAL, asked=asked, portal=portal, rows_shown=_shows(portal)))

    def _execute(self, message: frontend.Execute) -> None:
        portal, decision = self.portals.get(message.portal), self._taken()
        if isinstance(decision, DatagateError):
            self._refuse(EXECUTE, decision)
        elif portal is None:
            self.send_execute(message.portal, message.rows, None)
        elif isinstance(portal.statement, Local):
            self._run_local(portal.statement)
        else:
            self._note(portal.statement)
            if message.rows:
                if not portal.runs:
                    self.way.opened(_shown(message.portal))
                portal.runs = 1
            self.again.begins(None, portal.statement)
            self.send_execute(message.portal, message.rows, portal)

    def send_execute(self, name: bytes, rows: int, portal: Portal | None) -> None:
        """Run a portal upstream."""
        asked = portal.prepared.asked if portal is not None else ""
        self._out.append(frontend.execute(name, rows))
        what = Expectation(Step.EXECUTE, asked=asked, own=rows, portal=portal, rows_shown=_shows(portal))
        self.relay.expect(what)

    def _close(self, message: frontend.Named) -> None:
        if message.kind == frontend.STATEMENT:
            gone = self.statements.pop(message.name, None)

            def undo() -> None:
                if gone is not None:
                    self.statements.setdefault(message.name, gone)

            self._say(backend.CLOSE_COMPLETE_MESSAGE, undo=undo)
            return
        self.portals.pop(message.name, None)
        if self.upstream is None:
            self._say(backend.CLOSE_COMPLETE_MESSAGE)
        else:
            self._out.append(frontend.close(frontend.PORTAL, message.name))
            self.relay.expect(Expectation(Step.CLOSE))

    def _sync(self) -> None:
        if self.phase is Phase.SKIPPING:
            self.phase = Phase.READY
        if self.upstream is None:
            self.line.write(backend.ready(backend.IDLE))
        else:
            self.send_sync()

    def _copy(self, kind: int, body: bytes) -> None:
        if kind == frontend.COPY_DATA:
            self._out.append(frontend.copy_data(body))
            return
        self.phase = Phase.READY
        self._out.append(frontend.copy_done() if kind == frontend.COPY_DONE else frontend.copy_fail(body[:-1]))

    # Answers of our own.

    def _say(self, data: bytes, undo: Any = None) -> None:
        """Say something when it is its turn."""
        self.relay.expect(Expectation(Step.SAY, say=data, undo=undo))

    def _run_local(self, local: Local, *, described: bool = False) -> None:
        try:
            answer = local.run(self.way)
        except DatagateError as error:
            self._refuse(EXECUTE, error)
            return
        self.tables.forget()
        self._say((local.description(b"") if described and local.value is None else b"") + answer)

    def send_hidden(self, query: bytes) -> None:
        """Send a command of the gateway's own."""
        self._out.append(query)
        self.relay.expect(Expectation(Step.SIMPLE, shown=False))

    def refuse_query(self, error: DatagateError) -> None:
        """Tell that what was to be run again is refused."""
        self._refuse(QUERY, error)

    def send_sync(self) -> None:
        """End what was sent."""
        self._out.append(frontend.SYNC_MESSAGE)
        self.relay.expect(SYNC_SHOWN)

    def _refuse(self, kind: int, error: DatagateError) -> None:
        """Say no, with all that an error brings: it ends the transaction, and what follows up to the next Sync.

        Where something is under way or a transaction is open, the server is made to fail in our place.
        """
        told = answers.of_error(error)
        self._decision = None
        if self.upstream is None:
            self.line.write(told)
            if kind != QUERY:
                self.phase = Phase.SKIPPING
                return
        else:
            self._out.append(frontend.execute(POISON_PORTAL, 0))
            self.relay.expect(Expectation(Step.POISON, say=told))
        if kind == QUERY:
            self._sync()

    def _note(self, sendable: Sendable) -> None:
        """What the statement leaves behind on its connection."""
        if pins(sendable):
            self.pinned = True

    def flush(self) -> None:
        """Send what is written for the server."""
        out = self._out
        if out and self.upstream is not None:
            self.upstream.send(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def end(self, last_words: bytes) -> None:
        """End the conversation."""
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self.inbox.clear()
        self._current = None
        if last_words:
            self.line.write(last_words)
        self._drop_upstream()
        self.line.hang_up()

    def gone(self) -> None:
        """The client is gone: nothing that it began goes on."""
        self.phase = Phase.ENDED
        self.inbox.clear()
        self._drop_upstream()

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        self._out.clear()
        if upstream is None:
            return
        upstream.attach(None)
        upstream.resume()
        if self.relay.expected or self.relay.status != backend.IDLE or self.relay.unsynced or not upstream.between_messages:
            upstream.abort()
        elif self.pinned:
            upstream.dirty = True
        self.pool.give(self._holder, upstream)

    # What the relay tells.

    def hear(self, parts: list[bytes]) -> None:
        """Bytes for the client."""
        for part in parts:
            self.line.write(part)

    def ended(self, status: int) -> None:
        """The server is ready again."""
        if status == backend.IDLE:
            self.portals.clear()
        if not self.relay.expected:
            self.again.settled(status)

    def completed(self, expectation: Expectation, tag: bytes) -> None:
        """A statement is done."""
        self.again.completed(tag)
        if tag in (b"DISCARD ALL", b"DEALLOCATE ALL"):
            self.statements.clear()
            if self.upstream is not None:
                self.upstream.forget_statements()

    def copies_in(self, expectation: Expectation) -> None:
        """The server waits for what is copied in."""
        self.phase = Phase.COPYING

    def fatal(self, diagnostics: backend.Diagnostics) -> bytes:
        """The server ends the connection."""
        self.phase = Phase.ENDED
        return answers.of_server(diagnostics, "")

    def rights_changed(self, expectation: Expectation) -> bool:
        """The caller's rights changed before this was run."""
        self.way.refresh()
        self.tables.forget()
        return self.again.prepare(expectation)

    def skips(self) -> None:
        """The server skips all up to the next Sync."""
        self.phase = Phase.SKIPPING

    def settled(self) -> None:
        """All that came so far is passed on: what nothing keeps on its connection gives it back."""
        if self.relay.expected:
            return
        if self.again.wanted:
            if self._task is None:
                self._stall(self.again.run())
            return
        if self.relay.status != backend.IDLE or self.relay.unsynced:
            return
        upstream = self.upstream
        if upstream is None or self.pinned or self._out or self._current or self.inbox or self._task is not None:
            return
        if not upstream.between_messages:
            return
        upstream.attach(None)
        self.upstream = None
        self.pool.give(self._holder, upstream)

    def lost(self) -> None:
        """The connection to the server is gone."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            self.pool.give(self._holder, upstream)
        if self.phase is Phase.ENDED:
            self.line.hang_up()
        else:
            self.end(answers.fatal("the connection to the server was lost; connect again", "57P01"))


def _shows(portal: Portal | None) -> bool:
    return portal is None or isinstance(portal.statement, Local) or portal.statement.admitted.shows_rows


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _no_statement(name: bytes) -> ProgrammingError:
    what = f'prepared statement "{_shown(name)}"' if name else "unnamed prepared statement"
    return ProgrammingError(f"{what} does not exist", sqlstate="26000")


_NO_PARAMETERS = frontend.Bind(b"", b"", (), (), b"\0\0")
_DESCRIBE_UNNAMED = frontend.describe(frontend.PORTAL, b"")
_EXECUTE_UNNAMED = frontend.execute(b"", 0)
