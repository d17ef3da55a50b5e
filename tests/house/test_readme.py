"""The README is true: its programs run and print what it says, its SQL is the gate's own, its commands exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

import datagate
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.frontends.cli import app
from datagate.policy import load_policies
from tests.house.source import ROOT

README = (ROOT / "README.md").read_text("utf-8")
DATABASE, SERVICE, STEWARD = "bank", "reader", "steward"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the README that it begins on."""

    language: str
    text: str
    line: int


def blocks(*languages: str) -> list[Block]:
    """The README's fenced blocks in order, of some languages or of all."""
    found = [
        Block(match[1], match[2], README.count("\n", 0, match.start()) + 1)
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    ]
    return [block for block in found if not languages or block.language in languages]


def unpooled(dsn: str) -> sqlalchemy.Engine:
    """An engine that leaves no connection behind."""
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=sqlalchemy.NullPool
    )


@pytest.fixture
def bank(
    postgres: EmbeddedPostgres, bank_template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """A bank as the README takes it for granted: reached by libpq's environment, with what is known of Ana."""
    owner = postgres.create_database(DATABASE, template=bank_template)
    parts = conninfo_to_dict(owner)
    for variable, part in (("PGHOST", "host"), ("PGPORT", "port"), ("PGUSER", "user")):
        monkeypatch.setenv(variable, str(parts[part]))
    with psycopg.connect(owner) as connection:
        connection.execute(f"CREATE ROLE {SERVICE} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA bank TO {SERVICE}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA bank TO {SERVICE}")
        connection.execute(f"CREATE ROLE {STEWARD} LOGIN")
    state = datagate.StateStore(unpooled(owner))
    state.grant_service_role(SERVICE)
    state.grant_state_reader(STEWARD)
    state.grant_role("ana", "analyst")
    state.grant_attribute("ana", "regions", ("EU",))
    state.give_consents([str(number) for number in range(1, 1001) if number % 3], "analytics")
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    monkeypatch.chdir(tmp_path)
    yield owner
    with psycopg.connect(owner) as connection:
        connection.execute(f"DROP OWNED BY {SERVICE}, {STEWARD}")
    postgres.drop_database(DATABASE)
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute(f"DROP ROLE {SERVICE}, {STEWARD}")


def test_programs_print_what_it_says(bank: str) -> None:
    """Each Python block runs, one after the other; a text block after it is what it printed."""
    assert bank
    names: dict[str, object] = {}
    printed = ""
    with contextlib.ExitStack() as pools:
        for block in blocks("python", "text"):
            if block.language == "python":
                assert printed == "", f"what the program before line {block.line} printed is not shown"
                printed = run(block, names)
                for close in filter(None, map(closing, names.values())):
                    pools.callback(close)
            else:
                assert printed == block.text, f"line {block.line}"
                printed = ""
    assert printed == ""


def run(block: Block, names: dict[str, object]) -> str:
    """Run a Python block; what it printed."""
    out = io.StringIO()
    # Empty lines before it, so that a traceback shows the README's own line.
    program = compile("\n" * block.line + block.text, ROOT / "README.md", "exec")
    with contextlib.redirect_stdout(out):
        exec(program, names)  # noqa: S102 - our own README
    return out.getvalue()


def closing(value: object) -> Callable[[], None] | None:
    """What closes the connections that a value keeps, if it keeps some."""
    if isinstance(value, datagate.StateStore | datagate.Gate):
        return value.close
    return value.dispose if isinstance(value, sqlalchemy.Engine | datagate.GatedEngine) else None


def test_the_query_becomes_what_it_says(bank: str) -> None:
    """The query after is what the gate makes of the query before, but for the ellipses."""
    before, after = blocks("sql")[:2]
    state = datagate.StateStore(unpooled(bank))
    gate = datagate.Gate.open(make_conninfo(bank, user=SERVICE), policies=ROOT / "policies", state=state)
    session = gate.session(datagate.Caller.of("ana", purpose="analytics"), frontend="readme")
    sent = "".join(session.explain(before.text).admitted.text.split())
    position = 0
    for piece in ("".join(part.split()) for part in after.text.split("…")):
        found = sent.find(piece, position)
        assert found >= 0, f"{piece}\nis not in the rest of\n{sent}"
        position = found + len(piece)
    assert position == len(sent)


def test_the_policy_is_one(tmp_path: Path) -> None:
    """The policy file that is shown loads, which runs its examples."""
    (shown,) = blocks("yaml")
    (tmp_path / "customers.yaml").write_text(shown.text, "utf-8")
    words = yaml.safe_load((ROOT / "policies" / "datagate.yaml").read_text("utf-8"))
    for left_out in ("scopes", "restricts"):
        del words[left_out]
    (tmp_path / "datagate.yaml").write_text(yaml.safe_dump(words), "utf-8")
    assert len(load_policies(tmp_path, PostgresPredicates()).relations) == 1


def commands() -> list[list[str]]:
    """What the README has one type into a shell, word by word, without comments."""
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    return [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]


def test_two_commands_suffice() -> None:
    """There are just two commands for a fresh machine: environment, installation, and then the demo or the tests."""
    fresh = [line for block in blocks("sh") for line in block.text.splitlines() if line.startswith("python3")]
    demo, tests = (line.split(" && ") for line in fresh)
    assert demo == ["python3 -m venv .venv", ".venv/bin/pip install -q '.[demo]'", ".venv/bin/datagate demo"]
    assert tests == ["python3 -m venv .venv", ".venv/bin/pip install -q '.[dev]'", ".venv/bin/pytest -n 2"]


def test_commands_do_what_they_say(bank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `datagate` command that is shown succeeds, in their order; the demo has tests of its own."""
    assert bank
    ran = set()
    for program, *words in commands():
        if program == "export":
            for word in words:
                monkeypatch.setenv(*word.split("=", 1))
        elif program == "datagate":
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, (words, done.output, done.exception)
            ran.add(words[0])
    stewards = {"draft", "check", "test", "query", "explain", "effect", "schema", "why"}
    assert ran == {*stewards, "init", "entitle", "consent", "mandate"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"python -m (benchmarks\.\w+)", README))))
def test_figures_have_their_programs(name: str) -> None:
    """Each command beside a figure is a program of benchmarks/."""
    assert (ROOT / name.replace(".", "/")).with_suffix(".py").exists()


def test_files_exist() -> None:
    """Every path that the text names is in the checkout."""
    named = set(re.findall(r"`((?:policies|fixtures|benchmarks|\.ci)/[\w./]*|[A-Z]+\.md)`", README))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_nothing_is_left_to_do() -> None:
    """No figure is missing."""
    assert "TODO" not in README
