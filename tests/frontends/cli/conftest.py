"""The command line, run in this process as the shell would run it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datagate.frontends.cli import main

POLICIES = Path(__file__).parents[3] / "policies"
SERVICE = "cli_service"
KEY = "00" * 32


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    out: str
    err: str
    code: int


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command, given as one line or as words; the environment has a key, and nothing else of datagate's."""
    for variable in ("DATAGATE_DSN", "DATAGATE_POLICIES", "DATAGATE_STATE", "DATAGATE_AUDIT", "DATAGATE_KEYRING"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DATAGATE_KEY_DEFAULT", KEY)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def invoke(command: str, *words: str, **environment: str) -> Outcome:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*shlex.split(command), *words])
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(captured.out, captured.err, code if isinstance(code, int) else 0)

    return invoke


@dataclass(frozen=True)
class Bank:
    """A bank with the state schema: its owner's connection string, and that of a role that may only read."""

    owner: str
    service: str

    @property
    def options(self) -> str:
        """For commands that run statements: as the service role, the state read by the owner."""
        return shlex.join(["--dsn", self.service, "--state", self.owner, "--policies", str(POLICIES)])


@pytest.fixture(scope="module")
def bank(bank_dsn: str) -> Iterator[Bank]:
    """The bank, with a service role."""
    with psycopg.connect(bank_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {SERVICE} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA bank TO {SERVICE}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA bank TO {SERVICE}")
    yield Bank(bank_dsn, make_conninfo(bank_dsn, user=SERVICE))
    with psycopg.connect(bank_dsn, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {SERVICE}")
        connection.execute(f"DROP ROLE {SERVICE}")
