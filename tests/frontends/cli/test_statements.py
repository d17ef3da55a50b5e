"""`datagate query` and `datagate explain`, on a real server."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.backends.postgres.engine import parse_tree
from datagate.stores import StateStore
from tests.frontends.cli.conftest import POLICIES, Bank, Run

AS_ADVISER = "--as ada --purpose advice"
AS_ANALYST = "--as ana --purpose analytics"


@pytest.fixture(scope="module", autouse=True)
def entitled(bank: Bank) -> None:
    """Ada advises in the EU; Ana analyses the EU, where customers 1 to 20 consent."""
    with psycopg.connect(bank.owner, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO datagate.entitlements (principal, kind, name, value, valid_from) VALUES"
            " ('ada', 'role', 'adviser', NULL, '2020-01-01'),"
            " ('ada', 'attribute', 'regions', '[\"EU\"]', '2020-01-01'),"
            " ('ada', 'attribute', 'adviser_id', '1', '2020-01-01'), ('ana', 'role', 'analyst', NULL, '2020-01-01'),"
            " ('ana', 'attribute', 'regions', '[\"EU\"]', '2020-01-01')"
        )
        connection.execute(
            "INSERT INTO datagate.consents SELECT n::text, 'analytics', true, '2020-01-01', NULL"
            " FROM generate_series(1, 20) AS n"
        )
    store = StateStore(create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(bank.owner)))
    store.grant_service_role("cli_service")
    store.close()


def owners(bank: Bank, statement: str) -> list[tuple[object, ...]]:
    """What the owner sees, without a gate."""
    with psycopg.connect(bank.owner) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_rows_as_a_table(run: Run, bank: Bank) -> None:
    """A table has the caller's rows and no others, and says how many."""
    outcome = run(
        f"query {bank.options} {AS_ADVISER}", "SELECT customer_id, region FROM bank.customers ORDER BY 1 LIMIT 3"
    )
    expected = owners(bank, "SELECT customer_id, region FROM bank.customers WHERE region = 'EU' ORDER BY 1 LIMIT 3")
    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0].split() == ["customer_id", "region"]
    assert [line.split() for line in lines[2:5]] == [[str(key), region] for key, region in expected]
    assert lines[-1] == "(3 rows)"


def test_rows_as_csv(run: Run, bank: Bank) -> None:
    """CSV has a header and the values as the server spells them; NULL is empty."""
    sql = "SELECT customer_id, balance, birth_date, NULL::text AS none, 'a,\"b\"' AS odd FROM bank.customers LIMIT 2"
    outcome = run(f"query {bank.options} {AS_ADVISER} --format csv", sql)
    rows = list(csv.reader(io.StringIO(outcome.out)))
    assert rows[0] == ["customer_id", "balance", "birth_date", "none", "odd"]
    assert len(rows) == 3
    assert rows[1][3:] == ["", 'a,"b"']


def test_rows_as_json(run: Run, bank: Bank) -> None:
    """JSON has one object a row; numbers keep every digit, json stays json, the rest is text."""
    sql = "SELECT 12345678901234567890.12345678901234567890 AS n, 'NaN'::float8 AS nan, true AS yes, NULL AS nothing,"
    sql += " '{\"a\": [1, null]}'::jsonb AS j, 'infinity'::date AS day, ARRAY[1, 2] AS list"
    outcome = run(f"query {bank.options} {AS_ADVISER} -f json", sql)
    assert json.loads(outcome.out, parse_float=Decimal) == [
        {
            "n": Decimal("12345678901234567890.12345678901234567890"),
            "nan": "NaN",
            "yes": True,
            "nothing": None,
            "j": {"a": [1, None]},
            "day": "infinity",
            "list": "{1,2}",
        }
    ]
    assert json.loads(run(f"query {bank.options} {AS_ADVISER} -f json", "SELECT 1 AS x WHERE false").out) == []


def test_two_columns_of_one_name_are_no_object(run: Run, bank: Bank) -> None:
    """JSON refuses what an object cannot hold; CSV prints it."""
    outcome = run(f"query {bank.options} {AS_ADVISER} -f json", "SELECT 1 AS x, 2 AS x")
    assert (outcome.code, outcome.out) == (1, "")
    assert "two columns are called 'x'" in outcome.err
    assert run(f"query {bank.options} {AS_ADVISER} -f csv", "SELECT 1 AS x, 2 AS x").out == "x,x\n1,2\n"


def test_the_terminal_obeys_no_cell(run: Run, bank: Bank) -> None:
    """Escape sequences in values reach a table as text."""
    outcome = run(f"query {bank.options} {AS_ADVISER}", "SELECT E'\\x1b[2J[red]' AS evil")
    assert "\\x1b[2J[red]" in outcome.out
    assert "\x1b" not in outcome.out


def test_a_statement_from_standard_input(run: Run, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash reads the statement from standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT count(*) AS n FROM bank.customers"))
    outcome = run(f"query {bank.options} {AS_ADVISER} -f csv -")
    assert outcome.out.split() == [
        "n",
        str(owners(bank, "SELECT count(*) FROM bank.customers WHERE region = 'EU'")[0][0]),
    ]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM bank.nothing", 'relation "bank.nothing" does not exist'),
        ('SELECT * FROM bank."KycReviews"', 'relation "bank.KycReviews" does not exist'),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("DROP TABLE bank.customers", "DROP"),
        ("SELECT pg_sleep(1)", "pg_sleep"),
    ],
)
def test_refusals_are_one_line(run: Run, bank: Bank, sql: str, message: str) -> None:
    """What is refused or wrong exits 1 with one line on standard error, nothing on standard output, no traceback."""
    for command in ("query", "explain"):
        outcome = run(f"{command} {bank.options} {AS_ADVISER}", sql)
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err.startswith("datagate: ")
        assert outcome.err.count("\n") == 1
        assert message in outcome.err


def test_hidden_columns_do_not_exist(run: Run, bank: Bank) -> None:
    """Naming a hidden column is told as the server tells of a misspelt one, in one line."""
    hidden, misspelt = (
        run(f"query {bank.options} {AS_ADVISER}", f"SELECT {name} FROM bank.customers") for name in ("ssn", "xyz")
    )
    assert hidden.err == 'datagate: column "ssn" does not exist\n'
    assert misspelt.err == hidden.err.replace("ssn", "xyz")
    assert (hidden.code, misspelt.code) == (1, 1)


def test_only_stewards_are_told_why(run: Run, bank: Bank) -> None:
    """`explain` says why a relation is denied; `query` says what the caller would be told."""
    asked, explained = (
        run(f"{command} {bank.options} --as zoe --purpose analytics", "SELECT * FROM bank.customers")
        for command in ("query", "explain")
    )
    assert asked.err == 'datagate: relation "bank.customers" does not exist\n'
    assert "no-permit" in explained.err


def test_decisions_are_recorded(run: Run, bank: Bank, tmp_path: Path) -> None:
    """--audit appends one JSON line for each statement, refused ones too."""
    log = tmp_path / "audit.jsonl"
    run(f"query {bank.options} {AS_ADVISER} --audit {log}", "SELECT 1 FROM bank.customers LIMIT 1")
    run(f"query {bank.options} {AS_ADVISER} --audit {log}", "SELECT 1 FROM bank.nothing")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    decisions = [each["statement"]["outcome"] for each in entries if each["kind"] == "decision"]
    assert decisions == ["permitted", "refused"]
    assert [each["result"]["rows"] for each in entries if each["kind"] == "completion"] == [1]


def test_explain_prints_sql_that_is_valid(run: Run, bank: Bank) -> None:
    """What is printed reads as one statement, the traces being comments, and PostgreSQL takes it."""
    outcome = run(
        f"explain {bank.options} {AS_ANALYST}",
        "SELECT c.region, count(*) FROM bank.customers c JOIN bank.accounts USING (customer_id) GROUP BY 1",
    )
    assert outcome.code == 0
    assert len(parse_tree(outcome.out)["stmts"]) == 1
    with psycopg.connect(bank.owner) as connection:
        connection.execute(b"PREPARE printed AS " + outcome.out.encode())


def test_explain_traces_each_part(run: Run, bank: Bank) -> None:
    """Each condition, mask and hidden column comes with its file and line, and the line says so."""
    outcome = run(f"explain {bank.options} {AS_ANALYST}", "SELECT full_name FROM bank.customers WHERE balance > $1")
    text = (POLICIES / "customers.yaml").read_text().splitlines()

    def line(start: str) -> str:
        (found,) = re.findall(rf"^-- *{re.escape(start)}.*customers\.yaml:(\d+):\d+$", outcome.out, re.MULTILINE)
        return text[int(found) - 1]

    assert "regional-analytics" in line("rule     regional-analytics")
    assert "rows: region = ANY" in line("rows     region = ANY(:principal.regions)  [:principal.regions is {EU}]")
    assert "regional-analytics" in line("rows     consent of customer_id to analytics")
    assert "full_name: redact" in line("column   full_name    redact")
    assert "round: 1000" in line("column   balance      round 1000")
    assert "regional-analytics" in line("hidden   ssn, street, phone: regional-analytics shows no such column")
    assert "-- $2" in outcome.out


def test_explain_runs_nothing_and_shows_no_key(run: Run, bank: Bank) -> None:
    """The statement is not run (dividing by zero does not fail), and a mask's key is not printed."""
    outcome = run(f"explain {bank.options} {AS_ANALYST}", "SELECT 1 / (SELECT 0), email FROM bank.customers")
    assert outcome.code == 0
    assert re.search(r"key\.default\.inner bytea = \(secret\)", outcome.out)
    assert "666666" not in outcome.out
    assert "6" * 16 not in outcome.out


def test_explain_traces_mandates_and_references(run: Run, bank: Bank) -> None:
    """Conditions that come from a scope, or from the relation referred to, have their own places."""
    with psycopg.connect(bank.owner, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO datagate.entitlements (principal, kind, name, value, valid_from) VALUES"
            " ('cora', 'role', 'customer', NULL, '2020-01-01'), ('cora', 'attribute', 'customer_id', '7', '2020-01-01')"
        )
        connection.execute(
            "INSERT INTO datagate.mandates (mandate_id, principal, holder, scope, parameters, purposes, valid_from,"
            " sub_delegable) VALUES ('m1', 'cora', 'bot', 'assistant', '{\"customer_id\": 7}', '[\"assistance\"]',"
            " '2020-01-01', 0)"
        )
    caller = "--as cora --actor bot --actor-kind agent --mandate m1 --purpose assistance"
    outcome = run(f"explain {bank.options} {caller}", "SELECT * FROM bank.transactions")
    assert re.search(
        r"rows +its row of bank\.accounts \(by account_id\) is visible.*transactions\.yaml:\d+", outcome.out
    )
    assert re.search(
        r"rows +customer_id = :mandate\.customer_id +\[:mandate\.customer_id is 7\] +.*datagate\.yaml:\d+", outcome.out
    )
    assert re.search(
        r"rows +booked_at > \(:now AT TIME ZONE 'UTC' - interval '90 days'\) .*datagate\.yaml:\d+", outcome.out
    )
    assert re.search(r"hidden .*reference: the scope assistant does not hand over +.*datagate\.yaml:\d+", outcome.out)


def test_usage_errors_exit_2(run: Run, bank: Bank) -> None:
    """What is not understood exits 2: a missing caller, an unknown format, an unknown command."""
    for words in (f"query {bank.options}", f"query {bank.options} {AS_ADVISER} -f xml", "ask", "mandate issue ann"):
        outcome = run(words, *(["SELECT 1"] if words.startswith("query") else []))
        assert outcome.code == 2
        assert "Traceback" not in outcome.err


def test_servers_that_are_not_there(run: Run, tmp_path: Path) -> None:
    """A server that cannot be reached is one line."""
    outcome = run(f"query --dsn 'host={tmp_path} dbname=x' --policies {POLICIES} --as a", "SELECT 1")
    assert outcome.code == 1
    assert outcome.err.startswith("datagate: the database cannot be used: ")
    assert outcome.err.count("\n") == 1
    assert run("check --dsn 'no such thing'").err.startswith("datagate: connection string: ")


def test_a_state_that_may_not_be_read_says_what_to_do(run: Run, bank: Bank) -> None:
    """The role that runs statements may not read who is entitled to what; the error says which option is missing."""
    outcome = run(f"query --dsn '{bank.service}' --policies {POLICIES} {AS_ADVISER}", "SELECT 1")
    assert outcome.code == 1
    assert "permission denied for table" in outcome.err
    assert "--state" in outcome.err


def test_references_name_the_rules_in_play(run: Run, bank: Bank) -> None:
    """Consent that is asked of the relation referred to is traced to the rule for this purpose alone."""
    outcome = run(f"explain {bank.options} {AS_ANALYST}", "SELECT 1 FROM bank.accounts")
    (line,) = [line for line in outcome.out.splitlines() if "consent of customer_id to analytics" in line]
    text = (POLICIES / "customers.yaml").read_text().splitlines()
    (place,) = re.findall(r"customers\.yaml:(\d+)", line)
    assert "regional-analytics" in text[int(place) - 1]


def test_a_missing_state_says_what_to_do(run: Run, empty_dsn: str, tmp_path: Path) -> None:
    """Where the state was not created, the error says how to."""
    (tmp_path / "datagate.yaml").write_text("purposes: {}\n")
    outcome = run(f"query --dsn '{empty_dsn}' --policies {tmp_path} --as a", "SELECT 1")
    assert outcome.code == 1
    assert outcome.err.endswith("create the state with: datagate init\n")
