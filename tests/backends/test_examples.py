"""The examples of policy files, run on real servers: the bank's own, and small ones that must fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.examples import run_examples
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.backends.postgres.scratch import create_scratch
from datagate.errors import PolicyError, Problem
from datagate.gate import Gate, state_engine
from datagate.policy import read_source
from datagate.stores.store import StateStore

POLICIES = Path(__file__).parents[2] / "policies"
NOW = datetime.now(UTC)

WORDS = """
purposes: {study: Studies., care: {why: Care., contains: {care.call: Calls.}}}
roles: {nurse: Cares., guest: Sees little.}
attributes: {ward: text, wards: "text[]", keys: "bytea", until: date}
tags: {plain: Nothing., key: A key.}
scopes:
  proxy:
    why: Somebody else looks.
    parameters: {id: bigint}
    relations: {clinic.patients: {columns: [id, name], rows: id = :mandate.id}}
"""

PATIENTS = """
relation: clinic.patients
owner: o@clinic.example
why: Nurses see their ward.
data_subject: id
columns: {id: key, name: plain, ward: plain, weight: plain, seen_at: plain, tags: plain, scan: plain, extra: plain}
rules:
  - permit: own-ward
    to: {role: nurse}
    for: [care]
    rows: ward = :principal.ward
    show: all
    masks: {name: {keep_first: 1}}
  - permit: studies
    to: {role: nurse}
    for: [study]
    consent: required
    show: [id, weight]
    masks: {id: {pseudonym: {domain: patient}}}
examples:
  types: {seen_at: timestamptz, tags: "text[]", scan: bytea, id: bigint, weight: numeric}
  rows:
    ann: {id: 1, name: Ann, ward: a, weight: 70.123456789012345678901, seen_at: '2024-01-01T00:00:00+01:00'}
    bob: {id: 2, name: Bo'b\\, ward: b, tags: [x, 'y z'], scan: c0ffee, extra: {deep: [1, 2.5, null]}}
  cases:
"""
HOLDS = """
    - as: {role: nurse, ward: a}
      for: care.call
      sees: [ann]
      cells: {ann: {name: 'A**', weight: 70.123456789012345678901, seen_at: '2023-12-31T23:00:00+00:00', tags: null}}
    - as: {role: nurse, ward: b}
      for: care
      sees: [bob]
      cells: {bob: {name: 'B****', tags: [x, 'y z'], scan: c0ffee, extra: {deep: [1, 2.5, null]}}}
    - {as: {role: nurse, ward: a}, for: study, consents: [bob], sees: [bob], hides: [name]}
    - {as: {role: guest}, for: care, denied: true}
    - as: {role: nurse, ward: a}
      actor: {kind: agent}
      mandate: {scope: proxy, parameters: {id: 1}}
      for: care
      sees: [ann]
      hides: [ward]
"""

Prove = Callable[..., list[Problem]]


@pytest.fixture
def prove(empty_dsn: str, tmp_path: Path) -> Prove:
    """Run the clinic's examples in scratch tables; the problems, by line."""

    def run(cases: str, patients: str = PATIENTS, words: str = WORDS, sql: str = "") -> list[Problem]:
        (tmp_path / "datagate.yaml").write_text(words)
        (tmp_path / "patients.yaml").write_text(patients + cases)
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            if sql:
                connection.execute(sql.encode())
            source = read_source(tmp_path, PostgresPredicates())
            problems = create_scratch(connection, source.policies, source.examples)
            if problems:
                return problems
            return run_examples(connection, source.policies, source.examples, read_catalog(connection), NOW)

    return run


def line_of(text: str, cases: str) -> int:
    """The line of a text in the clinic's file."""
    return (PATIENTS + cases)[: (PATIENTS + cases).index(text)].count("\n") + 1


def test_the_banks_examples_hold_without_any_right_on_its_tables(bank_dsn: str) -> None:
    """A role that may read nothing can run them: rows and consents come from the policy files alone."""
    with psycopg.connect(bank_dsn, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS nobody_special")
        owner.execute("CREATE ROLE nobody_special LOGIN")
    with psycopg.connect(make_conninfo(bank_dsn, user="nobody_special"), autocommit=True) as connection:
        catalog = read_catalog(connection)
        source = read_source(POLICIES, PostgresPredicates(catalog.functions))
        assert sum(len(each.cases) for each in source.examples) > 40
        assert run_examples(connection, source.policies, source.examples, catalog, NOW) == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT 1 FROM bank.customers")
    with psycopg.connect(bank_dsn, autocommit=True) as owner:
        owner.execute("DROP ROLE nobody_special")


def test_a_policy_whose_examples_fail_does_not_load(bank_dsn: str, tmp_path: Path) -> None:
    """Opening a gate raises with the place of the case; without the case the same policies load."""
    shutil.copytree(POLICIES, tmp_path / "policies")
    path = tmp_path / "policies" / "region_totals.yaml"
    whole = path.read_text()
    case = "    - {as: {role: analyst, regions: [EU]}, for: analytics, sees: []}\n"
    path.write_text(whole + case)
    with pytest.raises(PolicyError) as caught:
        Gate.open(bank_dsn, policies=tmp_path / "policies")
    line = whole.count("\n") + 1
    assert str(caught.value) == f"{path.as_posix()}:{line}:7: sees eu, should not; mend the rules or the example"
    path.write_text(whole)
    engine = state_engine(bank_dsn)
    assert Gate.open(bank_dsn, policies=tmp_path / "policies", state=StateStore(engine)).policies.relations
    engine.dispose()


def test_what_holds_has_no_problems(prove: Prove) -> None:
    """Rows, masks, consents, mandates and values of many types are what the cases say, to the last digit."""
    assert prove(HOLDS) == []


@pytest.mark.parametrize(
    ("case", "what"),
    [
        ("{as: {role: nurse, ward: a}, for: care, sees: [ann, bob]}", "should see bob, does not"),
        ("{as: {role: nurse, ward: a}, for: care, sees: []}", "sees ann, should not"),
        ("{as: {role: nurse, ward: a}, for: care, denied: true}", "should be denied, sees ann"),
        ("{as: {role: guest}, for: care, sees: []}", "is denied, should not be"),
        ("{as: {role: nurse, ward: a}, for: care, sees: [ann], hides: [ward]}", "ann: column ward should not exist"),
        ("{as: {role: nurse, ward: a}, for: care, sees: [ann], cells: {ann: {name: Ann}}}", "ann.name shows 'A**'"),
        ("{as: {role: nurse, ward: a}, for: study, consents: [], sees: [bob]}", "should see bob, does not"),
    ],
)
def test_a_case_that_does_not_hold_is_told_at_its_place(prove: Prove, case: str, what: str) -> None:
    """Each way in which an example can be wrong gives one problem, at the case."""
    cases = f"    - {case}\n"
    (problem,) = prove(cases)
    assert problem.what.startswith(what)
    assert (problem.source.line, problem.source.column) == (line_of(f"- {case}", cases), 7)


def test_expired_and_revoked_mandates_show_nothing(prove: Prove) -> None:
    """A case may end its mandate; what held before is denied then."""
    case = "    - {{as: {{role: nurse, ward: a}}, actor: {{kind: agent}}, for: care, {0}, {1}}}\n"
    mandate = "mandate: {{scope: proxy, parameters: {{id: 1}}, state: {}}}"
    live = case.format(mandate.format("live"), "sees: [ann]")
    ended = "".join(case.format(mandate.format(state), "denied: true") for state in ("expired", "revoked"))
    assert prove(live + ended) == []


def test_rows_that_do_not_fit_are_told_at_their_place(prove: Prove) -> None:
    """A cell that the column's type does not take is a problem of the row, not of every case."""
    wrong = PATIENTS.replace("scan: c0ffee", "scan: coffee")
    (problem,) = prove(HOLDS, patients=wrong)
    assert problem.what.startswith("row bob: invalid hexadecimal")
    assert problem.source.line == line_of("bob:", HOLDS)


def test_nobody_consents_for_what_names_no_data_subject(prove: Prove) -> None:
    """Consents of rows whose relation has no data subject are a problem of the case."""
    wrong = PATIENTS.replace("data_subject: id\n", "").replace("    consent: required\n", "")
    (problem,) = prove("    - {as: {role: nurse}, for: study, consents: [ann], sees: [ann, bob]}\n", patients=wrong)
    assert "names no data_subject" in problem.what


def test_running_examples_writes_nothing(prove: Prove) -> None:
    """A predicate whose function writes cannot: the examples run in a transaction that only reads."""
    words = WORDS + "functions: [clinic.note]\n"
    patients = PATIENTS.replace("ward = :principal.ward", "clinic.note(ward) = :principal.ward")
    sql = (
        "CREATE SCHEMA clinic; CREATE TABLE clinic.seen (ward text); CREATE FUNCTION clinic.note(text) RETURNS text"
        " LANGUAGE sql AS 'INSERT INTO clinic.seen VALUES ($1) RETURNING ward'"
    )
    (problem,) = prove("    - {as: {role: nurse, ward: a}, for: care, sees: [ann]}\n", patients, words, sql)
    assert "cannot execute INSERT in a read-only transaction" in problem.what


def test_a_type_that_a_bare_server_lacks_is_told(prove: Prove) -> None:
    """Scratch tables are made of types that the server has; what else a file says is a problem, never run as SQL."""
    for type_ in ("clinic.mood", "text); DROP TABLE x; --", "int, b int"):
        (problem,) = prove(HOLDS, patients=PATIENTS.replace("scan: bytea", f'scan: "{type_}"'))
        assert f"type {type_!r} of column scan is not known" in problem.what


def test_scratch_columns_have_the_types_that_examples_and_masks_tell(empty_dsn: str) -> None:
    """The bank's examples hold in scratch tables too, whose types nobody declared."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        source = read_source(POLICIES, PostgresPredicates())
        assert create_scratch(connection, source.policies, source.examples) == []
        catalog = read_catalog(connection)
        assert run_examples(connection, source.policies, source.examples, catalog, NOW) == []
    types = {str(name): {c.name: c.type_text for c in each.columns} for name, each in catalog.relations.items()}
    assert types["bank.customers"]["ip"] == "inet"
    assert types["bank.notes"]["details"] == "jsonb"
    assert types["bank.accounts"]["customer_id"] == "bigint"
    assert types["bank.transactions"]["amount"] == "numeric(14,2)"
