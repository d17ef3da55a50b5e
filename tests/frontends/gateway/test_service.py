"""The gateway as it is run: ``datagate gateway`` with TLS, one process or two, signals, and the port to watch it by."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.frontends.gateway.certifying import Authority
from tests.frontends.gateway.running import PASSWORD, SERVICE, make_bank
from tests.house.source import ROOT

DATAGATE = str(Path(sys.executable).with_name("datagate"))
REGIONS = "select distinct region from bank.customers order by 1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A running ``datagate gateway``."""

    def __init__(self, process: subprocess.Popen[str], port: int, watched: int, database: str) -> None:
        self.process, self.port, self.watched, self.database = process, port, watched, database

    def hear(self, event: str) -> None:
        """Read the log up to an event."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if json.loads(line).get("event") == event:
                return
        raise AssertionError("".join(lines))

    def connect(self, **more: str | int | None) -> psycopg.Connection[tuple[object, ...]]:
        """Log in as the analyst."""
        where: dict[str, str | int | None] = {"host": "127.0.0.1", "port": self.port, "dbname": self.database}
        where |= {"user": "ana", "password": PASSWORD}
        return psycopg.connect(make_conninfo("", **{**where, "connect_timeout": 10, **more}), autocommit=True)

    def ask(self, path: str) -> str:
        """What the port to watch by answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.watched}{path}", timeout=10) as answer:
            return str(answer.read().decode())


@contextmanager
def serve(owner: str, users: Path, *options: str) -> Iterator[Served]:
    """``datagate gateway`` before a bank, until it was told to end, and did."""
    port, watched = free_port(), free_port()
    command = [DATAGATE, "gateway", "--dsn", make_conninfo(owner, user=SERVICE), "--state", owner]
    command += ["--policies", str(ROOT / "policies"), "--users", str(users)]
    command += ["--listen", f"127.0.0.1:{port}", "--watch", f"127.0.0.1:{watched}", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        try:
            yield Served(process, port, watched, str(conninfo_to_dict(owner)["dbname"]))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@pytest.fixture(scope="module")
def users(bank_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one user, made as an administrator makes it."""
    make_bank(bank_dsn)
    found = tmp_path_factory.mktemp("users") / "users.json"
    command = [DATAGATE, "user", "add", "ana", "--purpose", "analytics", "--users", str(found)]
    subprocess.run(command, input=f"{PASSWORD}\n", text=True, check=True, timeout=60)
    assert PASSWORD not in found.read_text()
    return found


def test_serves_encrypted_until_it_is_told_to_end(bank_dsn: str, users: Path, tmp_path: Path) -> None:
    """Clients come by TLS, in both ways, and by password; policies are read anew when it is asked to."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("gateway")
    with serve(bank_dsn, users, "--tls-cert", str(certificate), "--tls-key", str(key)) as served:
        served.hear("listening")
        with served.connect(sslmode="verify-full", sslrootcert=str(authority.certificate)) as ana:
            assert ana.pgconn.ssl_in_use
            assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        assert served.ask("/readyz") == "ready\n"
        assert "datagate" in served.ask("/metrics")
        served.process.send_signal(signal.SIGHUP)
        served.hear("reloaded")
        direct = {"sslnegotiation": "direct"} if psycopg.pq.version() >= 170000 else {}
        with served.connect(sslmode="verify-full", sslrootcert=str(authority.certificate), **direct) as ana:
            assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        with pytest.raises(psycopg.OperationalError):
            served.connect(password=PASSWORD[:-1], sslmode="require")


def test_two_processes_share_a_port(bank_dsn: str, users: Path) -> None:
    """Whichever process a client meets, it sees the same, and can cancel through the other."""
    with serve(bank_dsn, users, "--workers", "2") as served:
        served.hear("listening")
        served.hear("listening")
        big = "select count(*) from bank.customers a, bank.customers b, bank.customers c, bank.customers d"
        for _ in range(6):
            with served.connect() as ana:
                assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
                timer = threading.Timer(0.3, ana.cancel_safe)
                timer.start()
                with pytest.raises(psycopg.errors.QueryCanceled):
                    ana.execute(big)
                timer.join()
