"""The short way of a statement that comes again: looked up, recorded, bound and passed on without anybody waiting.

Law: nothing goes this way that the gate has not admitted for this session's rights, as they are now; each run is
recorded. What is not as expected (a refusal, other rights, an answer in several pieces, messages behind one another)
takes the way of all other statements.
"""

from __future__ import annotations

from functools import partial
from struct import Struct

from datagate.errors import DatagateError, OperationalError
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.hearing import Hearing
from datagate.frontends.gateway.plans import TEXT_RESULTS, Plan, Values
from datagate.frontends.gateway.pool import Pool
from datagate.frontends.gateway.prepared import Portal, Prepared
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import Frame, FrameSplitter
from datagate.frontends.gateway.protocol.phases import Phase
from datagate.frontends.gateway.relay import SYNC_SHOWN, Expectation, Step
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import BLANK, Sendable
from datagate.frontends.gateway.speech import Calm, Line
from datagate.frontends.gateway.upstream import Profile, Upstream
from datagate.frontends.gateway.way import Way

_SHORTEST = 6
_NO, _ONE_UNDER_WAY, _AT_REST = Calm.NO, Calm.ONE_UNDER_WAY, Calm.AT_REST
_LENGTH = Struct("!I").unpack_from
_EXECUTE_AND_SYNC = frontend.execute(b"", 0) + frontend.SYNC_MESSAGE
_DESCRIBE_UNNAMED = frontend.describe(frontend.PORTAL, b"")
_DESCRIBE_EXECUTE_AND_SYNC = _DESCRIBE_UNNAMED + _EXECUTE_AND_SYNC


def _learnt_already(_message: bytes) -> None:
    """Mark what runs by a statement that was prepared before, and may be out of date by now."""


class Quick(Hearing):
    """The part of a conversation that takes the short way."""

    def __init__(self, line: Line, way: Way, pool: Pool, profile: Profile) -> None:
        super().__init__(line, way, pool, profile)
        # One for all that is sent at once, since there is but one at a time.
        self._head = Expectation(Step.AT_ONCE)
        self._recent: Plan | None = None
        self._text: bytes | None = None
        self._sendable = BLANK
        self._bound: tuple[Prepared, bytes, Sendable] | None = None

    def at_once(self, data: bytes) -> bool:
        """Take what came, if that is one message which can go the short way; False where it is to be cut up."""
        if self.calm is not _AT_REST and not self._rests():
            return False
        size = len(data)
        if size < _SHORTEST:
            return False
        if data[0] == frontend.BIND:
            return self._bind_at_once(data)
        if data[0] != frontend.QUERY or _LENGTH(data, 1)[0] != size - 1:
            return False
        plan = self._recent
        values = plan.values(data) if plan is not None and self.way.stands(plan) else None
        if plan is None or values is None:
            found = self.way.plan(data[5:-1]) if data.find(0, 5) == size - 1 else None
            if found is None:
                return False
            plan, values = self._recent, _ = found
        if self.upstream is None and not self._attach(data):
            return True
        kept = self.held.prepared.get(plan.key(self.read_by))
        description = kept.descriptions.get(TEXT_RESULTS) if kept is not None else None
        if kept is None or description is None or self.relay.expected:
            return False
        run = self._recorded(plan)
        if isinstance(run, DatagateError):
            self._refuse(frontend.QUERY, run)
            self.flush()
            return True
        if self.statements:
            self.statements.pop(b"", None)
        head = self._head
        head.shown, head.asked, head.portal, head.learns = False, "", None, _learnt_already
        head.say = self._described(plan, description)
        head.rows_shown, head.run = plan.shows, run
        self._text = data
        self._send_at_once(head, plan, plan.bind(kept.name, values))
        return True

    def _rests(self) -> bool:
        """Whether nothing is under way, whatever the session holds."""
        return not (
            self.relay.expected
            or self._task is not None
            or self._parked is not None
            or self._current is not None
            or self.inbox
            or self.phase is not Phase.READY
            or not self.read_by_settled
            or self.again.wanted
        )

    def _bind_at_once(self, data: bytes) -> bool:
        """Run a prepared statement: Bind, Describe or not, Execute, Sync, with the unnamed portal."""
        end = 1 + _LENGTH(data, 1)[0]
        if data.endswith(_EXECUTE_AND_SYNC) and end == len(data) - len(_EXECUTE_AND_SYNC):
            described = False
        elif data.endswith(_DESCRIBE_EXECUTE_AND_SYNC) and end == len(data) - len(_DESCRIBE_EXECUTE_AND_SYNC):
            described = True
        else:
            return False
        stop = data.find(0, 6, end)
        prepared = self.statements.get(data[6:stop]) if stop > 6 and not data[5] else None
        if prepared is None or prepared.era is not None:
            return False
        plan = prepared.plan
        if plan is None or not self.way.stands(plan):
            plan = prepared.plan = self.way.bound(prepared.asked)
            if plan is None:
                return False
        if not described and prepared.told is not None and plan.sendable.text not in prepared.told.texts:
            return False
        if self.upstream is None and not self._attach(data):
            return True
        kept = self.held.prepared.get((plan.sendable.text, prepared.types, prepared.read_by))
        message = plan.rebound(data, stop + 1, end, kept.name) if kept is not None else None
        if kept is None or message is None or self.relay.expected:
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
        head = self._head
        head.shown, head.asked, head.portal, head.learns = True, prepared.asked, None, None
        head.say = (self._described(plan, description) or backend.NO_DATA_MESSAGE) if described else b""
        head.rows_shown, head.run = plan.shows, run
        self._text, self._bound = None, (prepared, data[5:end], plan.sendable)
        self._send_at_once(head, plan, message[0])
        return True

    def _send_at_once(self, head: Expectation, plan: Plan, bind: bytes) -> None:
        relay = self.relay
        self._revoked = False
        self._sendable = plan.sendable
        if self.calm is _AT_REST:
            self.calm = _ONE_UNDER_WAY
        else:
            self.again.begins(self._asked(head), plan.sendable)
            if relay.status != backend.IDLE:
                self.spreads(head)
        relay.expect_at_once(head)
        self.held.send(bind + _EXECUTE_AND_SYNC)

    def _asked(self, head: Expectation) -> str | None:
        """The text of a simple query that is sent at once; None for a prepared statement."""
        if self._text is None:
            return None
        head.asked = self._text[5:-1].decode("utf-8", "replace")
        return head.asked

    def spreads(self, head: Expectation) -> None:
        """What is sent at once is no more expected so; what was left out for its sake is done."""
        self._stir()
        self._asked(head)
        if self._bound is not None:
            prepared, body, sendable = self._bound
            head.portal = self.portals[b""] = Portal(prepared, frontend.read_bind(body), sendable, run=head.run)
            self._bound = None

    def _stir(self) -> None:
        """What is under way is no more all that there is, or not as expected."""
        if self.calm is _ONE_UNDER_WAY:
            self.again.begins(self._asked(self._head), self._sendable)
        self.calm = _NO

    def _recorded(self, plan: Plan) -> Run | DatagateError | None:
        """Count and record a run; why it may not be."""
        refusal = self.line.meter.refusal()
        if refusal is not None:
            return refusal
        try:
            return self.way.repeat(plan)
        except DatagateError as error:
            return error

    def _described(self, plan: Plan, description: bytes) -> bytes:
        """What a simple query is told of its rows."""
        if description[0] == backend.NO_DATA or not plan.shows:
            return b""
        return self.tables.filtered_message(description)

    # Waiting for a connection.

    def _attach(self, data: bytes) -> bool:
        """Get a connection that is there; where there is none, what came is parked until it is this client's turn."""
        holder = self._holder = self.way.holder
        upstream = self.pool.take_nowait(holder, self.profile)
        if upstream is not None:
            self._attached(upstream)
            return True
        self.calm, self._parked = _NO, data
        try:
            self._turn = self.pool.line_up(holder, self._given, self._kept_waiting)
        except OperationalError as error:
            self._kept_waiting(error)
        return False

    def _given(self, upstream: Upstream) -> None:
        data, self._parked, self._turn = self._parked, None, None
        self._attached(upstream)
        if data is not None and not self.at_once(data):
            self._parked = data
            self._loop.call_soon(self._take_parked)

    def _kept_waiting(self, error: OperationalError) -> None:
        self._parked = self._turn = None
        self.end(answers.of_error(error, severity="FATAL"))

    def _take_parked(self) -> None:
        if self._parked is not None:
            self.take([])

    def take(self, frames: list[Frame]) -> None:
        """Take messages, as far as nothing has to be waited for; what is parked comes first."""
        self._stir()
        parked = self._parked
        if parked is not None:
            self.leave_turn()
            self.inbox.extend(FrameSplitter(frontend.TYPES).feed(parked))
        self.inbox.extend(frames)
        if self._task is None:
            self._pump()

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
        upstream = self.upstream
        if self.calm is _ONE_UNDER_WAY and upstream is not None and not self.pinned and data[-1] == backend.IDLE:
            # All else was at rest before, and is now.
            self.turns += 1
            self.ending = None
            self.calm = _AT_REST
            self.upstream = upstream.listener = None
            if self.portals:
                self.portals.clear()
            self.pool.give(self._holder, upstream)
            return
        self.calm = _NO
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
