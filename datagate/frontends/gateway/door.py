"""The door: accepts connections, settles encryption on the bare socket, and reads the start-up packet.

Not a byte more is read from a socket than the packet that is answered, so that nothing which was sent in the clear can
slip into what is encrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from datagate.errors import OperationalError, ProtocolViolation
from datagate.frontends.gateway import answers
from datagate.frontends.gateway.client import Client
from datagate.frontends.gateway.limits import Limits
from datagate.frontends.gateway.login import Channel
from datagate.frontends.gateway.protocol.frames import StartupSplitter
from datagate.frontends.gateway.protocol.startup import Cancel, Encryption, Startup, read_opening
from datagate.frontends.gateway.sockets import is_loopback, keep_alive
from datagate.frontends.gateway.target import ALPN

_TLS_HANDSHAKE = 0x16
_MOST_GREETING = 2_000
_ALTERNATIVES = {"DNS": "dns", "email": "email", "URI": "uri"}
Admit = Callable[[Startup, Channel], Client]


@dataclass(frozen=True, slots=True)
class Encrypting:
    """How this door encrypts. ``binding``: the certificate's data for channel binding (tls-server-end-point)."""

    context: ssl.SSLContext
    binding: bytes | None


class Door:
    """One listening socket.

    Args:
        listener: Bound and listening, without blocking.
        admit: Makes a client of a start-up packet.
        cancel: Takes a cancel request.
        encrypting: How to encrypt, where there is a certificate.
        limits: How many clients there may be, and how long a login may take.
        only_encrypted: Whether loopback is served encrypted only too, as all other addresses are.
    """

    def __init__(
        self,
        listener: socket.socket,
        admit: Admit,
        cancel: Callable[[Cancel], None],
        encrypting: Encrypting | None,
        limits: Limits,
        *,
        only_encrypted: bool = False,
    ) -> None:
        self._listener = listener
        self._admit = admit
        self._cancel = cancel
        self.encrypting = encrypting
        self.limits = limits
        self._only_encrypted = only_encrypted or not is_loopback(listener)
        self._greeting: dict[asyncio.Task[None], None] = {}
        self.greeters: dict[asyncio.Transport, None] = {}
        self.clients: set[Client] = set()

    async def serve(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError:
                # Out of descriptors: those that we have come back; the connection waits in the listener's queue.
                await asyncio.sleep(0.05)
                continue
            self._make_room()
            task = loop.create_task(self._greet(sock))
            self._greeting[task] = None
            task.add_done_callback(lambda done: self._greeting.pop(done, None))

    def _make_room(self) -> None:
        """Of too many that have not said yet who they are, whoever has been silent for longest has to go."""
        if len(self._greeting) >= _MOST_GREETING:
            next(iter(self._greeting)).cancel()
        if len(self.greeters) >= _MOST_GREETING:
            next(iter(self.greeters)).abort()

    async def close(self) -> None:
        """Accept no more, and send those away that are not through the door yet."""
        self._listener.close()
        for task in tuple(self._greeting):
            task.cancel()
        if self._greeting:
            await asyncio.wait(tuple(self._greeting))
        for transport in tuple(self.greeters):
            transport.abort()

    async def _greet(self, sock: socket.socket) -> None:
        handed_over = False
        try:
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                keep_alive(sock)
            async with asyncio.timeout(self.limits.login_seconds):
                handed_over = await self._opened(sock)
        except (ProtocolViolation, OperationalError) as error:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await _part(sock, answers.of_error(error, severity="FATAL"))
        except (OSError, TimeoutError, ssl.SSLError):
            # Gone, too slow, or no TLS: nobody is left to be told.
            pass
        finally:
            if not handed_over:
                sock.close()

    async def _opened(self, sock: socket.socket) -> bool:
        """Read what the client begins with; whether the socket is in a transport's hands now."""
        encrypting = self.encrypting
        if await _first_byte(sock) == _TLS_HANDSHAKE:
            if encrypting is None:
                raise ProtocolViolation("this gateway does not encrypt")
            return await self._inside_tls(sock, encrypting, direct=True)
        while True:
            opening = read_opening(await _packet(sock))
            if isinstance(opening, Cancel):
                self._cancel(opening)
                return False
            if isinstance(opening, Startup):
                if self._only_encrypted:
                    raise OperationalError(
                        "this gateway takes encrypted connections only; use sslmode=require", sqlstate="28000"
                    )
                self._check_room()
                client = self._admit(opening, Channel(_address(sock), encrypted=False))
                await asyncio.get_running_loop().connect_accepted_socket(partial(_same, client), sock)
                return True
            loop = asyncio.get_running_loop()
            if opening is Encryption.TLS and encrypting is not None:
                await loop.sock_sendall(sock, b"S")
                return await self._inside_tls(sock, encrypting, direct=False)
            await loop.sock_sendall(sock, b"N")

    async def _inside_tls(self, sock: socket.socket, encrypting: Encrypting, *, direct: bool) -> bool:
        greeter = _Greeter(self, encrypting, _address(sock), direct=direct)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: greeter, sock, ssl=encrypting.context)
        return True

    def _check_room(self) -> None:
        if len(self.clients) >= self.limits.clients:
            raise OperationalError("sorry, too many clients already", sqlstate="53300")

    def enter(self, opening: Startup, channel: Channel) -> Client:
        """Make a client of an encrypted start-up; ProtocolViolation or OperationalError where there is no room."""
        self._check_room()
        return self._admit(opening, channel)

    def take_cancel(self, request: Cancel) -> None:
        """An encrypted cancel request."""
        self._cancel(request)


class _Greeter(asyncio.Protocol):
    """Reads the start-up packet inside of TLS, then hands the connection to its client."""

    def __init__(self, door: Door, encrypting: Encrypting, address: str, *, direct: bool) -> None:
        self._door = door
        self._encrypting = encrypting
        self._address = address
        self._direct = direct
        self._splitter = StartupSplitter()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._client: Client | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made: asyncio.Transport = transport  # type: ignore[assignment] # uvloop's are not asyncio's by name
        self._transport = made
        self._timer = asyncio.get_running_loop().call_later(self._door.limits.login_seconds, made.abort)
        self._door.greeters[made] = None
        if self._direct and transport.get_extra_info("ssl_object").selected_alpn_protocol() != ALPN:
            transport.close()

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            body = self._splitter.feed(data)
            if body is None:
                return
            opening = read_opening(body)
            if isinstance(opening, Cancel):
                self._door.take_cancel(opening)
                transport.close()
            elif isinstance(opening, Startup):
                self._hand_over(transport, opening)
            elif opening is Encryption.GSS:
                transport.write(b"N")
            else:
                told = answers.of_error(ProtocolViolation("the connection is encrypted already"), severity="FATAL")
                transport.write(told)
                transport.close()
        except (ProtocolViolation, OperationalError) as error:
            transport.write(answers.of_error(error, severity="FATAL"))
            transport.close()

    def _hand_over(self, transport: asyncio.Transport, opening: Startup) -> None:
        self._done()
        peer = transport.get_extra_info("ssl_object").getpeercert()
        channel = Channel(self._address, True, self._encrypting.binding, _names(peer))
        client = self._door.enter(opening, channel)
        transport.set_protocol(client)
        client.connection_made(transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._done()

    def _done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._door.greeters.pop(self._transport, None)


def _names(certificate: object) -> frozenset[str]:
    """The names in a client certificate that the context has verified, as `users.certificate_name` spells them."""
    if not isinstance(certificate, dict):
        return frozenset()
    common = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    found = {f"cn:{common[0]}"} if len(common) == 1 else set()
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in _ALTERNATIVES:
            found.add(f"{_ALTERNATIVES[kind]}:{value}")
    return frozenset(found)


def _same(client: Client) -> Client:
    return client


async def _first_byte(sock: socket.socket) -> int:
    """The first byte, left where it is."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock.fileno(), partial(_wake, ready))
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())
    byte = sock.recv(1, socket.MSG_PEEK)
    if not byte:
        raise ConnectionError
    return byte[0]


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _part(sock: socket.socket, told: bytes) -> None:
    """Say why, and wait until the client has heard: what it has sent and we have not read would wipe out our answer."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, told)
    sock.shutdown(socket.SHUT_WR)
    for _ in range(64):
        if not await loop.sock_recv(sock, 4096):
            return


async def _packet(sock: socket.socket) -> bytes:
    splitter = StartupSplitter()
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.sock_recv(sock, splitter.needs)
        if not data:
            raise ConnectionError
        body = splitter.feed(data)
        if body is not None:
            return body


def _address(sock: socket.socket) -> str:
    return "socket" if sock.family == socket.AF_UNIX else str(sock.getpeername()[0])
