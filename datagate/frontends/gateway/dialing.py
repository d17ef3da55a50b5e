"""Opens connections to the server: reaches it, encrypts, proves who we are, and sees what kind of server it is."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from scramp import ScramClient, ScramException

from datagate.errors import OperationalError, ProtocolViolation
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import Frame, FrameSplitter
from datagate.frontends.gateway.protocol.scram import PLUS
from datagate.frontends.gateway.sockets import keep_alive
from datagate.frontends.gateway.target import ALPN, Host, Target
from datagate.frontends.gateway.upstream import Upstream

T = TypeVar("T")
_METHODS = {0: "none", 3: "password", 5: "md5", 10: "scram-sha-256"}


async def open_upstream(target: Target, host: int, seconds: float) -> Upstream:
    """Open a connection to one of the target's hosts.

    Raises:
        OperationalError: It cannot be reached, does not encrypt, does not let us in, or is not of the kind that is
            wanted.
    """
    where = target.hosts[host]

    async def begin() -> Upstream:
        greeting = _Greeting()
        transport = await _line(target, where, lambda: greeting)
        try:
            transport.write(target.startup())
            await _authenticate(target, where, greeting, transport)
            upstream = await _settle(target, greeting, host)
        except BaseException:
            transport.abort()
            raise
        transport.set_protocol(upstream)
        upstream.connection_made(transport)
        return upstream

    return await _reaching(begin, seconds)


async def send_cancel(target: Target, host: int, message: bytes, seconds: float) -> None:
    """Send a cancel request to one of the target's hosts, encrypted as all else, and wait until it is taken.

    Raises:
        OperationalError: It cannot be reached.
    """

    async def send() -> None:
        greeting = _Greeting()
        transport = await _line(target, target.hosts[host], lambda: greeting)
        try:
            transport.write(message)
            await greeting.frames.get()
        finally:
            transport.abort()

    await _reaching(send, seconds)


async def _reaching(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Do something with a server; all that can go wrong on the way is one kind of error."""
    try:
        async with asyncio.timeout(seconds):
            return await work()
    except (OSError, TimeoutError, ssl.SSLError) as error:
        what = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
        raise OperationalError(f"the server cannot be reached: {what}", sqlstate="08001") from None


async def _line(target: Target, where: Host, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
    """A connection to a host, encrypted as the target wants it, on which nothing was said."""
    loop = asyncio.get_running_loop()
    sock = await _connected(where)
    try:
        context = await _agreed(target, where, sock)
        create = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
        name = (where.name or where.address) if context is not None else None
        transport, _ = await create(protocol, sock=sock, ssl=context, server_hostname=name)
    except BaseException:
        sock.close()
        raise
    if target.encryption.direct and context is not None:
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen != ALPN:
            transport.abort()
            raise OperationalError("the server does not speak the protocol inside of direct TLS", sqlstate="08001")
    return transport


async def _agreed(target: Target, where: Host, sock: socket.socket) -> ssl.SSLContext | None:
    """How to encrypt, as asked for and agreed to by the server; None: not at all. Not a byte more is read."""
    context = target.encryption.context() if where.socket_path is None else None
    if context is None or target.encryption.direct:
        return context
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, frontend.ssl_request())
    if await loop.sock_recv(sock, 1) == b"S":
        return context
    if target.encryption.required:
        raise OperationalError("the server does not encrypt, and sslmode asks for it", sqlstate="08001")
    return None


async def _connected(where: Host) -> socket.socket:
    """A socket that is connected, at the first of a name's addresses that answers."""
    loop = asyncio.get_running_loop()
    if where.socket_path is not None:
        return await _connect(socket.AF_UNIX, where.socket_path)
    fault: OSError = ConnectionError()
    for family, _, _, _, address in await loop.getaddrinfo(
        where.address or where.name, where.port, type=socket.SOCK_STREAM
    ):
        try:
            return await _connect(family, address)
        except OSError as error:
            fault = error
    raise fault


async def _connect(family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(sock)
        await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


class _Greeting(asyncio.Protocol):
    """Reads what a server says until it is ready."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._splitter = FrameSplitter(backend.TYPES)

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
        except ProtocolViolation:
            self.frames.put_nowait(None)
            return
        for frame in frames:
            self.frames.put_nowait(frame)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.frames.put_nowait(None)

    async def next(self) -> Frame:
        frame = await self.frames.get()
        if frame is None:
            raise OperationalError("the server closed the connection while it was opened", sqlstate="08001")
        if frame[0] == backend.ERROR:
            told = backend.read_diagnostics(frame[1])
            raise OperationalError(f"the server refused the connection: {told.get('M', '')}", sqlstate=told.get("C"))
        return frame


async def _settle(target: Target, greeting: _Greeting, host: int) -> Upstream:
    parameters: dict[bytes, bytes] = {}
    process, key = 0, b""
    while True:
        kind, body = await greeting.next()
        if kind == backend.PARAMETER_STATUS:
            name, value = backend.read_parameter_status(body)
            parameters[name] = value
        elif kind == backend.KEY_DATA:
            process, key = int.from_bytes(body[:4], "big"), body[4:]
        elif kind == backend.READY:
            break
    if parameters.get(b"standard_conforming_strings") != b"on" or parameters.get(b"client_encoding") != b"UTF8":
        raise OperationalError("the server must run with standard_conforming_strings = on, in UTF8", sqlstate="08001")
    if not target.wanted.takes(parameters):
        raise OperationalError(f"the server is not {target.wanted.value}", sqlstate="08001")
    return Upstream(process, key, parameters, host)


async def _authenticate(target: Target, where: Host, greeting: _Greeting, transport: asyncio.Transport) -> None:
    """Prove who we are, in a way that the target allows; nothing is sent in the clear that others could use again."""
    proved = False
    while True:
        kind, body = await greeting.next()
        if kind != backend.AUTHENTICATION:
            raise OperationalError("the server does not speak the protocol", sqlstate="08001")
        code, rest = backend.read_authentication(body)
        if code == 0 and proved:
            return
        method = _METHODS.get(code)
        if method is None or method not in target.methods:
            raise OperationalError(
                f"the server asks for a proof that is not to be given ({method or code})", sqlstate="08001"
            )
        if code == 0:
            return
        password = where.password
        if password is None:
            raise OperationalError("the server asks for a password, and the gateway has none", sqlstate="08001")
        encrypted = transport.get_extra_info("ssl_object") is not None
        if code == 3 and not encrypted and where.socket_path is None:
            raise OperationalError("the server asks for the password in the clear; use sslmode", sqlstate="08001")
        if code == 10:
            await _scram(target, password, rest, greeting, transport)
        else:
            transport.write(frontend.password(_password(code, password, target.user, rest)))
        proved = True


def _password(code: int, password: str, user: str, salt: bytes) -> bytes:
    """The password as it is sent: plain, or in MD5 (PostgreSQL manual, 55.2.1)."""
    if code == 3:
        return password.encode()
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


async def _scram(target: Target, password: str, rest: bytes, greeting: _Greeting, transport: asyncio.Transport) -> None:
    offered = [name for name in backend.read_mechanisms(rest) if name.startswith("SCRAM-SHA-256")]
    channel = transport.get_extra_info("ssl_object")
    binding = None
    if channel is not None and PLUS in offered:
        binding = ("tls-server-end-point", channel)
    elif target.binds:
        raise OperationalError("channel binding is required, and the server does not offer it", sqlstate="08001")
    else:
        offered = [name for name in offered if name != PLUS]
    try:
        client = ScramClient(offered, "*", password, channel_binding=binding)
        transport.write(frontend.sasl_initial(client.mechanism_name, client.get_client_first().encode()))
        _, body = await greeting.next()
        client.set_server_first(backend.read_authentication(body)[1].decode())
        transport.write(frontend.sasl_response(client.get_client_final().encode()))
        _, body = await greeting.next()
        client.set_server_final(backend.read_authentication(body)[1].decode())
    except (ScramException, UnicodeDecodeError) as error:
        raise OperationalError(f"the server and the gateway do not agree: {error}", sqlstate="08001") from None
