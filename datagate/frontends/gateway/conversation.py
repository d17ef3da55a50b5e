"""What a client that has logged in says, and what is done about it: every text through the gate, in its turn.

Messages are taken one after the other. Before one is taken, all that it needs is there: the gate's decision on its
text, and a connection to the server. What has to be waited for stalls this client and no other.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from datagate.errors import (
    DatagateError,
    OperationalError,
    ProgrammingError,
    ProtocolViolation,
)
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.deciding import decoded
from datagate.frontends.gateway.local import Local
from datagate.frontends.gateway.prepared import Portal, Prepared, no_portal, shown_name
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.phases import Phase, Verdict, judge
from datagate.frontends.gateway.quick import Quick
from datagate.frontends.gateway.relay import Expectation, Step
from datagate.frontends.gateway.sending import BLANK, Sendable
from datagate.frontends.gateway.speech import ABORTED, Several
from datagate.frontends.gateway.way import Decision

QUERY, PARSE, BIND, DESCRIBE = frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.DESCRIBE
EXECUTE, CLOSE, FLUSH, SYNC = frontend.EXECUTE, frontend.CLOSE, frontend.FLUSH, frontend.SYNC
_MUCH = 100
_READERS = {
    QUERY: frontend.read_query,
    PARSE: frontend.read_parse,
    BIND: frontend.read_bind,
    DESCRIBE: frontend.read_named,
    EXECUTE: frontend.read_execute,
    CLOSE: frontend.read_named,
}


class Conversation(Quick):
    """One client's conversation after its login.

    Args:
        line: Its end of the wire.
        way: Its way through the gate.
        pool: Connections to the server.
        profile: The settings that it asked for.
    """

    # Taking messages.

    def _pump(self) -> None:
        if self.again.wanted:
            if not self.relay.expected:
                self._stall(self.again.run())
            return
        try:
            while self._task is None and self.phase is not Phase.ENDED and (self._current or self.inbox):
                if len(self._out) > _MUCH:
                    self.flush()
                if self._hushed:
                    break
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
                    self._current, self._decision, self._planned, self._declared = None, None, None, None
                    self._pledged = False
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
        text, decision, run = decoded(body), self.line.meter.refusal() or self._taken(), self._run
        planned, self._planned = self._planned, None
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
            self._forget_wishes(decision)
            self.begins(text, decision)
            if planned is not None:
                self.send_planned(text, *planned, run)
            else:
                self.send_query(text, decision, run)

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
        prepared.run, prepared.read_by = self._run, self.read_by
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
            fault: DatagateError = self._no_statement(message.statement)
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
            portal = self.portals[message.portal] = Portal(prepared, message, sendable, pledged, run=self._run)
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
            self._refuse(DESCRIBE, self._no_statement(message.name))
        elif isinstance(prepared.statement, Local):
            self._say(backend.parameter_description(()) + prepared.statement.description(b"\0\0"))
        else:
            name = self.prepare(prepared, prepared.statement, shown=False)
            self._out.append(frontend.describe(frontend.STATEMENT, name))
            own, shown = prepared.statement.own, prepared.statement.admitted.shows_rows
            learns = partial(prepared.describes, prepared.statement.text) if shown else None
            what = Expectation(Step.DESCRIBE_STATEMENT, asked=prepared.asked, own=own, rows_shown=shown, learns=learns)
            self.relay.expect(what)

    def _execute(self, message: frontend.Execute) -> None:
        portal, decision = self.portals.get(message.portal), self.line.meter.refusal() or self._taken()
        if isinstance(decision, DatagateError):
            if portal is not None and portal.run is not None:
                portal.run.failed(decision.sqlstate)
            self._refuse(EXECUTE, decision)
        elif portal is None:
            self._refuse(EXECUTE, no_portal(message.portal))
        elif isinstance(portal.statement, Local):
            self._run_local(portal.statement)
        else:
            portal.held = False
            self._forget_wishes(portal.statement)
            self._note(portal.statement)
            self.begins(None, portal.statement)
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
        if self.relay.status == backend.FAILED:
            self._refuse(EXECUTE, ABORTED)
            return
        try:
            answer = local.run(self.way, in_block=self.relay.status != backend.IDLE)
        except DatagateError as error:
            self._refuse(EXECUTE, error)
            return
        self.tables.forget()
        self._say((local.description(b"") if described and local.column is not None else b"") + answer)

    def _forget_wishes(self, sendable: Sendable) -> None:
        """RESET ALL and DISCARD ALL are about who is calling, too."""
        if self._forgets_wishes(sendable) and self.relay.status != backend.FAILED:
            self.way.forget_wishes()
            self.tables.forget()
            self.unsettled = True
