"""`datagate init`, `entitle`, `consent`, `mandate`: on PostgreSQL, and on SQLite."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.frontends.cli.conftest import POLICIES, SERVICE, Bank, Outcome, Run

Tell = Callable[..., Outcome]


@pytest.fixture
def tell(run: Run, tmp_path: Path) -> Tell:
    """Run a command on a state of its own, in a SQLite file."""
    state = f"sqlite:///{tmp_path / 'state.db'}"
    assert run(f"init --state {state}").code == 0

    def invoke(command: str, *words: str) -> Outcome:
        return run(command, *words, DATAGATE_STATE=state)

    return invoke


def listed(outcome: Outcome) -> list[dict[str, Any]]:
    """What a list command with --format json printed."""
    assert (outcome.code, outcome.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(outcome.out)
    return found


def test_a_decision_follows_what_is_granted_and_withdrawn(run: Run, bank: Bank) -> None:
    """Roles, attributes, consents and mandates told on the command line count for the next statement."""
    dsn = f"--dsn '{bank.owner}'"
    count = "SELECT count(*) FROM bank.customers"

    def asked(caller: str) -> str:
        outcome = run(f"query {bank.options} -f csv {caller}", count)
        return outcome.out.split()[-1] if outcome.code == 0 else outcome.err

    eu = "customer_id = 1"
    assert run(f"init {dsn} --service-role {SERVICE}").out == f"the state is there, and {SERVICE} may read it\n"
    assert "does not exist" in asked("--as ines --purpose analytics")
    assert run(f"entitle grant ines --role analyst --attribute 'regions=[\"EU\"]' {dsn}").code == 0
    assert asked("--as ines --purpose analytics") == "0"
    assert run(f"consent grant 1 analytics {dsn} --policies {POLICIES}").code == 0
    with psycopg.connect(bank.owner) as connection:
        assert connection.execute(f"SELECT region FROM bank.customers WHERE {eu}".encode()).fetchall() == [("EU",)]
    assert asked("--as ines --purpose analytics") == "1"
    assert run(f"consent withdraw 1 analytics {dsn}").code == 0
    assert asked("--as ines --purpose analytics") == "0"
    assert run(f"entitle withdraw ines --role analyst {dsn}").code == 0
    assert "does not exist" in asked("--as ines --purpose analytics")

    assert run(f"entitle grant anna --role customer --attribute customer_id=1 {dsn} --policies {POLICIES}").code == 0
    issue = f"mandate issue anna tom tax-accountant --purpose tax --parameter customer_id=1 --id tax-1 {dsn}"
    assert run(issue).out == "tax-1\n"
    tom = "--as anna --actor tom --mandate tax-1 --purpose tax"
    assert asked(tom) == "1"
    assert run(f"mandate revoke tax-1 {dsn}").code == 0
    assert asked(tom) == "datagate: the mandate of this session is not in force\n"


def test_what_was_granted_is_listed(tell: Tell) -> None:
    """Lists show what was recorded, with types and validity."""
    tell("entitle grant ann --role analyst --role adviser --attribute adviser_id=7 --until 2999-01-01")
    tell("entitle grant ann", "--attribute", 'regions=["EU", "US"]', "--attribute", "note=plain text")
    found = {(each["kind"], each["name"]): each for each in listed(tell("entitle list ann -f json"))}
    assert set(found) == {
        ("role", "analyst"),
        ("role", "adviser"),
        ("attribute", "adviser_id"),
        ("attribute", "regions"),
        ("attribute", "note"),
    }
    assert found["attribute", "regions"]["value"] == ["EU", "US"]
    assert found["attribute", "adviser_id"]["value"] == 7
    assert found["role", "analyst"]["valid_until"] == "2999-01-01T00:00:00+00:00"
    assert listed(tell("entitle list bob -f json")) == []


def test_consents_are_listed(tell: Tell) -> None:
    """A yes and a later no are one answer."""
    tell("consent grant 7 analytics --from 2020-01-01T00:00:00+01:00")
    tell("consent grant 8 analytics")
    tell("consent withdraw 8 analytics")
    answers = listed(tell("consent list -f json"))
    assert [(each["data_subject"], each["answer"]) for each in answers] == [("7", "yes"), ("8", "no")]
    assert answers[0]["valid_from"] == "2019-12-31T23:00:00+00:00"
    assert len(listed(tell("consent list 7 --purpose analytics -f json"))) == 1


def test_mandates_are_listed(tell: Tell) -> None:
    """A mandate and a part of it, sub-delegated; both are listed, ended ones too."""
    first = tell("mandate issue ann bob proxy --purpose care --sub-delegable 1 --until 2999-01-01").out.strip()
    second = tell(f"mandate issue ann eve proxy --purpose care --parent {first}").out.strip()
    assert len({first, second}) == 2
    assert tell(f"mandate revoke {second} --at 2998-01-01").code == 0
    found = {each["id"]: each for each in listed(tell("mandate list --principal ann -f json"))}
    assert found[second]["parent"] == first
    assert found[second]["revoked_at"] == "2998-01-01T00:00:00+00:00"
    assert found[first]["revoked_at"] is None
    assert [each["id"] for each in listed(tell("mandate list --holder eve -f json"))] == [second]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("entitle grant ann --role analist", "did you mean 'analyst'?"),
        ("entitle grant ann --attribute region=EU", "did you mean 'regions'?"),
        ("entitle grant ann --attribute regions=EU", "a list is wanted here, for text[]"),
        ("entitle grant ann --attribute customer_id=x", "a number without quotes is wanted here, for bigint"),
        ("consent grant 1 analitics", "did you mean 'analytics'?"),
        ("consent withdraw 1 x", "the policies know no purpose 'x'"),
        ("mandate issue ann bob taxes --purpose tax", "the policies know no scope 'taxes'"),
        (
            "mandate issue ann bob tax-accountant --purpose tax",
            "the scope tax-accountant needs the parameter customer_id",
        ),
        ("mandate issue ann bob tax-accountant --purpose tax --parameter customer=1", "did you mean 'customer_id'?"),
    ],
)
def test_policies_say_what_can_be_recorded(tell: Tell, command: str, message: str) -> None:
    """With --policies, what they do not know or what is of another type is refused in one line, and not recorded."""
    outcome = tell(f"{command} --policies {shlex.quote(str(POLICIES))}")
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    for each in ("entitle", "consent", "mandate"):
        assert listed(tell(f"{each} list -f json")) == []


def test_values_are_of_the_declared_type(tell: Tell, tmp_path: Path) -> None:
    """With --policies, text that looks like a number stays text, and dates are dates."""
    (tmp_path / "datagate.yaml").write_text("purposes: {}\nattributes: {ward: text, since: date, ratio: numeric}\n")
    words = ("--attribute", "ward=007", "--attribute", "since=2026-01-31", "--attribute", "ratio=1.50")
    assert tell(f"entitle grant ann --policies {tmp_path}", *words).err == ""
    values = {each["name"]: each["value"] for each in listed(tell("entitle list -f json"))}
    assert values == {"ward": "007", "since": {"date": "2026-01-31"}, "ratio": {"numeric": "1.50"}}


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("entitle grant ann", 2, "grant at least one role or attribute"),
        ("entitle withdraw ann", 2, "withdraw at least one role or attribute"),
        ("entitle grant ann --attribute x", 2, "is not of the form name=value"),
        ("entitle grant ann --role r --until tomorrow", 2, "is no time"),
        ("entitle grant ann --role r --from 2027-01-01 --until 2026-01-01", 1, "ends before it begins"),
        ("entitle withdraw ann --role r", 1, "ann has no role r"),
        ("mandate revoke m-1", 1, "there is no mandate m-1"),
        ("mandate issue ann ann s --purpose p", 1, "datagate: "),
        ("mandate issue ann bob s --purpose p --parent m-1", 1, "there is no mandate m-1"),
    ],
)
def test_what_cannot_be_recorded(tell: Tell, command: str, code: int, message: str) -> None:
    """Wrong usage exits 2, what the state does not take 1; each says what is wrong."""
    outcome = tell(command)
    assert outcome.code == code
    assert message in outcome.err
    assert outcome.out == ""


def test_the_state_must_be_named(run: Run) -> None:
    """Without a database or a state, the command says which option is missing."""
    outcome = run("entitle list")
    assert outcome.code == 2
    assert "--dsn" in outcome.err


def test_help_names_every_command(run: Run) -> None:
    """Each command explains itself, and each of its options."""
    top = run("--help")
    for command in ("demo", "check", "test", "schema", "query", "explain", "init", "entitle", "consent", "mandate"):
        assert command in top.out
        told = run(f"{command} --help")
        assert told.code == 0
        assert "Usage: " in told.out
    assert "DATAGATE_DSN" in run("query --help").out
