"""What the driver's statements leave in the audit, and what the commands make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine
from typer.testing import CliRunner

import datagate
from datagate.audit import JsonLinesSink
from datagate.backends.postgres.fingerprint import fingerprint, normalized
from datagate.frontends.cli import app
from datagate.frontends.cli.audit import KEY_VARIABLE
from datagate.model.caller import Caller
from datagate.stores import StateStore
from tests.audit.records import KEY
from tests.house.source import ROOT

CORA = Caller.of("cora", purpose="self-service")
TOM = Caller.of("cora", actor="tom", mandate="tax-1", purpose="tax")


@pytest.fixture
def journal(bank_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The audit of a few statements: Cora's own, her accountant's, and one that is refused."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for each in (ROOT / "policies").iterdir():
        text = each.read_text("utf-8")
        if each.name == "accounts.yaml":
            text = text.replace("\ncolumns:", "\naudit: {keys: true}\ncolumns:", 1)
            assert "audit:" in text
            assert "data_subject:" in text
        (policies / each.name).write_text(text, "utf-8")
    store = StateStore(
        create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(bank_dsn), poolclass=NullPool)
    )
    store.grant_role("cora", "customer")
    store.grant_attribute("cora", "customer_id", 7)
    if not store.list_mandates(principal="cora"):
        store.issue_mandate(
            "cora", "tom", "tax-accountant", purposes=["tax"], parameters={"customer_id": 7}, mandate_id="tax-1"
        )
    path = tmp_path / "audit.jsonl"
    sink = JsonLinesSink(path, signer=KEY, text=True)
    gate = datagate.Gate.open(bank_dsn, policies=policies, state=store, audit=sink)
    with datagate.connect(bank_dsn, caller=CORA, gate=gate, autocommit=True) as connection:
        assert connection.execute("SELECT customer_id, kind FROM bank.accounts").fetchall()
        connection.execute("SELECT count(*) FROM bank.accounts WHERE kind = 'secret'")
        for bad, error in (
            ("SELECT * FROM bank.no_such", datagate.UndefinedRelation),
            ("SELECT 1/0", datagate.DataError),
        ):
            with pytest.raises(error):
                connection.execute(bad)
    with datagate.connect(bank_dsn, caller=TOM, gate=gate, autocommit=True) as connection:
        connection.execute("SELECT customer_id FROM bank.accounts")
    sink.close()
    monkeypatch.setenv("DATAGATE_AUDIT", str(path))
    monkeypatch.setenv(KEY_VARIABLE, "hmac:" + (b"k" * 32).hex())
    return path


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["audit", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def found(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("search", "--format", "json", *words).splitlines()]


def test_statements_are_recorded_with_how_they_ended(journal: Path) -> None:
    """Each statement has who, what, rules, fingerprint, rows, time and error, and no literal; searches find it."""
    events = found()
    assert [each["outcome"] for each in events] == ["permitted", "permitted", "refused", "permitted", "permitted"]
    first, counted, refused, failed, toms = events
    assert first["rows"] > 0
    assert first["data_subjects"] == {"bank.accounts": ["7"]}
    assert first["microseconds"] > 0
    assert first["columns"]["bank.accounts"]
    assert first["actions"] == ["select"]
    assert first["rules"]
    assert counted["text"] == "SELECT count(*) FROM bank.accounts WHERE kind = ?"
    assert counted["fingerprint"] == fingerprint("select count(*) from bank.accounts where kind='x' -- y")
    assert refused["reason"]
    assert failed["error"] == "22012"
    assert toms["actor_chain"] == [["tax-1", "tom"]]
    assert "secret" not in journal.read_text("utf-8")
    assert found("--actor", "tom") == found("--mandate", "tax-1") == found("--purpose", "tax") == [toms]
    assert found("--outcome", "refused") == [refused]
    assert found("--relation", "bank.accounts") == [first, counted, toms]
    assert found("--fingerprint", counted["fingerprint"]) == [counted]
    assert found("--principal", "nobody") == found("--until", "2020-01-01") == []
    assert len(found("--from", "2020-01-01")) == 5
    assert len(run("tail", "-n", "2", "-f", "json").splitlines()) == 2
    assert "refused" in run("search")


def test_a_data_subject_is_told_who_saw_their_rows(journal: Path) -> None:
    """Rows with the raw key are told as returned, with the delegate; a count is told as within reach, for anybody."""
    assert journal.exists()
    rows = json.loads(run("subject", "7", "-f", "json"))
    assert [(each["how"], each["actor"], each["purpose"]) for each in rows] == [
        ("returned", None, "self-service"),
        ("within reach", None, "self-service"),
        ("returned", "tom", "tax"),
    ]
    others = json.loads(run("subject", "8", "-f", "json"))
    assert {each["how"] for each in others} == {"within reach"}


def test_verify_says_what_it_found(journal: Path) -> None:
    """Verification exits 0 on what was written, 1 after a change, and takes an end that was kept elsewhere."""
    said = run("verify")
    end = said.split("end ")[1].strip()
    assert " 0 unfinished; signed by hmac-sha256" in said
    run("verify", "--expect", end)
    run("verify", "--expect", "1:" + "0" * 64, code=1)
    journal.write_bytes(journal.read_bytes().replace(b'"principal":"cora"', b'"principal":"dora"', 1))
    assert "changed" in run("verify", code=1)


def test_events_in_ocsf(journal: Path) -> None:
    """Each event has what OCSF requires of class 6005, and type_uid is class and activity."""
    assert journal.exists()
    events = [json.loads(line) for line in run("search", "-f", "ocsf").splitlines()]
    assert len(events) == 5
    for each in events:
        assert each["class_uid"] == 6005
        assert each["category_uid"] == 6
        assert each["type_uid"] == 600500 + each["activity_id"]
        assert {"actor", "src_endpoint", "metadata", "severity_id", "time"} <= set(each)
        assert "database" in each
    assert [each["action_id"] for each in events] == [1, 1, 2, 1, 1]
    assert events[-1]["actor"]["invoked_by"] == "cora"
    assert events[3]["status_code"] == "22012"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'secret' -- secret",
        "SELECT $$secret$$, E'secret', U&'secret', interval 'secret', 'secret'::text",
        "EXECUTE p('secret')",
        "PREPARE p AS SELECT 'secret'",
        "SET application_name = 'secret'",
        "COMMENT ON TABLE x IS 'secret'",
        "SELECT * FROM json_table('secret', '$.secret' COLUMNS (a text PATH '$.secret'))",
        "PREPARE TRANSACTION 'secret'",
    ],
)
def test_a_normalized_text_has_no_literals(text: str) -> None:
    """Whatever kind of statement a literal stands in, the kept text does not show it."""
    kept = normalized(text)
    assert kept
    assert "secret" not in kept


def test_a_text_that_does_not_parse_is_not_kept() -> None:
    """There is no safe way to take literals out of what no parser reads."""
    assert normalized("SELECT 'secret") is None
    assert fingerprint("SELECT 'secret") is None
