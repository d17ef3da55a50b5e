"""``datagate gateway`` serves the PostgreSQL wire protocol; ``datagate user`` says who may log in there."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagate.audit import Sink
from datagate.errors import StateError
from datagate.frontends.cli.options import (
    POLICIES,
    AuditFile,
    Dsn,
    Policies,
    State,
    keyring,
    sink,
)
from datagate.gate import Gate, state_engine
from datagate.model.caller import ActorKind
from datagate.stores.store import StateStore

if TYPE_CHECKING:
    from datagate.frontends.gateway.users import UserFile

USERS = Path("users.json")

Users = Annotated[
    Path, typer.Option("--users", envvar="DATAGATE_USERS", metavar="FILE", help="The file of those who may log in.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name: the principal.")]

user = typer.Typer(help="Who may log in to the gateway: names with SCRAM verifiers, never passwords.")


def gateway(
    dsn: Dsn,
    users: Users = USERS,
    policies: Policies = POLICIES,
    state: State = None,
    audit: AuditFile = None,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where clients connect.")] = (
        "127.0.0.1:6432"
    ),
    watch: Annotated[
        str | None, typer.Option("--watch", metavar="HOST:PORT", help="Where /healthz, /readyz and /metrics are.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="The certificate; needed unless on loopback.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.")] = None,
    clients: Annotated[
        Path | None, typer.Option("--tls-client-ca", metavar="FILE", help="Who signs certificates of clients.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=255, help="Processes that share the port.")] = 1,
    pool: Annotated[int, typer.Option("--pool", min=1, help="Connections to the server, for each process.")] = 20,
    most: Annotated[int, typer.Option("--max-clients", min=1, help="Clients, for each process.")] = 10_000,
) -> None:
    """Let any PostgreSQL client connect, and govern each of its statements.

    SIGTERM ends it when transactions are done; SIGHUP reads policies, users and certificates anew.
    """
    from datagate.frontends.gateway.pool import PoolLimits
    from datagate.frontends.gateway.service import JsonLines, Service, run
    from datagate.frontends.gateway.worker import Certificates, Settings

    if (certificate is None) != (key is None):
        raise typer.BadParameter("give both --tls-cert and --tls-key", param_hint="--tls-cert")
    host, port = _address(listen, "--listen")
    watch_host, watch_port = _address(watch, "--watch") if watch is not None else ("", None)
    if certificate is None and not _is_loopback(host):
        raise typer.BadParameter("other machines are served encrypted only: give --tls-cert", param_hint="--listen")
    certificates = Certificates(certificate, key, clients) if certificate is not None and key is not None else None
    logging.getLogger("datagate.audit").addHandler(logging.NullHandler())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("datagate.gateway")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    kept: list[Sink | None] = []

    def open_gate(closing: ExitStack) -> Gate:
        store = StateStore(state_engine(state or dsn))
        if not kept:
            kept.append(closing.enter_context(sink(audit)))
        return Gate.open(dsn, policies=policies, state=store, keyring=keyring(), audit=kept[0])

    run(
        Service(
            settings=Settings(dsn, users, PoolLimits(size=pool, per_caller=pool), certificates, most),
            open_gate=open_gate,
            host=host,
            port=port,
            watch_host=watch_host,
            watch_port=watch_port,
            workers=workers,
        )
    )


@user.command("add")
def add(
    name: Name,
    users: Users = USERS,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", help="What they may use data for; the first is the usual one.")
    ] = None,
    kind: Annotated[ActorKind, typer.Option("--kind", help="What connects.")] = ActorKind.PERSON,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="A client certificate in this name is enough.")
    ] = False,
    asserts: Annotated[
        list[str] | None, typer.Option("--asserts", help="A user in whose name this service may connect.")
    ] = None,
) -> None:
    """Add a user, or replace one; the password is asked for, or read from standard input."""
    from datagate.frontends.gateway.protocol.scram import Verifier
    from datagate.frontends.gateway.users import User

    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password and not certificate:
        raise StateError("an empty password lets nobody in; give one, or --certificate")
    verifier = Verifier.of(password, os.urandom(16)) if password else None
    _users(users).put(
        User(
            name=name,
            verifier=verifier,
            purposes=tuple(purpose or ()),
            kind=kind,
            certificate=certificate,
            asserts=tuple(asserts or ()),
        )
    )


@user.command("lock")
def lock(name: Name, users: Users = USERS) -> None:
    """Let nobody in under this name any more."""
    _users(users).lock(name, locked=True)


@user.command("unlock")
def unlock(name: Name, users: Users = USERS) -> None:
    """Let them in again."""
    _users(users).lock(name, locked=False)


def _users(path: Path) -> UserFile:
    from datagate.frontends.gateway.users import UserFile

    return UserFile(path)


def _address(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint=option)
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
