"""The short way of a statement that comes again: looked up, recorded, bound and passed on without anybody waiting.

Law: nothing goes this way that the gate has not admitted for this session's rights, as they are now; each run is
recorded. What is not as expected (a refusal, other rights, an answer in several pieces, messages behind one another)
takes the way of all other statements.
"""

from __future__ import annotations

from functools import partial
from struct import Struct

from datagate.errors import DatagateError
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.hearing import Hearing
from datagate.frontends.gateway.plans import TEXT_RESULTS, Plan, Values
from datagate.frontends.gateway.prepared import Portal, Prepared
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.phases import Phase
from datagate.frontends.gateway.relay import SYNC_SHOWN, Expectation, Step
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import Sendable
from datagate.frontends.gateway.upstream import Kept, Key

_LENGTH = Struct("!I").unpack_from
_EXECUTE_AND_SYNC = frontend.execute(b"", 0) + frontend.SYNC_MESSAGE
_DESCRIBE_UNNAMED = frontend.describe(frontend.PORTAL, b"")
_DESCRIBE_EXECUTE_AND_SYNC = _DESCRIBE_UNNAMED + _EXECUTE_AND_SYNC


def _learnt_already(_message: bytes) -> None:
    """Mark what runs by a statement that was prepared before, and may be out of date by now."""


class Quick(Hearing):
    """The part of a conversation that takes the short way."""

    _bound: tuple[Prepared, bytes, Sendable] | None = None

    def at_once(self, data: bytes) -> bool:
        """Take what came, if that is one message which can go the short way; False where it is to be cut up."""
        if (
            self.relay.expected
            or self._task is not None
            or self._current is not None
            or self.inbox
            or self.phase is not Phase.READY
            or not self.read_by_settled
            or self.again.wanted
        ):
            return False
        end = len(data) - 1
        if end < 5:
            return False
        if data[0] == frontend.BIND:
            return self._bind_at_once(data)
        if data[0] != frontend.QUERY or _LENGTH(data, 1)[0] != end or data.find(0, 5) != end:
            return False
        text = data[5:end]
        found = self.way.plan(text)
        if found is None:
            return False
        plan, values = found
        kept = self._prepared((plan.sendable.text, plan.types, self.read_by))
        description = kept.descriptions.get(TEXT_RESULTS) if kept is not None else None
        if kept is None or description is None:
            return False
        run = self._recorded(plan)
        if isinstance(run, DatagateError):
            self._refuse(frontend.QUERY, run)
            self.flush()
            return True
        asked = text.decode("utf-8", "replace")
        self.begins(asked, plan.sendable)
        if self.statements:
            self.statements.pop(b"", None)
        head = Expectation(
            Step.AT_ONCE,
            shown=False,
            asked=asked,
            say=self._described(plan, description),
            rows_shown=plan.sendable.admitted.shows_rows,
            run=run,
            learns=_learnt_already,
        )
        self.relay.expect_at_once(head)
        self.held.send(plan.bind(kept.name, values) + _EXECUTE_AND_SYNC)
        return True

    def _bind_at_once(self, data: bytes) -> bool:
        """Run a prepared statement: Bind, Describe or not, Execute, Sync, with the unnamed portal."""
        end = 1 + _LENGTH(data, 1)[0]
        rest = data[end:]
        described = rest == _DESCRIBE_EXECUTE_AND_SYNC
        if not (described or rest == _EXECUTE_AND_SYNC) or data[5]:
            return False
        stop = data.find(0, 6, end)
        prepared = self.statements.get(data[6:stop]) if stop > 6 else None
        plan = self.way.bound(prepared.asked) if prepared is not None and prepared.era is None else None
        if prepared is None or plan is None:
            return False
        if not described and prepared.told is not None and plan.sendable.text not in prepared.told.texts:
            return False
        kept = self._prepared(self.key_of(prepared, plan.sendable))
        message = plan.rebound(data, stop + 1, end, kept.name) if kept is not None else None
        if kept is None or message is None:
            return False
        description = kept.descriptions.get(message[1]) if described else b""
        if description is None:
            return False
        run = self._recorded(plan)
        if isinstance(run, DatagateError):
            self._refuse(frontend.BIND, run)
            self._sync()
            self.flush()
            return True
        self.begins(None, plan.sendable)
        shown = plan.sendable.admitted.shows_rows
        say = (self._described(plan, description) or backend.NO_DATA_MESSAGE) if described else b""
        head = Expectation(Step.AT_ONCE, asked=prepared.asked, say=say, rows_shown=shown, run=run)
        self._bound = (prepared, data[5:end], plan.sendable)
        if self.relay.status != backend.IDLE:
            self.spreads(head)
        self.relay.expect_at_once(head)
        self.held.send(message[0] + _EXECUTE_AND_SYNC)
        return True

    def spreads(self, head: Expectation) -> None:
        """The portal of what is no more expected at once."""
        if self._bound is not None:
            prepared, body, sendable = self._bound
            head.portal = self.portals[b""] = Portal(prepared, frontend.read_bind(body), sendable, run=head.run)
            self._bound = None

    def _recorded(self, plan: Plan) -> Run | DatagateError | None:
        """Count and record a run; why it may not be."""
        refusal = self.line.meter.refusal()
        if refusal is not None:
            return refusal
        try:
            return self.way.repeat(plan)
        except DatagateError as error:
            return error

    def _prepared(self, key: Key) -> Kept | None:
        """The statement on the connection that there is, or that can be had now; None where it is not there."""
        if self.upstream is None:
            self._holder = self.way.holder
            upstream = self.pool.take_nowait(self._holder, self.profile)
            if upstream is None:
                return None
            self._attached(upstream)
            if self.relay.expected:
                return None
        return self.held.prepared.get(key)

    def _described(self, plan: Plan, description: bytes) -> bytes:
        """What a simple query is told of its rows."""
        if description[0] == backend.NO_DATA or not plan.sendable.admitted.shows_rows:
            return b""
        return self.tables.filtered_message(description)

    def send_planned(self, asked: str, plan: Plan, values: Values, run: Run | None) -> None:
        """Run a plan where its statement may have to be prepared first."""
        upstream, relay, out = self.held, self.relay, self._out
        key = (plan.sendable.text, plan.types, self.read_by)
        kept = upstream.prepared.get(key)
        if kept is None:
            kept = upstream.name_for(key)
            for surplus in upstream.surplus():
                out.append(frontend.close(frontend.STATEMENT, surplus))
                relay.expect(Expectation(Step.CLOSE, shown=False))
            out.append(frontend.parse(kept.name, plan.sendable.text, plan.types))

            def never() -> None:
                upstream.prepared.pop(key, None)

            relay.expect(Expectation(Step.PARSE, shown=False, asked=asked, undo=never))
        else:
            upstream.prepared.move_to_end(key)
        shown = plan.sendable.admitted.shows_rows
        learn = partial(kept.descriptions.__setitem__, TEXT_RESULTS)
        out.append(plan.bind(kept.name, values) + _DESCRIBE_UNNAMED + _EXECUTE_AND_SYNC)
        relay.expect(Expectation(Step.BIND, shown=False, asked=asked, learns=learn))
        relay.expect(Expectation(Step.DESCRIBE_SIMPLE, asked=asked, rows_shown=shown, learns=learn))
        relay.expect(Expectation(Step.EXECUTE, asked=asked, rows_shown=shown, run=run))
        relay.expect(SYNC_SHOWN)

    # What the relay tells.

    def answered(self, head: Expectation, data: bytes, tag: int) -> None:
        """The answer to what was sent at once; see `relay.Hearer`."""
        run = head.run
        if run is not None and run.waits:
            self.held.hold_back(data)
            job = partial(run.completed, data[tag + 5 : -7]) if tag else run.keep
            self.way.settling.settle(job, partial(self._settled, head, data, tag, self.held))
            return
        if run is not None:
            try:
                run.completed(data[tag + 5 : -7])
            except DatagateError as error:
                self._unrecorded(error)
                return
        self._deliver(head, data, tag)

    def _deliver(self, head: Expectation, data: bytes, tag: int) -> None:
        """Pass a whole answer on."""
        rows = data[5:] if head.rows_shown else data[tag:]
        self._bound = None
        self.line.write(backend.BIND_COMPLETE_MESSAGE + head.say + rows if head.shown else head.say + rows)
        self.ended(self.relay.status)
        self.settled()

    def _settled(self, head: Expectation, data: bytes, tag: int, upstream: object, fault: DatagateError | None) -> None:
        """The record of what was held back is kept, or cannot be."""
        if self.upstream is not upstream or self.phase is Phase.ENDED:
            return
        if fault is not None:
            self._unrecorded(fault)
            return
        connection = self.held
        if tag:
            self.relay.expected.popleft()
            self.relay.status = data[-1]
            self._deliver(head, data, tag)
        else:
            self.relay.spread()
        connection.let_go(dropped=bool(tag))

    def _unrecorded(self, error: DatagateError) -> None:
        """What ran is not recorded: nothing of its answer leaves, and nothing of its transaction stays."""
        self.end(answers.of_error(error, severity="FATAL"))

    def stale(self, expectation: Expectation) -> bool:
        """What was prepared upstream is out of date: the connection forgets all that, once it is given back."""
        if self.upstream is not None:
            self.upstream.dirty = True
        return self.again.prepare(expectation)
