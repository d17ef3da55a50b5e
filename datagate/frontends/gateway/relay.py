"""What comes back from the server for one client: what each message answers, and what of it the client is shown.

Each message that was sent upstream has its expectation here, in order. An answer belongs to the first; an error ends
all up to the next Sync, as it does on the server (PostgreSQL manual, 55.2.3).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from datagate.errors import AuditUnavailable, OperationalError
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.hearer import Hearer
from datagate.frontends.gateway.prepared import Portal
from datagate.frontends.gateway.protocol import backend
from datagate.frontends.gateway.runs import Run


class Step(IntEnum):
    """What was sent, or is to be said when it is its turn."""

    PARSE = 1
    BIND = 2
    DESCRIBE_STATEMENT = 3
    DESCRIBE_PORTAL = 4
    EXECUTE = 5
    CLOSE = 6
    SYNC = 7
    SIMPLE = 8
    SAY = 9
    POISON = 10
    DESCRIBE_SIMPLE = 11
    AT_ONCE = 12


class Expectation:
    """One answer that is to come.

    ``shown``: whether the client gets it. ``asked``: the caller's text. ``own``: how many parameters are the caller's.
    ``undo``: what to do where it never happens. ``say``: bytes of our own (SAY, POISON). ``portal``: what an Execute or
    Bind runs, where it may be run again. ``run``: the run of a statement that this ends. ``learns``: told the
    description of the rows.
    """

    __slots__ = ("asked", "learns", "own", "portal", "rows_shown", "run", "say", "shown", "step", "undo")

    def __init__(
        self,
        step: Step,
        *,
        shown: bool = True,
        asked: str = "",
        own: int = 0,
        say: bytes = b"",
        undo: Callable[[], None] | None = None,
        portal: Portal | None = None,
        rows_shown: bool = True,
        run: Run | None = None,
        learns: Callable[[bytes], None] | None = None,
    ) -> None:
        self.step = step
        self.shown = shown
        self.asked = asked
        self.own = own
        self.say = say
        self.undo = undo
        self.portal = portal
        self.rows_shown = rows_shown
        self.run = run
        self.learns = learns


SYNC_SHOWN = Expectation(Step.SYNC)
_PLAN_CHANGED = "0A000"
SYNC_HIDDEN = Expectation(Step.SYNC, shown=False)

_ENDS = {
    Step.PARSE: frozenset((backend.PARSE_COMPLETE,)),
    Step.BIND: frozenset((backend.BIND_COMPLETE,)),
    Step.DESCRIBE_STATEMENT: frozenset((backend.ROW_DESCRIPTION, backend.NO_DATA)),
    Step.DESCRIBE_PORTAL: frozenset((backend.ROW_DESCRIPTION, backend.NO_DATA)),
    Step.DESCRIBE_SIMPLE: frozenset((backend.ROW_DESCRIPTION, backend.NO_DATA)),
    Step.EXECUTE: frozenset((backend.COMMAND_COMPLETE, backend.PORTAL_SUSPENDED, backend.EMPTY_QUERY)),
    Step.CLOSE: frozenset((backend.CLOSE_COMPLETE,)),
    Step.SYNC: frozenset((backend.READY,)),
    Step.SIMPLE: frozenset((backend.READY,)),
    Step.POISON: frozenset[int](),
    Step.AT_ONCE: frozenset[int](),
}
_COPY_STEPS = frozenset((backend.COPY_OUT, backend.COPY_IN, backend.COPY_DONE))
_BETWEEN = {
    Step.DESCRIBE_STATEMENT: frozenset((backend.PARAMETER_DESCRIPTION,)),
    Step.EXECUTE: _COPY_STEPS,
    Step.SIMPLE: _COPY_STEPS | {backend.ROW_DESCRIPTION, backend.COMMAND_COMPLETE, backend.EMPTY_QUERY},
}
_NOTHING: frozenset[int] = frozenset()


class Relay:
    """The answers to one client, from whichever connection it has.

    Args:
        client: Who is told; see `Hearer`.
        tables: Takes away what a RowDescription must not tell.
    """

    def __init__(self, client: Hearer, tables: answers.TableFilter) -> None:
        self._client = client
        self._tables = tables
        self._behind: list[bytes] = []
        self.expected: deque[Expectation] = deque()
        self.status = backend.IDLE
        self.rows_pass = True
        self.rows_seen = False
        self.unsynced = False
        self.awaits = False
        self.known: dict[bytes, bytes] = {}

    def expect(self, expectation: Expectation) -> None:
        """Await an answer; what is only to be said, and is next, is said at once."""
        if expectation.step is not Step.SAY:
            self.unsynced = expectation.step not in (Step.SYNC, Step.SIMPLE)
        if not self.expected:
            if expectation.step is Step.SAY:
                self._client.hear([expectation.say])
                return
            self.rows_pass = expectation.rows_shown and expectation.shown
        self.expected.append(expectation)

    def expect_at_once(self, head: Expectation) -> None:
        """Await the answer to Bind, Execute and Sync: in one piece, or else as :meth:`spread` has it."""
        self.expected.append(head)
        self.awaits = True
        self.rows_pass = False

    def spread(self) -> None:
        """Await what is awaited at once one by one: Bind, what is said between, Execute, Sync."""
        head = self.expected.popleft()
        self.awaits = False
        self._client.spreads(head)
        say, run, asked = Expectation(Step.SAY, say=head.say), head.run, head.asked
        bind = Expectation(Step.BIND, shown=head.shown, asked=asked, portal=head.portal, learns=head.learns)
        execute = Expectation(Step.EXECUTE, asked=asked, rows_shown=head.rows_shown, run=run, portal=head.portal)
        self.expected.extendleft((SYNC_SHOWN, execute, say, bind))

    # What the connection calls.

    def at_once(self, data: bytes) -> bool:
        """Take a whole answer to what was sent at once; False where it is to be cut into messages."""
        head = self.expected[0]
        tag = backend.whole_answer(data)
        run = head.run
        if run is not None and run.waits:
            self.awaits = False
            self._client.answered(head, data, tag)
            return True
        if tag:
            self.awaits = False
            self.expected.popleft()
            self.status = data[-1]
            self._client.answered(head, data, tag)
            return True
        if run is not None:
            run.keep()
        self.spread()
        return False

    def message(self, kind: int, data: bytes, start: int, end: int) -> bool | bytes:
        """Judge a message; see `upstream.Listener`."""
        expected = self.expected
        if expected:
            head = expected[0]
            if kind in _ENDS[head.step]:
                return self._end(head, kind, data, start, end)
            if kind in _BETWEEN.get(head.step, _NOTHING):
                return self._between(head, kind, data, start, end)
        if kind == backend.ERROR:
            return self._error(backend.read_diagnostics(data[start + 5 : end]))
        if kind == backend.NOTICE:
            asked = expected[0].asked if expected else ""
            return answers.of_notice(backend.read_diagnostics(data[start + 5 : end]), asked)
        if kind == backend.PARAMETER_STATUS:
            return self._setting(data[start + 5 : end])
        if kind == backend.NOTIFICATION:
            return False
        raise OperationalError(f"the server sent a message of type {chr(kind)!r} out of turn")

    def _end(self, head: Expectation, kind: int, data: bytes, start: int, end: int) -> bool | bytes:
        """The last message that answers the first expectation."""
        expected = self.expected
        expected.popleft()
        if expected:
            following = expected[0]
            if following.step is Step.SAY:
                self._say()
            else:
                self.rows_pass = following.rows_shown and following.shown
        else:
            self.rows_pass = True
        if kind == backend.READY:
            self.status = data[start + 5]
            self._client.ended(self.status)
        self.rows_seen = False
        if head.run is not None:
            self._ran(head, kind, data, start, end)
        if head.learns is not None and kind in (backend.ROW_DESCRIPTION, backend.NO_DATA):
            head.learns(data[start:end])
        if not head.shown:
            return False
        if kind == backend.ROW_DESCRIPTION:
            if head.rows_shown:
                return self._tables.filtered(data[start + 5 : end])
            return False if head.step is Step.DESCRIBE_SIMPLE else backend.NO_DATA_MESSAGE
        if kind == backend.NO_DATA and head.step is Step.DESCRIBE_SIMPLE:
            return False
        if kind == backend.COMMAND_COMPLETE:
            self._client.completed(data[start + 5 : end - 1], head.asked)
        return True

    @staticmethod
    def _ran(head: Expectation, kind: int, data: bytes, start: int, end: int) -> None:
        """Count what a run gave."""
        if head.run is None:
            return
        if kind == backend.COMMAND_COMPLETE:
            head.run.completed(data[start + 5 : end - 1])
        elif kind == backend.PORTAL_SUSPENDED:
            head.run.suspended(head.own)

    def _say(self) -> None:
        while self.expected and self.expected[0].step is Step.SAY:
            self._behind.append(self.expected.popleft().say)
        self.rows_pass = not self.expected or (self.expected[0].rows_shown and self.expected[0].shown)

    def _between(self, head: Expectation, kind: int, data: bytes, start: int, end: int) -> bool | bytes:
        """A message that others follow for the same expectation."""
        if head.run is not None:
            self._ran(head, kind, data, start, end)
        if kind == backend.COPY_IN:
            self._client.copies_in()
        if not head.shown or (kind == backend.ROW_DESCRIPTION and not head.rows_shown):
            return False
        if kind == backend.PARAMETER_DESCRIPTION:
            types = backend.read_parameter_description(data[start + 5 : end])
            return backend.parameter_description(types[: head.own])
        if kind == backend.ROW_DESCRIPTION:
            return self._tables.filtered(data[start + 5 : end])
        if kind == backend.COMMAND_COMPLETE:
            self._client.completed(data[start + 5 : end - 1], head.asked)
        return True

    def _error(self, diagnostics: backend.Diagnostics) -> bool | bytes:
        """An error ends what was begun, up to the next Sync."""
        if diagnostics.get("V") in ("FATAL", "PANIC"):
            return self._client.fatal(diagnostics)
        if not self.expected:
            raise OperationalError("the server sent an error out of turn")
        self._client.failed()
        head = self.expected[0]
        changed = diagnostics.get("C") == answers.RIGHTS_CHANGED
        self._failed(answers.CHANGED_STATE if changed else diagnostics.get("C"))
        if changed and self._client.rights_changed(head):
            return False
        if diagnostics.get("C") == _PLAN_CHANGED and head.learns is not None and self._client.stale(head):
            return False
        if head.step is not Step.SIMPLE:
            self._skip()
        if head.step is Step.POISON:
            return head.say
        if not head.shown and head.step is Step.SIMPLE:
            raise OperationalError("the server refused the settings of the session")
        return self._client.instead(diagnostics) or answers.of_server(diagnostics, head.asked)

    def _failed(self, sqlstate: str | None) -> None:
        """All that the server skips has ended, too."""
        for each in self.expected:
            if each.step is Step.SYNC:
                return
            if each.run is not None:
                each.run.failed(sqlstate)

    def broken_off(self) -> None:
        """Nothing that is expected will come."""
        for each in self.expected:
            # One that waits is being written; how it ended is not known.
            if each.run is not None and not each.run.waits:
                with contextlib.suppress(AuditUnavailable):
                    each.run.failed("08006")
            if each.undo is not None:
                each.undo()

    def _skip(self) -> None:
        """Drop what the server skips."""
        while self.expected and self.expected[0].step is not Step.SYNC:
            dropped = self.expected.popleft()
            if dropped.undo is not None:
                dropped.undo()
        self.rows_pass = True
        if not self.expected:
            self._client.skips()

    def _setting(self, body: bytes) -> bool:
        """A setting has a new value: told where the client knows another."""
        name, value = backend.read_parameter_status(body)
        if self.known.get(name) == value:
            return False
        self.known[name] = value
        return True

    def pass_on(self, parts: list[bytes]) -> None:
        """Bytes for the client."""
        self._client.hear(parts)

    def trailing(self) -> bytes:
        """What is said behind the message that was just judged."""
        if not self._behind:
            return b""
        behind = b"".join(self._behind)
        self._behind.clear()
        return behind

    def settled(self) -> None:
        """All that came so far is passed on."""
        self._client.settled()

    def clogged(self, clogged: bool) -> None:
        """The server takes no more of what is sent, or does again."""
        self._client.clogged(clogged)

    def lost(self) -> None:
        """The connection is gone."""
        self._client.lost()
