"""Sockets: where the gateway listens, who can reach that, and how a dead peer is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket

from datagate.errors import OperationalError

_TLS_HIGH_WATER = 256 * 1024


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that other workers may share the port of."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise OperationalError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return sock


def is_loopback(listener: socket.socket) -> bool:
    """Whether a socket listens where no other machine can reach it."""
    if listener.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def keep_alive(sock: socket.socket) -> None:
    """Notice within two minutes that the other end is gone without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 5),
        ("TCP_USER_TIMEOUT", 110_000),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def raise_descriptor_limit() -> None:
    """Allow this process as many open sockets as the system lets it have: the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where even that is forbidden, or the system caps it lower, the usual limit stays.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def send_at_once(transport: asyncio.BaseTransport) -> None:
    """Have what is written sent at once, and not when all that came at the same time is done; then tell who waits.

    Not through TLS: uvloop would say of its own buffer that it is full when there is nothing in it.
    """
    encrypted = transport.get_extra_info("ssl_object") is not None
    # uvloop's transports are not asyncio's by name.
    transport.set_write_buffer_limits(high=_TLS_HIGH_WATER if encrypted else 0)  # type: ignore[attr-defined]
