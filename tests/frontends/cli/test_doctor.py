"""`datagate doctor`: what it finds on a real server, and that the SQL it prints mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.frontends.cli.conftest import POLICIES, Outcome, Run

ROLE = "doctored"
COUNT = "SELECT count(*) FROM bank.customers"


@pytest.fixture
def owner(run: Run, bank_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """The owner's connection, with a role that `datagate init` made, twice."""
    for _ in range(2):
        outcome = run(f"init --dsn '{bank_dsn}' --service-role {ROLE} --policies {POLICIES}")
        assert (outcome.err, outcome.code) == ("", 0)
    with psycopg.connect(bank_dsn, autocommit=True) as connection:
        yield connection
        connection.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())


def consult(run: Run, dsn: str) -> tuple[list[dict[str, str]], Outcome]:
    """What the doctor finds, and how he ends."""
    service = make_conninfo(dsn, user=ROLE)
    outcome = run(f"doctor --dsn '{service}' --state '{dsn}' --policies {POLICIES} --format json")
    assert outcome.err == ""
    found: list[dict[str, str]] = json.loads(outcome.out)["findings"]
    return found, outcome


def serious(found: list[dict[str, str]]) -> list[str]:
    """What is serious, with its place."""
    return [f"{each['what']}: {each['where']}" for each in found if each["severity"] == "serious"]


@pytest.mark.usefixtures("owner")
def test_a_least_privileged_role_is_well(run: Run, bank_dsn: str) -> None:
    """Nothing serious is found of it, and it runs statements through the gate."""
    found, outcome = consult(run, bank_dsn)
    assert serious(found) == []
    assert outcome.code == 0
    assert {each["where"] for each in found if "without a policy" in each["what"]}
    service = make_conninfo(bank_dsn, user=ROLE)
    assert run(f"entitle grant ana --role analyst --attribute 'regions=[\"EU\"]' --dsn '{bank_dsn}'").code == 0
    where = f"--dsn '{service}' --state '{bank_dsn}' --policies {POLICIES}"
    assert run(f"query {where} --as ana --purpose analytics", COUNT).code == 0


ILLS = {
    "the role has SUPERUSER": f"ALTER ROLE {ROLE} SUPERUSER",
    "the role has BYPASSRLS": f"ALTER ROLE {ROLE} BYPASSRLS",
    "the role has CREATEROLE": f"ALTER ROLE {ROLE} CREATEROLE",
    "the role has CREATEDB": f"ALTER ROLE {ROLE} CREATEDB",
    "the role has REPLICATION": f"ALTER ROLE {ROLE} REPLICATION",
    "the role is a member of another role": f"GRANT pg_read_all_data, pg_monitor TO {ROLE}",
    "the role owns the database": f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO {ROLE}',"
    " current_database()); END $$",
    "the role owns a schema": f'CREATE SCHEMA "its Own" AUTHORIZATION {ROLE}',
    "the role owns a relation": f'CREATE TABLE bank."Its table" (); ALTER TABLE bank."Its table" OWNER TO {ROLE}',
    "the role may create in the database": f"DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {ROLE}',"
    " current_database()); END $$",
    "the role may create in a schema": "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "the role may call a function of a dangerous extension": "CREATE EXTENSION lo",
    "a SECURITY DEFINER function without a search_path of its own": 'CREATE FUNCTION bank."De finer"(text) RETURNS text'
    " LANGUAGE sql SECURITY DEFINER AS 'SELECT $1'",
    "a cast that nobody has to name calls a function of somebody's own": "CREATE FUNCTION bank.looks(numeric)"
    " RETURNS inet LANGUAGE sql AS $$ SELECT inet '1.2.3.4' $$;"
    " CREATE CAST (numeric AS inet) WITH FUNCTION bank.looks(numeric) AS IMPLICIT",
    "the role may INSERT": f"GRANT INSERT (region) ON bank.customers TO {ROLE}",
    "the role may TRUNCATE": "GRANT TRUNCATE, TRIGGER, REFERENCES ON bank.customers TO PUBLIC",
    "the role may SELECT": f"GRANT SELECT ON datagate.entitlements, datagate.mandates TO {ROLE}",
    "row_security is off": f"ALTER ROLE {ROLE} SET row_security = off",
    "backslash_quote is on": f"ALTER ROLE {ROLE} SET backslash_quote = on",
}


@pytest.mark.parametrize("what", ILLS)
def test_what_is_printed_mends(run: Run, owner: psycopg.Connection[Any], bank_dsn: str, what: str) -> None:
    """Each ill is found and ends 1; after the SQL that was printed for it nothing serious is left."""
    owner.execute(ILLS[what].encode())
    found, outcome = consult(run, bank_dsn)
    assert outcome.code == 1
    assert what in {each["what"] for each in found if each["severity"] == "serious"}
    for each in found:
        if each["severity"] == "serious":
            owner.execute(each["mend"].encode())
    found, outcome = consult(run, bank_dsn)
    assert serious(found) == []
    assert outcome.code == 0


def test_a_table_for_people(run: Run, owner: psycopg.Connection[Any], bank_dsn: str) -> None:
    """The table says what and where, and what to run."""
    owner.execute(f"ALTER ROLE {ROLE} CREATEDB".encode())
    service = make_conninfo(bank_dsn, user=ROLE)
    outcome = run(f"doctor --dsn '{service}' --state '{bank_dsn}' --policies {POLICIES}")
    assert outcome.code == 1
    assert "the role has" in outcome.out
    assert "serious" in outcome.out


def test_what_cannot_be_looked_at(run: Run, bank_dsn: str) -> None:
    """A database that is not there ends 2, with one line."""
    nowhere = make_conninfo(bank_dsn, dbname="nowhere")
    outcome = run(f"doctor --dsn '{nowhere}' --policies {POLICIES}")
    assert outcome.code == 2
    assert outcome.err.startswith("datagate: ")
    assert outcome.err.count("\n") == 1
