"""Where the server is, and how a connection to it is opened: hosts in turn, encryption, who we are."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from scramp import ScramClient, ScramException

from datagate.errors import OperationalError, ProgrammingError, ProtocolViolation
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import Frame, FrameSplitter
from datagate.frontends.gateway.upstream import Upstream

_DEFAULT_PORT = "5432"


@dataclass(frozen=True, slots=True)
class Host:
    """One address: a name or number and a port, or the path of a socket."""

    name: str
    port: int

    @property
    def socket_path(self) -> str | None:
        """The path of a Unix socket, where it is one."""
        return f"{self.name}/.s.PGSQL.{self.port}" if self.name.startswith("/") else None


@dataclass(frozen=True, slots=True)
class Target:
    """A server, or several that hold the same: tried in the order given."""

    hosts: tuple[Host, ...]
    user: str
    database: str
    password: str | None = field(repr=False)
    sslmode: str
    root_certificate: str | None
    certificate: tuple[str, str] | None
    settings: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, dsn: str, settings: Sequence[tuple[str, str]]) -> Target:
        """Read a libpq connection string, completed from the environment as libpq does.

        Raises:
            ProgrammingError: It is none.
        """
        given = {k: str(v) for k, v in conninfo_to_dict(dsn).items() if v is not None}
        defaults = {each.keyword.decode(): each.val for each in pq.Conninfo.get_defaults()}

        def value(key: str, otherwise: str = "") -> str:
            found = defaults.get(key)
            return given.get(key) or (found.decode() if found else otherwise)

        names = (given.get("hostaddr") or value("host", "/var/run/postgresql")).split(",")
        ports = value("port", _DEFAULT_PORT).split(",")
        if len(ports) not in (1, len(names)):
            raise ProgrammingError("connection string: as many ports as hosts, or one")
        ports = ports * len(names) if len(ports) == 1 else ports
        pairs = zip(names, ports, strict=True)
        certificate = value("sslcert")
        return cls(
            hosts=tuple(Host(name or "localhost", int(port or _DEFAULT_PORT)) for name, port in pairs),
            user=value("user"),
            database=value("dbname") or value("user"),
            password=value("password") or _from_passfile(value("passfile"), names[0], ports[0], value),
            sslmode=value("sslmode", "prefer"),
            root_certificate=value("sslrootcert") or None,
            certificate=(certificate, value("sslkey")) if certificate else None,
            settings=tuple(settings),
        )

    def startup(self) -> bytes:
        """The start-up packet: with the gate's settings, which prevail over what role and database say."""
        parameters = {"user": self.user, "database": self.database, "client_encoding": "UTF8"}
        return frontend.startup({**parameters, "application_name": "datagate", **dict(self.settings)})

    def context(self) -> ssl.SSLContext | None:
        """How to encrypt; None where that is not wanted."""
        if self.sslmode == "disable":
            return None
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.sslmode in ("verify-ca", "verify-full"):
            if self.root_certificate and self.root_certificate != "system":
                context.load_verify_locations(self.root_certificate)
            context.check_hostname = self.sslmode == "verify-full"
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context


def _from_passfile(path: str, host: str, port: str, value: object) -> str | None:
    """The password that libpq's password file has for the first host."""
    place = Path(path).expanduser() if path else Path("~/.pgpass").expanduser()
    wanted = (host, port, value("dbname") or value("user"), value("user"))  # type: ignore[operator]
    try:
        lines = place.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        parts = line.split(":", 4)
        if len(parts) == 5 and all(part in ("*", want) for part, want in zip(parts, wanted, strict=False)):
            return parts[4]
    return None


async def open_upstream(target: Target, host: int, seconds: float) -> Upstream:
    """Open a connection to one of the target's hosts.

    Raises:
        OperationalError: It cannot be reached, does not encrypt, or does not let us in.
    """
    where = target.hosts[host]
    try:
        async with asyncio.timeout(seconds):
            sock, context = await _connected(target, where)
            try:
                return await _begun(target, where, host, sock, context)
            except BaseException:
                sock.close()
                raise
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise OperationalError(f"the server cannot be reached: {type(error).__name__}", sqlstate="08001") from None


async def _connected(target: Target, where: Host) -> tuple[socket.socket, ssl.SSLContext | None]:
    """A connected socket, and how to encrypt on it."""
    loop = asyncio.get_running_loop()
    sock = await connect_bare(where)
    context = target.context() if where.socket_path is None else None
    if context is not None:
        await loop.sock_sendall(sock, frontend.ssl_request())
        if await loop.sock_recv(sock, 1) != b"S":
            if target.sslmode not in ("prefer", "allow"):
                sock.close()
                raise OperationalError("the server does not encrypt, and sslmode asks for it", sqlstate="08001")
            context = None
    return sock, context


async def connect_bare(where: Host) -> socket.socket:
    """A socket that is connected, and on which nothing was said."""
    loop = asyncio.get_running_loop()
    if where.socket_path is not None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        await _connect(sock, where.socket_path)
        return sock
    ((family, kind, proto, _, address), *_) = await loop.getaddrinfo(where.name, where.port, type=socket.SOCK_STREAM)
    sock = socket.socket(family, kind, proto)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    await _connect(sock, address)
    return sock


async def _connect(sock: socket.socket, address: object) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise


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


async def _begun(
    target: Target, where: Host, host: int, sock: socket.socket, context: ssl.SSLContext | None
) -> Upstream:
    loop = asyncio.get_running_loop()
    greeting = _Greeting()
    name = where.name if context is not None else None
    create = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
    transport, _ = await create(lambda: greeting, sock=sock, ssl=context, server_hostname=name)
    try:
        transport.write(target.startup())
        await _authenticate(target, greeting, transport)
        upstream = await _settle(greeting, host)
    except BaseException:
        transport.abort()
        raise
    transport.set_protocol(upstream)
    upstream.connection_made(transport)
    return upstream


async def _settle(greeting: _Greeting, host: int) -> Upstream:
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
    return Upstream(process, key, parameters, host)


async def _authenticate(target: Target, greeting: _Greeting, transport: asyncio.WriteTransport) -> None:
    while True:
        kind, body = await greeting.next()
        if kind != backend.AUTHENTICATION:
            raise OperationalError("the server does not speak the protocol", sqlstate="08001")
        way, rest = backend.read_authentication(body)
        if way == 0:
            return
        password = target.password
        if password is None:
            raise OperationalError("the server asks for a password, and the gateway has none", sqlstate="08001")
        if way == 3:
            transport.write(frontend.password(password.encode()))
        elif way == 5:
            inner = hashlib.md5(password.encode() + target.user.encode(), usedforsecurity=False).hexdigest()
            outer = hashlib.md5(inner.encode() + rest, usedforsecurity=False).hexdigest()
            transport.write(frontend.password(b"md5" + outer.encode()))
        elif way == 10:
            await _scram(password, rest, greeting, transport)
        else:
            raise OperationalError("the server asks for a proof that the gateway cannot give", sqlstate="08001")


async def _scram(password: str, rest: bytes, greeting: _Greeting, transport: asyncio.WriteTransport) -> None:
    offered = [name for name in backend.read_mechanisms(rest) if name.startswith("SCRAM-")]
    channel = transport.get_extra_info("ssl_object")
    binding = None
    if channel is not None and "SCRAM-SHA-256-PLUS" in offered:
        binding = ("tls-server-end-point", channel)
    try:
        client = ScramClient(offered, "*", password, channel_binding=binding)
        transport.write(frontend.sasl_initial(client.mechanism_name, client.get_client_first().encode()))
        _, body = await greeting.next()
        client.set_server_first(backend.read_authentication(body)[1].decode())
        transport.write(frontend.sasl_response(client.get_client_final().encode()))
        _, body = await greeting.next()
        client.set_server_final(backend.read_authentication(body)[1].decode())
    except ScramException as error:
        raise OperationalError(f"the server and the gateway do not agree: {error}", sqlstate="08001") from None
