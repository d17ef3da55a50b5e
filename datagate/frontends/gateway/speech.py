"""What is sent upstream for one client, each piece with the answer that it awaits.

Only a `Sendable` becomes a text or values for the server; the rest are commands of the protocol and our own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import count
from typing import Any, Literal, Protocol

from datagate.errors import (
    DatagateError,
    InternalError,
    ProgrammingError,
)
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.hearer import Hearer
from datagate.frontends.gateway.limits import Meter
from datagate.frontends.gateway.local import Local
from datagate.frontends.gateway.patience import State
from datagate.frontends.gateway.pins import changes_settings, forgotten, pins, turn_of
from datagate.frontends.gateway.plans import Plan, Values
from datagate.frontends.gateway.pool import Pool, Turn
from datagate.frontends.gateway.prepared import Portal, Prepared
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import Frame
from datagate.frontends.gateway.protocol.phases import Phase
from datagate.frontends.gateway.relay import SYNC_SHOWN, Expectation, Relay, Step
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import BLANK, Sendable
from datagate.frontends.gateway.upstream import PLAIN, Key, Profile, Upstream, profile_change
from datagate.frontends.gateway.way import Decision, Way

ABORTED = ProgrammingError(
    "current transaction is aborted, commands ignored until end of transaction block", sqlstate="25P02"
)
POISON_PORTAL = b"refused by datagate"
SETTINGS = count(1)
_AT_ONCE = frozenset((frontend.QUERY, frontend.FUNCTION_CALL))
"""Messages after which the client hears that the server is ready, without a Sync."""
_NO_PARAMETERS = frontend.Bind(b"", b"", (), (), b"\0\0")
_DESCRIBE_UNNAMED = frontend.describe(frontend.PORTAL, b"")
_EXECUTE_UNNAMED = frontend.execute(b"", 0)


@dataclass(frozen=True, slots=True)
class Several:
    """The statements of one text with what is sent for each; bytes: what the gateway itself answers."""

    statements: tuple[tuple[str, Sendable | bytes, Run | None], ...]


class Calm(Enum):
    """How much goes on: nothing at all; one statement that was sent at once, and nothing else; or anything."""

    AT_REST = "at rest"
    ONE_UNDER_WAY = "one under way"
    NO = "no"


class Line(Protocol):
    """The client's end of the wire."""

    @property
    def meter(self) -> Meter:
        """What the client may still use."""

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""

    def cancel(self, error: DatagateError) -> None:
        """End what the client runs, for this reason."""

    def hang_up(self) -> None:
        """Send what is written, and close."""

    def stalled(self, stalled: bool) -> None:
        """The conversation waits for something, or no more."""

    def clogged(self, clogged: bool) -> None:
        """The server takes no more, or does again."""


class Speech(Hearer):
    """What one client has upstream, and what is sent there.

    Args:
        line: The client's end of the wire.
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
        self.turns = 0
        self.ending: DatagateError | None = None
        self.forgotten: Profile = PLAIN
        # What literals are read by: a profile, or a number of its own for each time that the session changed something.
        self.read_by: object = tuple(profile.items())
        self.read_by_settled = True
        # Whether what was sent may turn who is calling into another once it is done.
        self.unsettled = False
        self._holder = ""
        self._current: tuple[int, Any] | None = None
        self._decision: Decision | Local | Several | None = None
        self._run: Run | None = None
        self._planned: tuple[Plan, Values] | None = None
        self._pledged = False
        self._declared: DatagateError | Literal[True] | None = None
        self._task: asyncio.Task[None] | None = None
        self.calm = Calm.NO
        self._parked: bytes | None = None
        self._turn: Turn | None = None
        self._hushed = False
        self._out: list[bytes] = []

    @property
    def state(self) -> State:
        """What the session does."""
        if self.relay.expected or self._task is not None or self._parked is not None:
            return State.ACTIVE
        if self.upstream is not None and (self.relay.status != backend.IDLE or self.relay.unsynced):
            return State.IN_TRANSACTION
        return State.IDLE

    def instead(self, diagnostics: backend.Diagnostics) -> bytes | None:
        """What the gateway itself cancelled ends for the gateway's reason."""
        if self.ending is None or diagnostics.get("C") != "57014":
            return None
        return answers.of_error(self.ending)

    def failed(self) -> None:
        """The server failed something."""
        self.way.failed()

    def begins(self, text: str | None, sendable: Sendable) -> None:
        """A statement is about to be sent; ``text``: a simple query's, else it is the run of a portal."""
        raise NotImplementedError

    @property
    def held(self) -> Upstream:
        """The connection; there is one wherever something is sent."""
        if self.upstream is None:
            raise InternalError("nothing can be sent without a connection to the server")
        return self.upstream

    def send_query(self, text: str, sendable: Sendable, run: Run | None, *, described: bool = False) -> None:
        """Run a simple query: as it is, or, where the policy has values in it, by the extended protocol."""
        relay, out = self.relay, self._out
        self._note(sendable)
        if not sendable.values:
            out.append(frontend.query(sendable.text))
            relay.expect(Expectation(Step.SIMPLE, asked=text, rows_shown=sendable.admitted.shows_rows, run=run))
            return
        if sendable.own:
            self._refuse(frontend.QUERY, ProgrammingError("there is no parameter $1", sqlstate="42P02"))
            return
        self._send_unnamed(text, sendable, run, described=described)
        self.send_sync()

    def _send_unnamed(self, text: str, sendable: Sendable, run: Run | None, *, described: bool) -> None:
        """One statement of a simple query, by the extended protocol."""
        relay, shown = self.relay, sendable.admitted.shows_rows
        self.held.unnamed = None
        self._out.append(frontend.parse(b"", sendable.text, ()))
        self._out.append(sendable.bind(_NO_PARAMETERS, b"", b""))
        self._out.append(_DESCRIBE_UNNAMED + _EXECUTE_UNNAMED)
        relay.expect(Expectation(Step.PARSE, shown=False, asked=text))
        relay.expect(Expectation(Step.BIND, shown=False, asked=text))
        relay.expect(Expectation(Step.DESCRIBE_SIMPLE, shown=not described, asked=text, rows_shown=shown))
        relay.expect(Expectation(Step.EXECUTE, asked=text, rows_shown=shown, run=run))

    def _send_several(self, several: Several) -> None:
        """The statements of one simple query: all take effect, or none, as the server has it."""
        for text, statement, run in several.statements:
            self.begins(None, BLANK)
            if isinstance(statement, bytes):
                self._say(statement)
            else:
                self._note(statement)
                self._send_unnamed(text, statement, run, described=False)
        self.unsettled = self.unsettled or self.way.wishes.uncommitted
        self.send_sync()

    def key_of(self, prepared: Prepared, sendable: Sendable) -> Key:
        """What a client's statement is known by upstream."""
        return sendable.text, prepared.types, prepared.read_by if self.read_by_settled else self.read_by

    def prepare(self, prepared: Prepared, sendable: Sendable, *, shown: bool, undo: Any = None) -> bytes:
        """Have a statement prepared upstream, where it is not; its name there."""
        upstream = self.held
        key = self.key_of(prepared, sendable)
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
                return known.name
            name = upstream.name_for(key).name
            for surplus in upstream.surplus():
                self._out.append(frontend.close(frontend.STATEMENT, surplus))
                self.relay.expect(Expectation(Step.CLOSE, shown=False))

        def never() -> None:
            kept = upstream.prepared.get(key)
            if kept is not None and kept.name == name:
                del upstream.prepared[key]
            upstream.unnamed = None
            if undo is not None:
                undo()

        self._out.append(frontend.parse(name, sendable.text, prepared.types))
        self.relay.expect(Expectation(Step.PARSE, shown=shown, asked=prepared.asked, undo=never))
        return name

    def send_bind(self, portal: Portal, sendable: Sendable, *, shown: bool) -> None:
        """Bind a portal upstream."""
        name = self.prepare(portal.prepared, sendable, shown=False)
        self._out.append(sendable.bind(portal.message, portal.message.portal, name))
        self.relay.expect(Expectation(Step.BIND, shown=shown, asked=portal.prepared.asked, portal=portal))

    def send_describe(self, name: bytes, portal: Portal) -> None:
        """Describe a portal upstream."""
        asked, portal.described = portal.prepared.asked, True
        what = Expectation(Step.DESCRIBE_PORTAL, asked=asked, portal=portal, rows_shown=_shows(portal))
        if portal.prepared.name and isinstance(portal.statement, Sendable):
            kept = self.held.prepared.get(self.key_of(portal.prepared, portal.statement))
            if kept is not None:
                what.learns = partial(kept.descriptions.__setitem__, portal.message.results)
        self._out.append(frontend.describe(frontend.PORTAL, name))
        self.relay.expect(what)

    def send_describe_cursor(self, name: bytes) -> None:
        """Describe a declared cursor upstream."""
        self._out.append(frontend.describe(frontend.PORTAL, name))
        self.relay.expect(Expectation(Step.DESCRIBE_PORTAL))

    def send_execute(self, name: bytes, rows: int, portal: Portal) -> None:
        """Run a portal upstream."""
        asked = portal.prepared.asked
        self._out.append(frontend.execute(name, rows))
        shown, run = _shows(portal), portal.run
        what = Expectation(Step.EXECUTE, asked=asked, own=rows, portal=portal, rows_shown=shown, run=run)
        self.relay.expect(what)

    def send_hidden(self, query: bytes) -> None:
        """Send a command of the gateway's own."""
        self._out.append(query)
        self.relay.expect(Expectation(Step.SIMPLE, shown=False))

    def send_sync(self) -> None:
        """End what was sent."""
        self._out.append(frontend.SYNC_MESSAGE)
        self.relay.expect(SYNC_SHOWN)

    def _say(self, data: bytes, undo: Any = None) -> None:
        """Say something when it is its turn."""
        self.relay.expect(Expectation(Step.SAY, say=data, undo=undo))

    def _refuse(self, kind: int, error: DatagateError) -> None:
        """Say no, with all that an error brings: it ends the transaction, and what follows up to the next Sync.

        Where something is under way or a transaction is open, the server is made to fail in our place.
        """
        if self.upstream is not None and self.relay.status == backend.FAILED:
            # What a server says first of all to anything but the end of a transaction that failed.
            error = ABORTED
        told = answers.of_error(error)
        self._decision = self._planned = None
        if self.upstream is None:
            self.line.write(told)
            if kind not in _AT_ONCE:
                self.phase = Phase.SKIPPING
                return
        else:
            self._out.append(frontend.execute(POISON_PORTAL, 0))
            self.relay.expect(Expectation(Step.POISON, say=told))
        if kind in _AT_ONCE:
            self._sync()

    def _sync(self) -> None:
        self.unsettled = self.unsettled or self.way.wishes.uncommitted
        if self.phase is Phase.SKIPPING:
            self.phase = Phase.READY
        if self.upstream is None:
            self.line.write(backend.ready(backend.IDLE))
        else:
            self.send_sync()

    def _note(self, sendable: Sendable) -> None:
        """What the statement leaves behind on its connection."""
        if pins(sendable):
            self.pinned = True
            self.forgotten = {**self.forgotten, **forgotten(sendable, self.profile)}
        if self.way.wishes.uncommitted and turn_of(sendable) is not None:
            self.unsettled = True
        if changes_settings(sendable):
            self.read_by, self.read_by_settled = next(SETTINGS), False

    def restore(self, status: int) -> None:
        """Set anew what the client asked for at its start, and what it ran took away."""
        if self.forgotten and status != backend.FAILED and self.upstream is not None:
            self.send_hidden(profile_change(PLAIN, self.forgotten))
            self.forgotten = PLAIN
            self.flush()

    def flush(self) -> None:
        """Send what is written for the server."""
        out = self._out
        if out and self.upstream is not None:
            self.upstream.send(out[0] if len(out) == 1 else b"".join(out))
        out.clear()


def _shows(portal: Portal) -> bool:
    return isinstance(portal.statement, Local) or portal.statement.admitted.shows_rows
