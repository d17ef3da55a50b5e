"""One process of the gateway: a gate, a pool, a door, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scramp import ScramException
from scramp.core import CBindData

from datagate.errors import OperationalError
from datagate.frontends.gateway.attempts import Attempts
from datagate.frontends.gateway.cancelling import Keys
from datagate.frontends.gateway.client import Client, House
from datagate.frontends.gateway.dialing import open_upstream, send_cancel
from datagate.frontends.gateway.door import Door, Encrypting
from datagate.frontends.gateway.identity import Identity
from datagate.frontends.gateway.limits import Allowances, Limits
from datagate.frontends.gateway.login import Channel, Doorkeeper, Tokens
from datagate.frontends.gateway.measures import Measures
from datagate.frontends.gateway.pool import Pool, PoolLimits
from datagate.frontends.gateway.protocol import frontend
from datagate.frontends.gateway.protocol.startup import Cancel, Startup
from datagate.frontends.gateway.settling import Settling
from datagate.frontends.gateway.target import ALPN, Target
from datagate.frontends.gateway.upstream import Upstream
from datagate.frontends.gateway.users import UserFile
from datagate.frontends.gateway.way import FRONTEND, Gates, Way
from datagate.gate import Gate, Reloaded
from datagate.model.caller import Caller, TokenVerifier

Post = Callable[[int, Cancel], None]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of the gateway's certificate and key, and of the authority that signs its clients' certificates."""

    certificate: Path
    key: Path
    clients: Path | None = None

    def encrypting(self) -> Encrypting:
        """Read them.

        Raises:
            OperationalError: They are not to be read, or do not fit together.
        """
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
            context.set_alpn_protocols([ALPN])
            if self.clients is not None:
                context.load_verify_locations(self.clients)
                context.verify_mode = ssl.CERT_OPTIONAL
            der = ssl.PEM_cert_to_DER_cert(_first_certificate(self.certificate.read_text("ascii", "ignore")))
            return Encrypting(context, bytes(CBindData.from_der(der)))
        except (OSError, ValueError, ScramException) as error:
            raise OperationalError(f"the gateway's certificate cannot be used: {error}", sqlstate="F0000") from None


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return pem[pem.index(begin) : pem.index(end) + len(end)]


@dataclass(frozen=True, slots=True)
class Settings:
    """What one worker is told.

    ``dsn``: the server, as the least-privileged role; ``limits``: of the pool; ``allowed``: what clients may use;
    ``only_encrypted``: whether loopback is served encrypted only too.
    """

    dsn: str
    users: Path
    limits: PoolLimits = field(default_factory=PoolLimits)
    certificates: Certificates | None = None
    allowed: Limits = field(default_factory=Limits)
    only_encrypted: bool = False
    number: int = 0
    connect_seconds: float = 10.0
    drain_seconds: float = 30.0


class Worker:
    """One process of the gateway.

    Args:
        settings: See there.
        gate: By which statements are admitted; :attr:`current` may be replaced.
        tokens: Who reads tokens, where they are taken.
        closing: What is closed at the end.
    """

    def __init__(
        self, settings: Settings, gate: Gate, tokens: Tokens | None = None, closing: ExitStack | None = None
    ) -> None:
        self.current = gate
        self.closing = closing if closing is not None else ExitStack()
        self._settings = settings
        self._target = Target.read(settings.dsn, gate.session_settings)
        self._executor = ThreadPoolExecutor(8, thread_name_prefix="gate")
        self._settling = Settling(self._executor)
        self._login_executor = ThreadPoolExecutor(2, thread_name_prefix="login")
        self.pool = Pool(self._open, len(self._target.hosts), settings.limits)
        self.measures = Measures()
        self.measures.watch(self.pool, lambda: self.clients)
        self.keys = Keys(settings.number, secrets.token_bytes, self._cancel_upstream)
        doorkeeper = Doorkeeper(
            users=UserFile(settings.users),
            attempts=Attempts(time.monotonic),
            nonce=lambda: secrets.token_urlsafe(24).encode(),
            tokens=None if tokens is None else Tokens(_Recorded(self, tokens.verifier), tokens.issuer),
        )
        self._house = House(
            doorkeeper,
            self.pool,
            self._target.database,
            self._enter,
            self.keys,
            {},
            self._forget,
            partial(secrets.token_hex, 8),
            self._login_executor,
            Allowances(settings.allowed, time.monotonic),
            settings.allowed,
            self.measures,
        )
        self.tasks: set[asyncio.Task[None]] = set()
        self._nobody = _Nobody()
        self._post: Post | None = None
        self._door: Door | None = None
        self._serving: asyncio.Task[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket, post: Post | None = None) -> None:
        """Serve on a bound socket; to be called in a running loop. ``post`` sends cancel requests to other workers."""
        self._post = post
        listener.setblocking(False)
        certificates = self._settings.certificates
        encrypting = certificates.encrypting() if certificates is not None else None
        allowed, only = self._settings.allowed, self._settings.only_encrypted
        self._door = Door(listener, self._admit, self.cancel, encrypting, allowed, only_encrypted=only)
        # Somebody is watched as long as the gateway serves, so that no client waits for the lookout to begin or end.
        self._executor.submit(self.current.lookout.watch, self._nobody)
        self._serving = asyncio.get_running_loop().create_task(self._door.serve())
        self._tick()

    def _tick(self) -> None:
        """See again and again whether a client takes too long; what goes wrong with one is told, and not the end."""
        self._ticking = asyncio.get_running_loop().call_later(self._settings.allowed.tick, self._tick)
        self.pool.trim()
        now = time.monotonic()
        for client in tuple(self._door.clients) if self._door is not None else ():
            asyncio.get_running_loop().call_soon(client.look, now)

    def reload(self) -> Reloaded:
        """Read policies and certificates anew; what is wrong leaves all as it was. To be called in a thread.

        Raises:
            OperationalError: The certificates cannot be read.
        """
        certificates = self._settings.certificates
        encrypting = certificates.encrypting() if certificates is not None else None
        reloaded = self.current.reload()
        if self._door is not None and encrypting is not None and reloaded.accepted:
            self._door.encrypting = encrypting
        return reloaded

    async def stop(self) -> None:
        """Accept nobody any more, let transactions end, then close everything; see ``drain_seconds``."""
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving
        door = self._door
        if door is not None:
            await door.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_seconds):
                    while door.clients:
                        for client in tuple(door.clients):
                            if not client.is_busy:
                                client.shut_down()
                        await asyncio.sleep(0.02)
            for client in tuple(door.clients):
                client.shut_down()
        if self._ticking is not None:
            self._ticking.cancel()
        await self.pool.close()
        await asyncio.get_running_loop().run_in_executor(self._executor, self.current.lookout.leave, self._nobody)
        for executor in (self._executor, self._login_executor):
            executor.shutdown(cancel_futures=True)
        self.closing.close()

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._door.clients) if self._door is not None else 0

    def cancel(self, request: Cancel) -> None:
        """Take a cancel request, for this worker or another."""
        number = Keys.worker_of(request)
        if number == self._settings.number:
            self.keys.cancel(request)
        elif self._post is not None:
            self._post(number, request)

    def _admit(self, startup: Startup, channel: Channel) -> Client:
        client = Client(self._house, startup, channel)
        if self._door is not None:
            self._door.clients.add(client)
        return client

    def _forget(self, client: Client) -> None:
        if self._door is not None:
            self._door.clients.discard(client)

    def _enter(self, identity: Identity, wishes: Mapping[str, str], client: str) -> Way:
        return Way(self, identity, wishes, self._executor, client, self.measures, self._settling)

    async def _open(self, host: int) -> Upstream:
        return await open_upstream(self._target, host, self._settings.connect_seconds)

    async def _cancel_upstream(self, upstream: Upstream) -> None:
        """Ask the server to cancel what a connection runs, and wait until it has taken the request."""
        message = frontend.cancel(upstream.process, upstream.key)
        # As on a server: whether a request to cancel had an effect is never told.
        with contextlib.suppress(OperationalError):
            await send_cancel(self._target, upstream.host, message, self._settings.connect_seconds)


class _Nobody:
    """One whom the lookout watches without any statement."""

    stake = None
    flight = None


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Reads tokens, and has the gate record those that are refused."""

    gates: Gates
    verifier: TokenVerifier

    def caller(self, token: str) -> Caller:
        """The caller that a token names; TokenRefused where it names none."""
        return self.gates.current.caller(token, self.verifier, frontend=FRONTEND)
