"""The way to the server: encryption, passwords, several hosts; with a real primary and a real standby."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import uvloop
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import OperationalError, ProgrammingError
from datagate.frontends.gateway.dialing import open_upstream
from datagate.frontends.gateway.libpq_files import password_for, service_settings
from datagate.frontends.gateway.target import Target
from datagate.stores import StateStore
from fixtures.bank.generate import load
from tests.conftest import chosen_binaries
from tests.frontends.gateway.certifying import Authority
from tests.frontends.gateway.running import SERVICE, Running, make_bank

SECRET = r"pass:word\of the service"  # noqa: S105 - a role of the tests' own server
REGIONS = "select distinct region from bank.customers order by 1"
HBA = """
local all all trust
local replication all trust
hostssl all all 127.0.0.1/32 scram-sha-256
hostnossl all gateway_plain 127.0.0.1/32 password
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upstream")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """Who signs the server's certificate."""
    return Authority(folder, "root")


@pytest.fixture(scope="module")
def primary(authority: Authority) -> Iterator[EmbeddedPostgres]:
    """A server that takes connections over TCP encrypted only, by password, and has a bank."""
    replicating = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
    with EmbeddedPostgres(chosen_binaries()[0], settings=replicating, tcp=True) as server:
        data = Path(str(conninfo_to_dict(server.dsn)["host"])) / "data"
        for found, name in zip(authority.sign("server"), ("server.crt", "server.key"), strict=True):
            shutil.copy(found, data / name)
            shutil.chown(data / name, user=data.stat().st_uid, group=data.stat().st_gid)
            (data / name).chmod(0o600)
        (data / "pg_hba.conf").write_text(HBA)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("alter system set ssl = on")
            connection.execute("create role gateway_plain login password 'plain'")
            connection.execute("select pg_reload_conf()")
        owner = server.create_database("bank")
        with psycopg.connect(owner) as connection:
            load(connection, 100)
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(owner))
        StateStore(engine).create()
        engine.dispose()
        make_bank(owner)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"alter role {SERVICE} password '{SECRET}'".encode())
            while not connection.execute("select 1 from pg_settings where name = 'ssl' and setting = 'on'").fetchone():
                pass
        yield server


def service(primary: EmbeddedPostgres, **more: str) -> str:
    """The service role's way to the bank over TCP."""
    dsn = primary.dsn_for("bank", user=SERVICE, tcp=True)
    return make_conninfo(dsn, **{"password": SECRET, **more})


def test_encrypted_with_channel_binding(primary: EmbeddedPostgres, authority: Authority, folder: Path) -> None:
    """The server's certificate is verified, the password proved by SCRAM bound to the channel; the server says so."""
    root = str(authority.certificate)
    dsn = service(
        primary, sslmode="verify-full", sslrootcert=root, channel_binding="require", require_auth="scram-sha-256"
    )
    with (
        Running(primary.dsn_for("bank"), folder, service=dsn) as running,
        running.connect() as ana,
        psycopg.connect(primary.dsn, autocommit=True) as owner,
    ):
        assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        (encrypted,) = owner.execute(
            "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)"
            f" where usename = '{SERVICE}' and application_name = 'datagate'"
        ).fetchone() or (None,)
        assert encrypted is True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sslmode": "verify-full", "sslrootcert": "{stranger}"}, "cannot be reached"),
        ({"sslmode": "verify-ca", "sslrootcert": "{stranger}"}, "cannot be reached"),
        ({"sslmode": "require", "sslrootcert": "{stranger}"}, "cannot be reached"),
        ({"sslmode": "verify-full", "sslrootcert": "{root}", "host": "localhost", "hostaddr": "127.0.0.1"}, "mismatch"),
        ({"sslmode": "verify-full", "sslrootcert": "/nowhere"}, "cannot be used"),
        ({"sslmode": "disable"}, "refused the connection"),
        ({"sslmode": "require", "password": "wrong"}, "password authentication failed"),
        ({"sslmode": "require", "require_auth": "md5"}, "is not to be given"),
        ({"sslmode": "disable", "user": "gateway_plain", "password": "plain"}, "in the clear"),
        ({"sslmode": "require", "target_session_attrs": "standby"}, "is not standby"),
    ],
)
def test_what_is_no_safe_way(
    primary: EmbeddedPostgres, authority: Authority, folder: Path, given: dict[str, str], told: str
) -> None:
    """A stranger's certificate, another name, none, a wrong password, a proof that is not wanted: no connection."""
    stranger = folder / "stranger.crt"
    if not stranger.exists():
        Authority(folder, "stranger")
    places = {"stranger": str(stranger), "root": str(authority.certificate)}
    dsn = service(primary, **{name: value.format(**places) for name, value in given.items()})
    with pytest.raises(OperationalError, match=told):
        dial(dsn)


def dial(dsn: str) -> None:
    """Open a connection as the pool does, and close it."""

    async def opened() -> None:
        upstream = await open_upstream(Target.read(dsn, ()), 0, 5)
        closed = asyncio.Event()
        upstream.on_lost.append(lambda _: closed.set())
        upstream.close()
        await closed.wait()

    uvloop.run(opened())


@pytest.mark.parametrize(
    "dsn",
    [
        "gssencmode=require",
        "requirepeer=postgres",
        "sslmode=prefer sslnegotiation=direct",
        "sslrootcert=system sslmode=verify-ca",
        "target_session_attrs=prefer-standby",
        "host=a,b port=1,2,3",
        "port=0",
        "service=nowhere",
        "nonsense",
    ],
)
def test_what_is_not_carried_is_refused(dsn: str) -> None:
    """What somebody wrote down to be safe is not passed over; nor is what is no connection string."""
    with pytest.raises(ProgrammingError):
        Target.read(dsn, ())


def test_passwords_and_services_from_files(
    primary: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password comes from a password file, all of it from a service file; and it opens the door."""
    given = {name: str(value) for name, value in conninfo_to_dict(service(primary)).items() if value is not None}
    secret = given.pop("password").replace("\\", r"\\").replace(":", r"\:")
    kept = folder / "passwords"
    kept.write_text(f"# ours\nelsewhere:*:*:*:wrong\n127.0.0.1:{given['port']}:bank:{SERVICE}:{secret}\n*:*:*:*:last\n")
    kept.chmod(0o600)
    services = folder / "services"
    lines = [f"{name}={value}" for name, value in given.items()]
    services.write_text("[bank]\n" + "\n".join([*lines, f"passfile={kept}", "sslmode=require"]) + "\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert Target.read("service=bank", ()).hosts[0].password == SECRET
    dial("service=bank")
    monkeypatch.setenv("PGSERVICE", "bank")
    assert Target.read("application_name=x", ()).user == SERVICE
    kept.chmod(0o644)
    assert password_for(str(kept), "127.0.0.1", int(given["port"]), "bank", SERVICE) is None
    kept.chmod(0o600)
    assert password_for(str(kept), "/run", 1, "x", "y") == "last"
    assert service_settings("bank", str(services), {})["user"] == SERVICE


@pytest.fixture
def standby(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server that follows the primary."""
    binaries = primary.binaries
    home = Path(str(conninfo_to_dict(primary.dsn)["host"]))
    copy = home / "standby"
    command = [str(binaries.bin_dir / "pg_basebackup"), "-D", str(copy), "-R", "--checkpoint=fast", "-X", "stream"]
    subprocess.run([*command, "-d", primary.dsn], check=True, timeout=120, capture_output=True)
    # It has to outlive the primary's own directory, in a place that the server's OS user may enter.
    moved = Path(tempfile.mkdtemp(prefix="datagate-standby-", dir=home.parent))
    shutil.move(copy, moved / "data")
    for place in (moved, *moved.rglob("*")):
        shutil.chown(place, home.stat().st_uid, home.stat().st_gid)
    try:
        with EmbeddedPostgres(binaries, data_dir=moved / "data", settings={"hot_standby": "on"}) as server:
            yield server
    finally:
        shutil.rmtree(moved)


def test_a_standby_takes_over(primary: EmbeddedPostgres, standby: EmbeddedPostgres, folder: Path) -> None:
    """When the primary dies and the standby is promoted, clients between transactions notice nothing but time."""
    hosts = [conninfo_to_dict(server.dsn) for server in (standby, primary)]
    where = {
        "host": ",".join(str(each["host"]) for each in hosts),
        "port": ",".join(str(each["port"]) for each in hosts),
        "target_session_attrs": "primary",
        "dbname": "bank",
    }
    owner = make_conninfo("", **where, user="postgres")
    with Running(owner, folder, service=make_conninfo("", **where, user=SERVICE)) as running, running.connect() as ana:
        assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        assert running.worker.pool._host == 1
        with running.connect() as victim:
            victim.execute("begin")
            victim.execute("select 1")
            primary.stop()
            with psycopg.connect(standby.dsn_for("bank"), autocommit=True) as new:
                new.execute("select pg_promote(true, 60)")
            with pytest.raises(psycopg.OperationalError):
                victim.execute("select 1")
        assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        assert running.worker.pool._host == 0
        assert running.worker.pool.failures == 0
