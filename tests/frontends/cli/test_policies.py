"""`datagate check`, `datagate test`, `datagate schema`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from datagate.policy import json_schema
from tests.frontends.cli.conftest import POLICIES, Bank, Run

FIXTURES = Path(__file__).parents[3] / "fixtures" / "policies"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The bank's policies with a misspelt tag, an unknown purpose, and an example that does not hold."""
    found = tmp_path / "policies"
    shutil.copytree(POLICIES, found)
    _change(found / "advisers.yaml", "email: email", "email: emial")
    _change(found / "notes.yaml", "for: [advice]", "for: [advise]")
    return found


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_policies_without_problems(run: Run, bank: Bank) -> None:
    """Without problems `check` says so and exits 0, with a database and without."""
    for more in ("", f"--dsn '{bank.owner}'"):
        outcome = run(f"check --policies {POLICIES} {more}")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == "8 relations: no problems\n".replace("8", str(len(list(POLICIES.glob("*.yaml"))) - 1))


def test_all_problems_at_once(run: Run, broken: Path) -> None:
    """`check` prints each problem with file, line and column, sorted, and exits 1."""
    outcome = run(f"check {broken}")
    lines = outcome.out.splitlines()
    assert outcome.code == 1
    assert [line.split(":")[0].rpartition("/")[2] for line in lines] == ["advisers.yaml", "notes.yaml"]
    assert "did you mean 'email'?" in lines[0]
    assert "did you mean 'advice'?" in lines[1]
    assert outcome.err == "datagate: 2 problems\n"


def test_problems_as_json(run: Run, broken: Path) -> None:
    """With --json the same problems are an object on standard output, for CI."""
    outcome = run(f"check --json --policies {broken}")
    problems = json.loads(outcome.out)["problems"]
    assert outcome.code == 1
    assert {Path(each["file"]).name for each in problems} == {"advisers.yaml", "notes.yaml"}
    assert all(each["line"] > 0 and each["column"] > 0 and each["message"] for each in problems)
    assert json.loads(run(f"check --json {POLICIES}").out) == {"problems": []}


def test_check_sees_what_the_database_has(run: Run, bank: Bank, broken: Path) -> None:
    """With a database, columns that it lacks or has anew are problems too."""
    shutil.rmtree(broken)
    shutil.copytree(POLICIES, broken)
    _change(broken / "advisers.yaml", "  region: plain\n", "  district: plain\n")
    text = (
        (broken / "advisers.yaml")
        .read_text()
        .replace("region", "district")
        .replace(":principal.districts", ":principal.regions")
    )
    (broken / "advisers.yaml").write_text(text.split("examples:")[0])
    assert run(f"check {broken}").code == 0
    outcome = run(f"check {broken}", DATAGATE_DSN=bank.owner)
    assert outcome.code == 1
    assert "the database has no column 'district' in bank.advisers" in outcome.out
    assert "column 'region' of bank.advisers has no tag" in outcome.out


def test_examples_hold_with_a_database_and_without(run: Run, bank: Bank) -> None:
    """`test` runs every case, on the database or on a private server, and counts them."""
    outcomes = [run(f"test {POLICIES}"), run(f"test {POLICIES} --dsn '{bank.owner}'")]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert outcomes[0].out == outcomes[1].out
    assert "bank.customers: 22 cases, all hold" in outcomes[0].out
    assert outcomes[0].out.splitlines()[-1].endswith("examples: all hold")


def test_an_example_that_fails(run: Run, tmp_path: Path) -> None:
    """A case that does not hold is told with its place, and the exit code is 1."""
    shutil.copytree(POLICIES, tmp_path / "p")
    _change(tmp_path / "p" / "region_totals.yaml", "sees: [eu], cells", "sees: [us], cells")
    _change(tmp_path / "p" / "region_totals.yaml", "cells: {eu: {customers: 412}}", "hides: [balance]")
    outcome = run(f"test {tmp_path / 'p'}")
    assert outcome.code == 1
    text = (tmp_path / "p" / "region_totals.yaml").read_text()
    line = text[: text.index("sees: [us]")].count("\n") + 1
    assert f"region_totals.yaml:{line}:7: should see us, does not" in outcome.out
    assert f"region_totals.yaml:{line}:7: sees eu, should not" in outcome.out
    assert "eu: column balance should not exist" in outcome.out


def test_the_schema_is_printed(run: Run) -> None:
    """`schema` prints the JSON Schema of policy files, which is a valid one."""
    schema = json.loads(run("schema").out)
    assert schema == json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)


def test_a_directory_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """A missing directory is one problem, not a traceback."""
    outcome = run(f"check {tmp_path / 'nowhere'}")
    assert outcome.code == 1
    assert "no such directory" in outcome.out


def test_a_first_draft_is_checked_until_it_is_done(run: Run, bank: Bank, tmp_path: Path) -> None:
    """`draft` lists every column of a table; what is left to say the check names, and nothing is shown before."""
    words = tmp_path / "policies"
    words.mkdir()
    (words / "datagate.yaml").write_text((POLICIES / "datagate.yaml").read_text().partition("scopes:")[0])
    outcome = run(f"draft bank.customers --policies {words} --dsn '{bank.owner}'")
    assert outcome.code == 0
    assert "  customer_id: identifier  # bigint" in outcome.out
    assert "  birth_date: birth-date  # date" in outcome.out
    assert "  full_name: name  # text" in outcome.out
    (words / "customers.yaml").write_text(outcome.out)
    checked = run(f"check {words}")
    assert checked.code == 1
    assert checked.out.count("unknown tag 'choose-a-tag'") == outcome.out.count("choose-a-tag  #") > 0
    (words / "customers.yaml").write_text(outcome.out.replace("choose-a-tag", "plain"))
    assert run(f"check {words} --dsn '{bank.owner}'").code == 0
    wrong = run(f"draft bank.customer --policies {words} --dsn '{bank.owner}'")
    assert (wrong.code, wrong.err) == (
        1,
        "datagate: there is no relation bank.customer; did you mean 'bank.customers'?\n",
    )
