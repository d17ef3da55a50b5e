"""Ways to one server, each with SCRAM on a port of 127.0.0.1: directly, through pgbouncer, a bare relay, the gateway.

The bank of ``pgbench`` at scale 4 (400,000 accounts). pgbouncer and gateway reach the server over its Unix socket, as
one service role, with pools of the same size; the relay opens a connection for each of its clients, as the user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks.harness import BENCHMARKS, POLICIES, settle
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends.gateway.protocol.scram import Verifier
from datagate.frontends.gateway.users import User, UserFile
from datagate.gate import state_engine
from datagate.stores.store import StateStore

SCALE = 4
ROWS = 100_000 * SCALE
DATABASE, SERVICE, USER = "pgbench", "pgbench_service", "tilda"
POOL = 20
_PASSWORD = secrets.token_urlsafe(12)
_SALT = secrets.token_bytes(16)
DATAGATE = str(Path(sys.executable).with_name("datagate"))


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. ``process``: who stands between, if anybody."""

    name: str
    port: int
    process: int | None = None
    user: str = USER
    database: str = DATABASE
    password: str = _PASSWORD

    @property
    def dsn(self) -> str:
        """Libpq connection string."""
        where: dict[str, str | int | None] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "dbname": self.database,
        }
        return make_conninfo("", **where, password=self.password, sslmode="disable")

    @property
    def environment(self) -> dict[str, str]:
        """The same for a program over libpq."""
        given = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": self.user, "PGPASSWORD": self.password}
        return {**os.environ, **given, "PGDATABASE": self.database, "PGSSLMODE": "disable"}

    @property
    def resident(self) -> int:
        """Bytes of memory that the process between holds."""
        for line in Path(f"/proc/{self.process}/status").read_text("ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise SystemExit("the process between has ended")


def create(running: EmbeddedPostgres) -> str:
    """Pgbench's bank, a user of the server's, the service role, and who may see what."""
    dsn = running.create_database(DATABASE)
    subprocess.run(["pgbench", "-i", "-q", "-s", str(SCALE), dsn], check=True, capture_output=True)
    with psycopg.connect(dsn, autocommit=True) as connection:
        verifier = str(Verifier.of(_PASSWORD, _SALT))
        name, service = sql.Identifier(USER), sql.Identifier(SERVICE)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(verifier)))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(service))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}, {}").format(name, service))
    store = StateStore(state_engine(dsn))
    store.create()
    store.grant_service_role(SERVICE)
    store.grant_role(USER, "teller")
    store.grant_attribute(USER, "branches", tuple(range(1, SCALE + 1)))
    settle(dsn)
    return dsn


@contextmanager
def doors(running: EmbeddedPostgres, dsn: str) -> Iterator[dict[str, Door]]:
    """All of them, open; without pgbouncer where the machine has none."""
    with ExitStack() as closing, tempfile.TemporaryDirectory(prefix="datagate-doors-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        direct = conninfo_to_dict(running.dsn_for(DATABASE, user=USER, tcp=True))
        found = {"direct": Door("direct", int(direct["port"] or 0))}
        service = make_conninfo(dsn, user=SERVICE)
        if shutil.which("pgbouncer") is not None:
            for pooling in ("transaction", "session"):
                bouncer = closing.enter_context(_pgbouncer(folder / pooling, service, pooling))
                found[f"pgbouncer, {pooling}"] = bouncer
        found["relay"] = closing.enter_context(_relay(service))
        for what, options in {"gateway": (), "gateway, audit": ("--audit", str(folder / "audit.jsonl"))}.items():
            found[what] = closing.enter_context(_gateway(what, folder / "users.json", service, dsn, *options))
        yield found


@contextmanager
def _gateway(name: str, users: Path, service: str, owner: str, *options: str) -> Iterator[Door]:
    verifier = Verifier.of(_PASSWORD, _SALT)
    UserFile(users).put(User(name=USER, verifier=verifier, purposes=("operations",)))
    port = free_port()
    command = [DATAGATE, "gateway", "--dsn", service, "--state", owner, "--policies", str(POLICIES / "pgbench")]
    command += ["--users", str(users), "--listen", f"127.0.0.1:{port}", "--pool", str(POOL), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            stream = process.stderr
            if stream is None:
                raise SystemExit("the gateway has no log")
            heard = []
            for line in stream:
                heard.append(line)
                if b'"listening"' in line:
                    break
            else:
                raise SystemExit(b"".join(heard).decode())
            # Each login is a line, and nobody may wait until somebody reads it.
            threading.Thread(target=lambda: deque(stream, 0), daemon=True).start()
            yield Door(name, port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def _relay(service: str) -> Iterator[Door]:
    """What copies bytes and does nothing else; users log in to the server through it."""
    where, port = conninfo_to_dict(service), free_port()
    command = [sys.executable, "-m", "benchmarks.bare_relay", str(port), f"{where['host']}/.s.PGSQL.{where['port']}"]
    with subprocess.Popen(command, cwd=BENCHMARKS.parent) as process:
        try:
            _wait(process, port, None)
            yield Door("relay", port, process.pid)
        finally:
            process.terminate()


@contextmanager
def _pgbouncer(folder: Path, service: str, pooling: str) -> Iterator[Door]:
    folder.mkdir()
    where = conninfo_to_dict(service)
    port = free_port()
    (folder / "users.txt").write_text(f'"{USER}" "{Verifier.of(_PASSWORD, _SALT)}"\n')
    (folder / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"{DATABASE} = host={where['host']} port={where['port']} dbname={DATABASE} user={SERVICE}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {folder}/users.txt\n"
        # In session pooling every client keeps a connection of its own.
        f"pool_mode = {pooling}\ndefault_pool_size = {POOL if pooling == 'transaction' else 2 * POOL}\n"
        "max_client_conn = 2000\nlog_connections = 0\nlog_disconnections = 0\nignore_startup_parameters = options\n"
    )
    command = ["pgbouncer", "-q", str(folder / "pgbouncer.ini")]
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    uid, gid = (nobody.pw_uid, nobody.pw_gid) if nobody is not None else (None, None)
    groups = () if nobody is not None else None
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, user=uid, group=gid, extra_groups=groups) as process,
    ):
        try:
            _wait(process, port, log)
            yield Door(f"pgbouncer, {pooling}", port, process.pid)
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path | None) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            continue
        return
    raise SystemExit(log.read_text("utf-8", "replace") if log is not None else "it has ended; see above")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
