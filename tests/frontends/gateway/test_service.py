"""The gateway as it is run: ``datagate gateway`` with TLS, one process or two, signals, and the port to watch it by."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datagate.errors import OperationalError
from datagate.frontends.cli import main
from datagate.frontends.gateway.worker import Certificates
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
        self.heard: list[dict[str, object]] = []

    def hear(self, event: str) -> dict[str, object]:
        """Read the log up to an event; the gateway is ended where it does not come."""
        assert self.process.stderr is not None
        ending = threading.Timer(120, self.process.kill)
        ending.start()
        for line in self.process.stderr:
            self.heard.append(json.loads(line))
            if self.heard[-1].get("event") == event:
                ending.cancel()
                return self.heard[-1]
        raise AssertionError(self.heard)

    def connect(self, **more: str | int | None) -> psycopg.Connection[tuple[object, ...]]:
        """Log in as the analyst."""
        where: dict[str, str | int | None] = {"host": "127.0.0.1", "port": self.port, "dbname": self.database}
        where |= {"user": "ana", "password": PASSWORD}
        return psycopg.connect(make_conninfo("", **{**where, "connect_timeout": 10, **more}), autocommit=True)

    def ask(self, path: str) -> str:
        """What the port to watch by answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.watched}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def measure(self, name: str) -> float:
        """One of the metrics."""
        (found,) = [line for line in self.ask("/metrics").splitlines() if line.startswith(f"{name} ")]
        return float(found.rpartition(" ")[2])


@contextmanager
def serve(
    owner: str,
    users: Path,
    *options: str,
    policies: Path = ROOT / "policies",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Served]:
    """``datagate gateway`` before a bank, until it was told to end, and did."""
    port, watched = free_port(), free_port()
    command = [DATAGATE, "gateway", "--dsn", make_conninfo(owner, user=SERVICE), "--state", owner]
    command += ["--policies", str(policies), "--users", str(users)]
    command += ["--listen", f"127.0.0.1:{port}", "--watch", f"127.0.0.1:{watched}", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
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


def test_it_drains(bank_dsn: str, users: Path) -> None:
    """Told to end, it lets a transaction end, tells idle sessions so at once, serves nobody new, and exits well."""
    with serve(bank_dsn, users) as served:
        served.hear("listening")
        idle, within = served.connect(), served.connect()
        within.execute("set timezone = 'Asia/Tokyo'")
        within.execute("begin")
        within.execute("select 1")
        served.process.send_signal(signal.SIGTERM)
        served.hear("draining")
        assert served.ask("/readyz") == "not ready\n"
        assert served.ask("/healthz") == "ok\n"
        with pytest.raises(psycopg.OperationalError):
            served.connect()
        with socket.socket(fileno=os.dup(idle.fileno())) as line:
            line.setblocking(True)
            assert b"C57P01\0" in line.makefile("rb").read()
        assert within.execute("show timezone").fetchone() == ("Asia/Tokyo",)
        within.execute("commit")
        assert served.process.wait(20) == 0
        idle.close()
        within.close()


def test_it_can_be_watched(bank_dsn: str, users: Path) -> None:
    """Statements, refusals, logins, rewriting and the pool are counted; the log has a trace for each connection."""
    with serve(bank_dsn, users) as served:
        served.hear("listening")
        with served.connect() as ana:
            for _ in range(3):
                ana.execute("select count(*) from bank.customers where full_name <> 'a literal of hers'")
            with pytest.raises(psycopg.errors.UndefinedTable):
                ana.execute("select 'a literal of hers' from bank.nowhere")
            with pytest.raises(psycopg.errors.UndefinedTable):
                ana.execute("select * from bank.notes")
            assert served.measure("datagate_clients") == 1
        with pytest.raises(psycopg.OperationalError):
            served.connect(password="a wrong one")  # noqa: S106 - it is to be refused
        assert served.measure('datagate_statements_total{known="yes"}') == 2
        assert served.measure('datagate_statements_total{known="no"}') >= 1
        missing = 'datagate_refusals_total{reason="UndefinedRelation",sqlstate="42P01"}'
        assert served.measure(missing) == 1
        assert served.measure('datagate_refusals_total{reason="no-permit",sqlstate="42P01"}') == 1
        assert served.measure("datagate_revocation_seconds_count") == 0
        assert served.measure('datagate_logins_total{outcome="refused"}') == 1
        assert served.measure("datagate_admission_seconds_count") >= 1
        assert served.measure("datagate_pool_open") >= 1
        login, logout = served.hear("login"), served.hear("logout")
        refused = served.hear("refused")
        assert login["trace"] == logout["trace"] != refused["trace"]
        assert (login["user"], refused["sqlstate"]) == ("ana", "28P01")
        assert "literal" not in json.dumps(served.heard)


def test_policies_are_read_anew_or_stay(bank_dsn: str, users: Path, tmp_path: Path) -> None:
    """A good change counts for the next statement of a session; a bad one changes nothing, and the log says why."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    customers = policies / "customers.yaml"
    query = "select bool_and(signup_at = date_trunc('year', signup_at)) from bank.customers"
    with serve(bank_dsn, users, policies=policies) as served:
        served.hear("listening")
        with served.connect() as ana, psycopg.connect(bank_dsn, autocommit=True) as owner:
            assert ana.execute(query).fetchone() == (False,)
            good = customers.read_text()
            customers.write_text(good.replace("show:", "shows:", 1))
            served.process.send_signal(signal.SIGHUP)
            served.hear("reload-failed")
            assert "unknown key 'shows'; did you mean 'show'?" in json.dumps(served.heard)
            assert ana.execute(query).fetchone() == (False,)
            coarser = good.replace("truncate: month", "truncate: year", 1).replace("'2024-03-01T", "'2024-01-01T")
            customers.write_text(coarser)
            connections: list[int] = []
            for _ in range(3):
                served.process.send_signal(signal.SIGHUP)
                served.hear("reloaded")
                assert ana.execute(query).fetchone() == (True,)
                found = owner.execute("select count(*) from pg_stat_activity where datname = current_database()")
                connections += [number for (number,) in found]
            assert connections[-1] - connections[0] < len(connections) - 1, "each reading leaves a connection behind"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--listen", "0.0.0.0:0"), "served encrypted only"),
        (("--listen", "[::]:0"), "served encrypted only"),
        (("--tls-only",), "served encrypted only"),
        (("--tls-cert", "/nowhere"), "both --tls-cert and --tls-key"),
        (("--token-issuer", "https://login.example"), "both --token-issuer and --token-keys"),
        (("--limit", "nonsense=1"), "there is no limit 'nonsense'"),
        (("--limit", "clients"), "must be a positive integer"),
    ],
)
def test_what_it_does_not_begin_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    """Options that would serve others in the clear, or mean nothing, end it before it serves anybody."""
    command = ["gateway", "--dsn", "host=/nowhere", "--users", str(tmp_path / "users.json"), "--listen", "127.0.0.1:0"]
    with pytest.raises(SystemExit) as caught:
        main([*command, *options])
    assert caught.value.code != 0
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """It is said so in one line, whether there is none, or another's key."""
    authority = Authority(tmp_path)
    (certificate, _), (_, key) = authority.sign("one"), authority.sign("two")
    for first, second in ((tmp_path / "nowhere", key), (certificate, key)):
        with pytest.raises(OperationalError, match="certificate cannot be used"):
            Certificates(first, second).encrypting()


def test_workers_that_cannot_begin_end_it(bank_dsn: str, users: Path, tmp_path: Path) -> None:
    """Wrong policies end all processes at once, with the reason; nobody starts them again and again."""
    (tmp_path / "datagate.yaml").write_text("purposes: [")
    command = [DATAGATE, "gateway", "--dsn", bank_dsn, "--users", str(users), "--policies", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "datagate.yaml:1" in done.stderr
    assert done.stderr.count("datagate.yaml") <= 2
