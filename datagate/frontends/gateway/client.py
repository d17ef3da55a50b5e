"""One client's connection: who it is, then its conversation; read no faster than it is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from types import MappingProxyType

from datagate.backends.postgres.statements import KEPT_SETTINGS, SETTINGS, check_zone, may_not_change
from datagate.errors import (
    DatagateError,
    InternalError,
    OperationalError,
    ProtocolViolation,
    Refused,
    StateError,
)
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.cancelling import Keys
from datagate.frontends.gateway.conversation import Conversation
from datagate.frontends.gateway.identity import Identity
from datagate.frontends.gateway.limits import Allowances, Limits, Meter
from datagate.frontends.gateway.login import LOGIN, Channel, Doorkeeper, Exchange, Reading
from datagate.frontends.gateway.measures import Measures
from datagate.frontends.gateway.options import read_options
from datagate.frontends.gateway.patience import GRACE_SECONDS, Patience, State
from datagate.frontends.gateway.pool import Pool
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import FrameSplitter
from datagate.frontends.gateway.protocol.phases import Phase, Verdict, judge
from datagate.frontends.gateway.protocol.startup import NEWEST, Startup
from datagate.frontends.gateway.quiet import HEARD, Quiet
from datagate.frontends.gateway.rowcount import RowCount
from datagate.frontends.gateway.sockets import send_at_once
from datagate.frontends.gateway.upstream import Profile
from datagate.frontends.gateway.way import Way, wishes_among
from datagate.model.caller import Caller

LOG = logging.getLogger("datagate.gateway")
_UTF8 = frozenset(("utf8", "utf-8", "unicode"))
_ABOUT_THE_CONNECTION = frozenset(("user", "database", "options", "replication", "client_encoding"))


@dataclass(frozen=True, slots=True)
class House:
    """What all clients of a worker share.

    ``enter``: makes a client's way through the gate; ``forget``: told when a client is gone; ``executor``: where tokens
    are read.
    """

    doorkeeper: Doorkeeper
    pool: Pool
    database: str
    enter: Callable[[Identity, Mapping[str, str], str], Way]
    keys: Keys
    parameters: dict[tuple[tuple[str, str], ...], Mapping[bytes, bytes]]
    forget: Callable[[Client], None]
    trace: Callable[[], str]
    executor: Executor
    allowances: Allowances
    limits: Limits
    measures: Measures


class Client(asyncio.Protocol):
    """One client, from its start-up packet on."""

    def __init__(self, house: House, startup: Startup, channel: Channel) -> None:
        self._house = house
        self._startup = startup
        self._channel = channel
        self._splitter = FrameSplitter(frontend.TYPES)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._phase = Phase.LOGIN
        self._trace = house.trace()
        self._timer: asyncio.TimerHandle | None = None
        self._entering: asyncio.Task[None] | None = None
        self._key: tuple[int, bytes] | None = None
        self._quiet = HEARD
        self._heard = 0
        self._patience = Patience(house.limits)
        self._meter: Meter | None = None
        self._rows: RowCount | None = None
        self.conversation: Conversation | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the login."""
        self._transport = transport  # type: ignore[assignment] # uvloop's are not asyncio's by name
        send_at_once(transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._house.limits.login_seconds, self.abort)
        if self._startup.negotiates:
            self.write(backend.negotiate(NEWEST[1], self._startup.unknown))
        name = self._startup.parameters.get("user", "")
        try:
            if not name:
                raise ProtocolViolation("no user name specified in startup packet", sqlstate="28000")
            options = read_options(self._startup.parameters)
            self._exchange = self._house.doorkeeper.exchange(name, options.get(LOGIN, ""), self._channel)
            self._go_on(None)
        except DatagateError as error:
            self._refuse(error)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        conversation = self.conversation
        if conversation is not None and not self._splitter.kept and conversation.at_once(data):
            return
        self._heard += 1
        try:
            frames = self._splitter.feed(data)
        except ProtocolViolation as error:
            self._refuse(error)
            return
        if self.conversation is not None:
            self.conversation.take(frames)
            return
        for kind, body in frames:
            if self._phase is not Phase.LOGIN:
                return
            try:
                if judge(self._phase, kind) is Verdict.TAKE:
                    if kind == frontend.TERMINATE:
                        self.hang_up()
                        return
                    self._go_on(body)
            except DatagateError as error:
                self._refuse(error)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if self._entering is not None:
            self._entering.cancel()
        if self._exchange is not None:
            self._exchange.close()
        if self._key is not None:
            self._house.keys.forget(self._key)
        self._phase = Phase.ENDED
        if self.conversation is not None:
            # The server goes on with what it runs, whether or not anybody is left to hear of it.
            self._house.keys.cancel_running(self.conversation)
            self.conversation.gone()
            LOG.info("logout", extra={"event": "logout", **self._whence()})
        if self._meter is not None:
            self._meter.leave()
        self._house.forget(self)

    def pause_writing(self) -> None:
        """The client does not read: neither do we read what is for it, nor what it says meanwhile."""
        if self.conversation is not None and self.conversation.upstream is not None:
            self.conversation.upstream.pause()
        self._hush(Quiet.UNREAD, quiet=True)

    def resume_writing(self) -> None:
        """It reads again."""
        if self.conversation is not None and self.conversation.upstream is not None:
            self.conversation.upstream.resume()
        self._hush(Quiet.UNREAD, quiet=False)

    def _hush(self, reason: Quiet, *, quiet: bool) -> None:
        """Read nothing more from the client as long as there is any reason not to."""
        before = self._quiet
        after = self._quiet = before | reason if quiet else before & ~reason
        if self._transport is None or self._transport.is_closing():
            return
        if after and not before:
            self._transport.pause_reading()
        elif before and not after:
            self._transport.resume_reading()
        if self.conversation is not None:
            self.conversation.hush(quiet=bool(after & ~Quiet.STALLED))

    @property
    def is_busy(self) -> bool:
        """Whether something of it is under way."""
        return self.conversation is not None and self.conversation.state is not State.IDLE

    def shut_down(self) -> None:
        """The gateway ends."""
        if self._phase is not Phase.ENDED:
            self._refuse(OperationalError("the gateway is shutting down; connect again", sqlstate="57P01"))

    def _whence(self) -> dict[str, str]:
        """For the log: who says to come from where."""
        user = self._startup.parameters.get("user", "")
        return {"trace": self._trace, "user": user, "address": self._channel.address}

    # The login.

    def _go_on(self, answer: bytes | Caller | None) -> None:
        exchange = self._exchange
        if exchange is None or self._entering is not None:
            raise ProtocolViolation("a password came that nobody asked for")
        try:
            step = exchange.send(answer)
            if isinstance(step, bytes):
                self.write(step)
            else:
                self._entering = asyncio.get_running_loop().create_task(self._read_token(step))
        except StopIteration as stop:
            self._exchange = None
            identity, last = stop.value
            if last:
                self.write(last)
            self._entering = asyncio.get_running_loop().create_task(self._enter(identity))
        except StateError:
            raise OperationalError("logins are not possible at the moment", sqlstate="58030") from None

    async def _read_token(self, reading: Reading) -> None:
        """Reading a token may mean asking its issuer for keys."""
        caller = await asyncio.get_running_loop().run_in_executor(self._house.executor, reading)
        self._entering = None
        try:
            self._go_on(caller)
        except DatagateError as error:
            self._refuse(error)

    async def _enter(self, identity: Identity) -> None:
        """Begin the conversation: settings are tried on a connection, and their values told."""
        try:
            parameters = read_options(self._startup.parameters)
            profile = profile_of(parameters)
            if self._startup.parameters.get("database", self._startup.parameters["user"]) != self._house.database:
                asked = self._startup.parameters.get("database", "")
                raise Refused(f'database "{asked}" does not exist', sqlstate="3D000")
            self._meter = Meter(self._house.allowances.enter(self._startup.parameters["user"]))
            way = self._house.enter(identity, wishes_among(parameters), self._channel.address)
            await way.trusted()
            conversation = Conversation(self, way, self._house.pool, profile)
            conversation.relay.known = dict(await self._told(conversation, profile))
        except DatagateError as error:
            self._refuse(error)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._entering = None
        self._welcome(conversation)

    async def _told(self, conversation: Conversation, profile: Profile) -> Mapping[bytes, bytes]:
        """The server's settings under this profile: as they were told before, or by trying."""
        key = tuple(profile.items())
        known = self._house.parameters.get(key)
        if known is None:
            if len(self._house.parameters) > 1000:
                self._house.parameters.clear()
            known = self._house.parameters[key] = await conversation.settings()
        return known

    def _welcome(self, conversation: Conversation) -> None:
        key = self._key = self._house.keys.fresh(conversation, self._startup.minor)
        told = [backend.AUTHENTICATION_OK]
        for name, value in conversation.relay.known.items():
            told.append(backend.parameter_status(name, self._masked(name, value)))
        told += [backend.key_data(*key), backend.ready(backend.IDLE)]
        self._phase = Phase.READY
        self.conversation = conversation
        if self._house.limits.counts_rows:
            self._rows = RowCount(self.meter.row)
        self._house.measures.login(admitted=True)
        LOG.info("login", extra={"event": "login", **self._whence()})
        self.write(b"".join(told))
        conversation.take([])

    def _masked(self, name: bytes, value: bytes) -> bytes:
        """The service role's name is nobody's business."""
        if name == b"session_authorization":
            return self._startup.parameters["user"].encode()
        return b"off" if name == b"is_superuser" else value

    def _refuse(self, error: DatagateError) -> None:
        told = answers.of_error(error, severity="FATAL")
        event = "refused" if self.conversation is None else "ended"
        if self.conversation is None:
            self._house.measures.login(admitted=False)
        else:
            self._house.measures.ended(error.sqlstate)
        LOG.warning(event, extra={"event": event, "sqlstate": error.sqlstate, **self._whence()})
        if self.conversation is not None:
            self._house.keys.cancel_running(self.conversation)
            self.conversation.end(told)
            return
        self._phase = Phase.ENDED
        self.write(told)
        self.hang_up()

    # What the clock calls.

    def look(self, now: float) -> None:
        """See whether the client takes too long."""
        conversation = self.conversation
        if conversation is None or self._phase is Phase.ENDED:
            return
        state = conversation.state
        serial = conversation.turns if state is State.ACTIVE else conversation.turns + self._heard
        verdict = self._patience.look(state, serial, now)
        if verdict is None:
            return
        if verdict.cancel:
            self.cancel(verdict.error)
        else:
            self._refuse(verdict.error)

    def cancel(self, error: DatagateError) -> None:
        """End what the client runs, for a reason of the gateway's."""
        conversation = self.conversation
        if conversation is not None:
            if conversation.ending is None:
                LOG.warning("cancelled", extra={"event": "cancelled", "sqlstate": error.sqlstate, **self._whence()})
                self._house.measures.ended(error.sqlstate)
                conversation.ending = error
            self._house.keys.cancel_running(conversation)

    # What the conversation calls.

    @property
    def meter(self) -> Meter:
        """What the client may still use; there is one from the login on."""
        if self._meter is None:
            raise InternalError("a client says something before its login")
        return self._meter

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._rows is not None:
            data = self._rows.take(data)
        try:
            transport.write(data)
        except RuntimeError:
            # The socket failed a moment ago, which uvloop tells by `connection_lost` later on.
            return
        if self._meter is not None and (over := self._meter.passed(len(data))) is not None:
            self.cancel(over)
        if self._rows is not None and self._rows.refusal is not None:
            refusal, self._rows = self._rows.refusal, None
            self._refuse(refusal)

    def hang_up(self) -> None:
        """Send what is written, and close; who does not read it is left after a while."""
        self._phase = Phase.ENDED
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def stalled(self, stalled: bool) -> None:
        """While the conversation waits, nothing more is read than fits into memory without notice."""
        self._hush(Quiet.STALLED, quiet=stalled)

    def clogged(self, clogged: bool) -> None:
        """The server takes no more, or does again."""
        self._hush(Quiet.CLOGGED, quiet=clogged)


def profile_of(parameters: Mapping[str, str]) -> Profile:
    """The settings that a client asks for at its start.

    Raises:
        Refused: One that callers may not change; an encoding other than UTF-8.
    """
    encoding = parameters.get("client_encoding", "UTF8").strip("'\" ").lower()
    if encoding not in _UTF8:
        raise Refused("client_encoding stays UTF8 through the gate; ask for UTF8, or nothing", sqlstate="22023")
    if parameters.get("replication", "off").lower() not in ("off", "false", "no", "0"):
        raise Refused("replication is not carried; connect without replication=…", sqlstate="0A000")
    profile = {}
    for name, value in parameters.items():
        lower = name.lower()
        if lower in _ABOUT_THE_CONNECTION or lower.startswith("datagate."):
            continue
        if value.lower() in KEPT_SETTINGS.get(lower, ()):
            continue
        if lower not in SETTINGS:
            raise may_not_change(lower)
        if lower == "timezone":
            check_zone(value)
        profile[lower] = value
    return MappingProxyType(profile)
