"""What a client that has logged in says, and what is done about it: every text through the gate, in its turn.

Messages are taken one after the other. Before one is taken, all that it needs is there: the gate's decision on its
text, and a connection to the server. What has to be waited for stalls this client and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from datagate.errors import (
    DatagateError,
    OperationalError,
    ProgrammingError,
    ProtocolViolation,
)
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.again import Again
from datagate.frontends.gateway.deciding import Deciding, decoded
from datagate.frontends.gateway.local import Local
from datagate.frontends.gateway.pool import Pool
from datagate.frontends.gateway.prepared import Portal, Prepared, no_portal, no_statement, shown_name
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import Frame
from datagate.frontends.gateway.protocol.phases import Phase, Verdict, judge
from datagate.frontends.gateway.relay import Expectation, Step
from datagate.frontends.gateway.sending import BLANK, Sendable
from datagate.frontends.gateway.speech import Line, Several
from datagate.frontends.gateway.upstream import Profile
from datagate.frontends.gateway.way import Decision, Way

QUERY, PARSE, BIND, DESCRIBE = frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.DESCRIBE
EXECUTE, CLOSE, FLUSH, SYNC = frontend.EXECUTE, frontend.CLOSE, frontend.FLUSH, frontend.SYNC
_READERS = {
    QUERY: frontend.read_query,
    PARSE: frontend.read_parse,
    BIND: frontend.read_bind,
    DESCRIBE: frontend.read_named,
    EXECUTE: frontend.read_execute,
    CLOSE: frontend.read_named,
}


class Conversation(Deciding):
    """One client's conversation after its login.

    Args:
        line: Its end of the wire.
        way: Its way through the gate.
        pool: Connections to the server.
        profile: The settings that it asked for.
    """

    def __init__(self, line: Line, way: Way, pool: Pool, profile: Profile) -> None:
        super().__init__(line, way, pool, profile)
        self.again = Again(self)

    def begins(self, text: str | None, sendable: Sendable) -> None:
        """A statement is about to be sent."""
        self.again.begins(text, sendable)

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
                if self.phase is Phase.SKIPPING and kind not in (SYNC, frontend.TERMINATE):
                    # It waited while an error ended its series.
                    self._current, self._decision, self._pledged, self._declared = None, None, False, None
                    continue
                wait = self._needs(kind, message)
                if wait is not None:
                    self._stall(wait)
                    break
                self._current = None
                self._handle(kind, message)
        except (ProtocolViolation, OperationalError) as error:
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
        text, decision = decoded(body), self._taken()
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

    def _parse(self, message: frontend.Parse) -> None:
        decision, text = self._taken(), decoded(message.text)
        fault = decision if isinstance(decision, DatagateError) else None
        if text is None:
            fault = ProgrammingError("the statement is not UTF-8", sqlstate="22021")
        elif message.name and message.name in self.statements:
            fault = ProgrammingError(
                f'prepared statement "{shown_name(message.name)}" already exists', sqlstate="42P05"
            )
        if fault is None and isinstance(decision, Sendable):
            try:
                decision.check_types(message.types)
            except ProgrammingError as error:
                fault = error
        if fault is not None or text is None or isinstance(decision, DatagateError | Several):
            self._refuse(PARSE, fault or ProgrammingError("the statement is not UTF-8"))
            return
        prepared = Prepared(message.name, text, message.types, decision or BLANK, self.way.era)
        self.statements[message.name] = prepared

        def undo() -> None:
            if self.statements.get(message.name) is prepared:
                del self.statements[message.name]

        if isinstance(prepared.statement, Local):
            self._say(backend.PARSE_COMPLETE_MESSAGE, undo=undo)
        else:
            self.prepare(prepared, prepared.statement, shown=True, undo=undo)

    def _bind(self, message: frontend.Bind) -> None:
        decision, prepared = self._taken(), self.statements.get(message.statement)
        pledged, self._pledged = self._pledged, False
        if prepared is None:
            fault: DatagateError = no_statement(message.statement)
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
            portal = self.portals[message.portal] = Portal(prepared, message, sendable, pledged)
            self.send_bind(portal, sendable, shown=True)

    def _describe(self, message: frontend.Named) -> None:
        if message.kind == frontend.PORTAL:
            portal = self.portals.get(message.name)
            if portal is not None and isinstance(portal.statement, Local):
                self._say(portal.statement.description(portal.message.results))
            elif portal is None:
                self._describe_cursor(message.name)
            else:
                self.send_describe(message.name, portal)
            return
        prepared = self.statements.get(message.name)
        if prepared is None:
            self._refuse(DESCRIBE, no_statement(message.name))
        elif isinstance(prepared.statement, Local):
            self._say(backend.parameter_description(()) + prepared.statement.description(b"\0\0"))
        else:
            name = self.prepare(prepared, prepared.statement, shown=False)
            self._out.append(frontend.describe(frontend.STATEMENT, name))
            own, shown = prepared.statement.own, prepared.statement.admitted.shows_rows
            what = Expectation(Step.DESCRIBE_STATEMENT, asked=prepared.asked, own=own, rows_shown=shown)
            self.relay.expect(what)

    def _execute(self, message: frontend.Execute) -> None:
        portal, decision = self.portals.get(message.portal), self._taken()
        if isinstance(decision, DatagateError):
            self._refuse(EXECUTE, decision)
        elif portal is None:
            self._refuse(EXECUTE, no_portal(message.portal))
        elif isinstance(portal.statement, Local):
            self._run_local(portal.statement)
        else:
            portal.held = False
            self._note(portal.statement)
            self.again.begins(None, portal.statement)
            self.send_execute(message.portal, message.rows, portal)

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

    def _copy(self, kind: int, body: bytes) -> None:
        if kind == frontend.COPY_DATA:
            self._out.append(frontend.copy_data(body))
            return
        self.phase = Phase.READY
        self._out.append(frontend.copy_done() if kind == frontend.COPY_DONE else frontend.copy_fail(body[:-1]))

    # Answers of our own.

    def _run_local(self, local: Local, *, described: bool = False) -> None:
        try:
            answer = local.run(self.way)
        except DatagateError as error:
            self._refuse(EXECUTE, error)
            return
        self.tables.forget()
        self._say((local.description(b"") if described and local.value is None else b"") + answer)

    def refuse_query(self, error: DatagateError) -> None:
        """Tell that what was to be run again is refused."""
        self._refuse(QUERY, error)

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
        if (
            self.relay.expected
            or self.relay.status != backend.IDLE
            or self.relay.unsynced
            or not upstream.between_messages
        ):
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
        self.restore(status)

    def completed(self, tag: bytes) -> None:
        """A statement is done."""
        self.again.completed(tag)
        if tag in (b"DISCARD ALL", b"DEALLOCATE ALL"):
            self.statements.clear()
            if self.upstream is not None:
                self.upstream.forget_statements()

    def copies_in(self) -> None:
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
