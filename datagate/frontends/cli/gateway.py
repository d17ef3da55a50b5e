"""``datagate gateway`` serves the PostgreSQL wire protocol."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagate.audit import Sink
from datagate.frontends.cli.options import (
    POLICIES,
    AuditFile,
    Dsn,
    Policies,
    State,
    keyring,
    sink,
)
from datagate.frontends.cli.users import USERS, Users
from datagate.gate import Gate, state_engine
from datagate.identity import JwksFile, JwksUrl, JwtVerifier
from datagate.identity.verifier import ALGORITHMS
from datagate.stores.store import StateStore

if TYPE_CHECKING:
    from datagate.frontends.gateway.limits import Limits
    from datagate.frontends.gateway.login import Tokens
    from datagate.frontends.gateway.worker import Certificates

Listen = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where clients connect.")]
WatchAt = Annotated[
    str | None, typer.Option("--watch", metavar="HOST:PORT", help="Where /healthz, /readyz and /metrics are.")
]
Certificate = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="The certificate; needed unless on loopback.")
]
Key = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.")]
ClientAuthority = Annotated[
    Path | None, typer.Option("--tls-client-ca", metavar="FILE", help="Who signs certificates of clients.")
]
OnlyEncrypted = Annotated[bool, typer.Option("--tls-only", help="Serve encrypted only, on loopback too.")]
Issuer = Annotated[
    str | None,
    typer.Option("--token-issuer", metavar="URL", help="Take tokens of this issuer (iss); see --token-keys."),
]
Audience = Annotated[str, typer.Option("--token-audience", metavar="NAME", help="Whom tokens must be meant for (aud).")]
Keys = Annotated[
    str | None, typer.Option("--token-keys", metavar="FILE|URL", help="The issuer's JWK set: a file, or https://….")
]
Algorithms = Annotated[
    list[str] | None, typer.Option("--token-algorithm", help="What tokens may be signed with; else the usual ones.")
]
LimitSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", metavar="NAME=VALUE", help="One limit, such as statements-per-minute=6000 or idle-seconds=60."
    ),
]
Workers = Annotated[int, typer.Option("--workers", min=1, max=255, help="Processes that share the port.")]
_STATE_CONNECTIONS = 2
"""Each new session reads its caller's rights; a connection of its own for that costs the server ten times as much."""
PoolSize = Annotated[int, typer.Option("--pool", min=1, help="Connections to the server, for each process.")]


def gateway(
    dsn: Dsn,
    users: Users = USERS,
    policies: Policies = POLICIES,
    state: State = None,
    audit: AuditFile = None,
    listen: Listen = "127.0.0.1:6432",
    watch: WatchAt = None,
    certificate: Certificate = None,
    key: Key = None,
    clients: ClientAuthority = None,
    only_encrypted: OnlyEncrypted = False,
    issuer: Issuer = None,
    audience: Audience = "datagate",
    keys: Keys = None,
    algorithms: Algorithms = None,
    workers: Workers = 1,
    pool: PoolSize = 20,
    limits: LimitSettings = None,
) -> None:
    """Let any PostgreSQL client connect, and govern each of its statements.

    SIGTERM ends it when transactions are done; SIGHUP reads policies, users and certificates anew.
    """
    from datagate.frontends.gateway.logs import log_json
    from datagate.frontends.gateway.pool import PoolLimits
    from datagate.frontends.gateway.service import Service, run
    from datagate.frontends.gateway.worker import Settings

    host, port = _address(listen, "--listen")
    watch_host, watch_port = _address(watch, "--watch") if watch is not None else ("", None)
    certificates = _certificates(certificate, key, clients)
    if certificates is None and (only_encrypted or not _is_loopback(host)):
        raise typer.BadParameter("other machines are served encrypted only: give --tls-cert", param_hint="--listen")
    allowed = _limits(limits or ())
    log_json(sys.stderr)
    logging.getLogger("datagate.audit").addHandler(logging.NullHandler())
    kept: list[Sink | None] = []

    def open_gate(closing: ExitStack) -> Gate:
        store = StateStore(state_engine(state or dsn, keeps=_STATE_CONNECTIONS))
        closing.callback(store.close)
        if not kept:
            kept.append(closing.enter_context(sink(audit)))
        return Gate.open(dsn, policies=policies, state=store, keyring=keyring(), audit=kept[0])

    run(
        Service(
            settings=Settings(
                dsn,
                users,
                PoolLimits(size=pool, per_caller=pool, queue_seconds=allowed.queue_seconds),
                certificates,
                allowed,
                only_encrypted,
            ),
            open_gate=open_gate,
            host=host,
            port=port,
            watch_host=watch_host,
            watch_port=watch_port,
            workers=workers,
            tokens=_tokens(issuer, audience, keys, algorithms or ()),
        )
    )


def _certificates(certificate: Path | None, key: Path | None, clients: Path | None) -> Certificates | None:
    from datagate.frontends.gateway.worker import Certificates

    if certificate is not None and key is not None:
        return Certificates(certificate, key, clients)
    if certificate is not None or key is not None or clients is not None:
        raise typer.BadParameter("give both --tls-cert and --tls-key", param_hint="--tls-cert")
    return None


def _tokens(issuer: str | None, audience: str, keys: str | None, algorithms: Sequence[str]) -> Tokens | None:
    from datagate.frontends.gateway.login import Tokens

    if issuer is None and keys is None:
        return None
    if issuer is None or keys is None:
        raise typer.BadParameter("give both --token-issuer and --token-keys", param_hint="--token-issuer")
    source = JwksUrl(keys) if "://" in keys else JwksFile(Path(keys))
    verifier = JwtVerifier(source, issuer=issuer, audience=audience, algorithms=algorithms or ALGORITHMS)
    return Tokens(verifier, issuer)


def _limits(settings: Sequence[str]) -> Limits:
    from datagate.frontends.gateway.limits import Limits

    pairs = [setting.partition("=") for setting in settings]
    return Limits.read({name.strip(): value.strip() for name, _, value in pairs})


def _address(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint=option)
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
