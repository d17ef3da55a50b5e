"""`datagate effect` in a shell: what a caller sees of every table, and what new policies change of it."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import psycopg
import pytest

from datagate.gate import state_engine
from datagate.stores import StateStore
from tests.frontends.cli.conftest import POLICIES, SERVICE, Bank, Run


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """The bank's policies after a steward's edits: e-mail is shown, balances are rounded more, the region differs."""
    found = tmp_path / "policies"
    shutil.copytree(POLICIES, found)
    text = (found / "customers.yaml").read_text()
    for old, new in (
        ("      email: hash\n", ""),
        ("{round: 1000}", "{round: 5000}"),
        ("= ANY(:principal.regions)", "= 'US'"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    (found / "customers.yaml").write_text(text)
    for path in found.glob("*.yaml"):  # the examples are those of the rules before
        path.write_text(path.read_text().partition("\nexamples:")[0] + "\n")
    return found


def records(out: str) -> list[dict[str, str]]:
    """What was printed as CSV."""
    return list(csv.DictReader(io.StringIO(out)))


def test_what_a_caller_sees_and_what_changes(bank: Bank, run: Run, edited: Path) -> None:
    """Counts are those that the caller's own queries give; with --against only what is not the same is told."""
    engine = state_engine(bank.owner)
    store = StateStore(engine)
    store.grant_service_role(SERVICE)
    store.grant_role("ana", "analyst")
    store.grant_attribute("ana", "regions", ("EU",))
    store.give_consents([str(number) for number in range(1, 500)], "analytics")
    engine.dispose()
    with psycopg.connect(bank.owner) as connection:
        counts: dict[str, int] = dict(
            connection.execute(
                "SELECT region, count(*) FROM bank.customers WHERE customer_id < 500 GROUP BY region"
            ).fetchall()
        )
    seen = run(f"effect --as ana --purpose analytics --format csv {bank.options}")
    assert seen.code == 0, seen.err
    of = {each["relation"]: each for each in records(seen.out)}
    assert of["bank.customers"]["rows"] == str(counts["EU"])
    assert "full_name (redact)" in of["bank.customers"]["columns"]
    assert "ssn" not in of["bank.customers"]["columns"]
    assert of["bank.notes"]["rows"] == "denied"
    assert "no permit in play" in of["bank.notes"]["columns"]

    options = bank.options.replace(str(POLICIES), str(edited))
    changed = run(f"effect --as ana --purpose analytics --format csv {options} --against {POLICIES}")
    assert changed.code == 0, changed.err
    told = {(each["relation"], each["what"]): (each["before"], each["now"]) for each in records(changed.out)}
    assert told["bank.customers", "rows"] == (str(counts["EU"]), str(counts["US"]))
    assert told["bank.customers", "email"] == ("hash", "as it is")
    assert told["bank.customers", "balance"] == ("round 1000", "round 5000")
    assert ("bank.customers", "full_name") not in told
    same = run(f"effect --as ana --purpose analytics --format csv {options} --against {edited}")
    assert records(same.out) == []
