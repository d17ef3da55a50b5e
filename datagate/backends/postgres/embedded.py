"""Run a private PostgreSQL server for the demo and the tests.

The server listens on a Unix socket in a directory that only its OS user can enter, and on loopback TCP if asked, with a
password of its own. It ends with the process that started it, whichever way that ends.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from datagate.backends.postgres.binaries import Binaries, find_binaries, runnable_by_anyone
from datagate.errors import OperationalError

__all__ = ["Binaries", "EmbeddedPostgres", "find_binaries"]

SUPERUSER = "postgres"
_ALWAYS = MappingProxyType({"timezone": "UTC", "log_timezone": "UTC", "unix_socket_permissions": "0777"})
# A server whose files are thrown away needs no protection against a crash of the machine.
_THROWAWAY = MappingProxyType(
    {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "4GB",
    }
)
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_PORT_ATTEMPTS = 5
_PROBE_SECONDS = 0.01
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0

# Standard input is a pipe whose other end only the Python process holds: when it closes, by stop() or because the
# process died, the server is told to end and its private directory goes. "wait" returns when the server ended, for
# whatever reason; where nobody asked for that, the directory stays, so that its log can be read.
_SUPERVISOR = """
signal=$1; home=$2; shift 2
exec 3<&0
"$@" 3<&- </dev/null & server=$!
( read -r _ <&3; : >"$home/stopped"; kill -s "$signal" "$server" ) 2>/dev/null & watcher=$!
exec 3<&-
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
[ ! -e "$home/stopped" ] || { cd /; rm -rf -- "$home"; }
exit "$status"
"""


@dataclass(frozen=True, slots=True)
class _OsUser:
    """Whom the server runs as; ids None: whoever we are."""

    uid: int | None
    gid: int | None

    @classmethod
    def suitable(cls) -> _OsUser:
        """PostgreSQL refuses to run as root, so that root runs it as ``nobody``."""
        if os.geteuid() != 0:
            return cls(None, None)
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError as error:
            raise OperationalError("PostgreSQL refuses to run as root, and there is no OS user nobody") from error
        return cls(nobody.pw_uid, nobody.pw_gid)

    def own(self, path: Path) -> None:
        """Hand a directory over."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def popen(self, command: list[str], *, home: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, with nothing of our environment."""
        return subprocess.Popen(  # noqa: S603 - fixed commands
            command,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else (),
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home), "TMPDIR": str(home)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class EmbeddedPostgres:
    """A PostgreSQL server of our own, as a context manager.

    Args:
        binaries: Which server (`find_binaries` lists them).
        data_dir: Where its files stay between runs; by default they are temporary.
        settings: Server settings (``postgresql.conf``), over the defaults.
        tcp: Whether to listen on a free port of 127.0.0.1 too, with a password that changes at every start.

    Raises:
        OperationalError: On start, when the server does not come up; the message ends with its log.
    """

    def __init__(
        self,
        binaries: Binaries,
        *,
        data_dir: Path | None = None,
        settings: Mapping[str, str] = _NO_SETTINGS,
        tcp: bool = False,
    ) -> None:
        self.binaries = binaries
        self._keep = data_dir
        self._settings = dict(settings)
        self._tcp = tcp
        self._port = 5432
        self._password = secrets.token_urlsafe(24)
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def version(self) -> int:
        """The major version."""
        return self.binaries.version

    @property
    def dsn(self) -> str:
        """Libpq connection string of the superuser over the Unix socket."""
        return self.dsn_for("postgres")

    @property
    def pid(self) -> int:
        """The server's process id."""
        return int((self._data_dir / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def log(self) -> str:
        """What the server said so far."""
        return (self._running_home / "server.log").read_text(errors="replace")

    def dsn_for(self, database: str, *, user: str = SUPERUSER, tcp: bool = False) -> str:
        """Libpq connection string for one database; over TCP it holds the superuser's password."""
        home = self._running_home
        if not tcp:
            return make_conninfo(host=str(home), port=self._port, user=user, dbname=database)
        if not self._tcp:
            raise OperationalError("this server was started without tcp=True")
        password = self._password if user == SUPERUSER else None
        return make_conninfo(host="127.0.0.1", port=self._port, user=user, dbname=database, password=password)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database as a copy of another and return its connection string."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.dsn_for(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions that are in it."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def start(self) -> Self:
        """Make the files where there are none, start the server and wait until it answers."""
        if self._process is not None:
            raise OperationalError("this server is running already")
        user = _OsUser.suitable()
        runnable = self.binaries if user.uid is None else runnable_by_anyone(self.binaries)
        self._home = _private_dir(user)
        try:
            self._initialise(runnable, user)
            self._launch(runnable, user)
            if self._tcp:
                self._set_password()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server that this object started, and no other; a temporary one leaves nothing behind."""
        process, home = self._process, self._home
        self._process = self._home = None
        if process is not None:
            _end(process)
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)

    @property
    def _running_home(self) -> Path:
        if self._home is None:
            raise OperationalError("this server is not running")
        return self._home

    @property
    def _data_dir(self) -> Path:
        return self._keep if self._keep is not None else self._running_home / "data"

    def _initialise(self, runnable: Binaries, user: _OsUser) -> None:
        """Run initdb, unless the directory holds a cluster of this version already."""
        marker = self._data_dir / "PG_VERSION"
        if marker.exists():
            if (found := marker.read_text().strip()) != str(runnable.version):
                raise OperationalError(f"{self._data_dir} belongs to PostgreSQL {found}, not {runnable.version}")
            return
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        user.own(self._data_dir)
        command = [str(runnable.bin_dir / "initdb"), "--pgdata", str(self._data_dir), "--username", SUPERUSER]
        command += ["--locale=C", "--encoding=UTF8", "--auth-local=trust", "--auth-host=scram-sha-256"]
        command += ["--no-instructions"] + ([] if self._keep else ["--no-sync"])
        with self._open_log() as log, user.popen(command, home=self._running_home, log=log) as process:
            process.communicate(timeout=_START_SECONDS)
        if process.returncode != 0:
            raise OperationalError(f"initdb failed:\n{self.log}")

    def _launch(self, runnable: Binaries, user: _OsUser) -> None:
        """Start the server; where a free port was taken by another meanwhile, try the next."""
        for attempt in range(_PORT_ATTEMPTS):
            if self._tcp:
                self._port = _free_port()
            with self._open_log() as log:
                self._process = user.popen(self._command(runnable), home=self._running_home, log=log)
            if self._answers(self._process):
                return
            _end(self._process)
            self._process = None
            if attempt + 1 == _PORT_ATTEMPTS or not self._tcp or "could not bind" not in self.log:
                break
        raise OperationalError(f"PostgreSQL {runnable.version} did not start:\n{self.log[-4000:]}")

    def _command(self, runnable: Binaries) -> list[str]:
        temporary = self._keep is None
        settings = {**_ALWAYS, **(_THROWAWAY if temporary else {}), **self._settings}
        settings["listen_addresses"] = "127.0.0.1" if self._tcp else ""
        settings["port"] = str(self._port)
        settings["unix_socket_directories"] = str(self._running_home)
        # An immediate shutdown is right only where nobody needs the files afterwards.
        end = ["QUIT" if temporary else "INT", str(self._running_home)]
        server = [str(runnable.bin_dir / "postgres"), "-D", str(self._data_dir)]
        for name, value in settings.items():
            server += ["-c", f"{name}={value}"]
        return ["/bin/sh", "-c", _SUPERVISOR, "datagate-postgres", *end, *server]

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a real connection; False when the server ended instead."""
        for _ in range(int(_START_SECONDS / _PROBE_SECONDS)):
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PROBE_SECONDS)
                    return False
            else:
                return True
        return False

    def _set_password(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(SUPERUSER), sql.Literal(self._password))
            )

    def _open_log(self) -> IO[bytes]:
        return (self._running_home / "server.log").open("ab")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the supervisor's pipe and wait; kill its session, which is all ours, if it does not end."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _private_dir(user: _OsUser) -> Path:
    """A directory for socket, log and temporary files; short, since a socket's path must fit in 103 bytes."""
    shared = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108 - mkdtemp makes a private one in it
    home = Path(tempfile.mkdtemp(prefix="datagate-", dir=shared))
    user.own(home)
    return home


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
