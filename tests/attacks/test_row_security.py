"""Native row-level security beside the gate: what PostgreSQL's own regression test of it tries gives the same here.

``row_security.yaml`` has the cases. Each group is built in two databases: in one the statements run as a role that
native policies hold, in the other through the gate, as a caller whom datagate's policies hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import DatagateError, PolicyError
from datagate.frontends import driver
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring

GROUPS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "row_security.yaml").read_text("utf-8"))
READERS = {"bob": 1, "carol": 2, "dave": 3}
WORDS = """
purposes: {work: Work.}
roles: {reader: Reads., bob: Is bob., carol: Is carol., dave: Is dave.}
attributes: {name: text, level: int}
tags: {plain: Nothing.}
functions: [rls.tell]
"""
START = """
DROP SCHEMA IF EXISTS rls CASCADE;
CREATE SCHEMA rls;
GRANT USAGE ON SCHEMA rls TO PUBLIC;
SET search_path = rls;
CREATE FUNCTION rls.tell(text) RETURNS bool COST 0.0000001 LANGUAGE plpgsql
    AS 'BEGIN RAISE NOTICE ''tell %'', $1; RETURN true; END';
"""
REFUSED_BY_RULES = "a rule for rows"
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
TABLES = (
    "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'rls'::regnamespace ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A group's two databases, and the gate before the second."""

    native: str
    gated: str
    gate: Gate


@pytest.fixture(scope="module")
def databases(postgres: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """The two databases, with the readers' roles and facts."""
    names = ("rls_native", "rls_gated")
    native, gated = (postgres.create_database(name) for name in names)
    with psycopg.connect(native, autocommit=True) as connection:
        for reader in READERS:
            connection.execute(f"CREATE ROLE {reader}".encode())
        for name in names:
            connection.execute(f"ALTER DATABASE {name} SET search_path = rls".encode())
    yield native, gated
    for name in names:
        postgres.drop_database(name)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        for reader in READERS:
            connection.execute(f"DROP ROLE {reader}".encode())


def opened(databases: tuple[str, str], group: dict[str, Any], directory: Path) -> Pair:
    """Build a group's tables on both sides, native policies here and datagate's there."""
    native, gated = databases
    with psycopg.connect(native) as here, psycopg.connect(gated) as there:
        for connection in (here, there):
            connection.execute((START + group["tables"]).encode())
        here.execute(group["native"].encode())
        here.execute(b"GRANT ALL ON ALL TABLES IN SCHEMA rls TO PUBLIC")
        (directory / "datagate.yaml").write_text(WORDS)
        for relation, rules in group["rules"].items():
            columns = [name for (name,) in there.execute(COLUMNS, [f"rls.{relation}"])]
            policy = {
                "relation": f"rls.{relation}",
                "owner": "o@x.example",
                "why": "As in native row-level security.",
                "columns": dict.fromkeys(columns, "plain"),
                "rules": rules,
            }
            (directory / f"{relation}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    store = StateStore(state_engine(gated))
    store.create()
    for reader, level in READERS.items():
        for role in ("reader", reader):
            store.grant_role(reader, role)
        store.grant_attribute(reader, "name", reader)
        store.grant_attribute(reader, "level", level)
    return Pair(native, gated, Gate.open(gated, policies=directory, state=store, keyring=Keyring({})))


def answers(connection: psycopg.Connection[Any], texts: list[str]) -> tuple[list[object], int]:
    """What statements give, and how often the leaky function spoke: once for each row that it was shown."""
    notices: list[psycopg.errors.Diagnostic] = []
    connection.add_notice_handler(notices.append)
    try:
        return [answer(connection, text) for text in texts], len(notices)
    finally:
        connection.remove_notice_handler(notices.append)


def answer(connection: psycopg.Connection[Any], text: str) -> object:
    """What one statement gives: rows as a sorted list, the bytes of a COPY, or how it was refused."""
    try:
        cursor = connection.cursor()
        if text.startswith("COPY"):
            with cursor.copy(text.encode()) as copy:
                return b"".join(map(bytes, copy))
        cursor.execute(text.encode())
        return sorted(map(repr, cursor.fetchall())) if cursor.description is not None else []
    except DatagateError as error:
        return REFUSED_BY_RULES if error.sqlstate == "44000" else error.sqlstate
    except psycopg.Error as error:
        by_rules = "row-level security policy" in (error.diag.message_primary or "")
        return REFUSED_BY_RULES if by_rules else error.sqlstate


def behind(dsn: str) -> dict[str, list[str]]:
    """All tables as they are, past every rule."""
    with psycopg.connect(dsn) as connection:
        names = [name for (name,) in connection.execute(TABLES.encode()) if name != "levels"]
        return {
            name: sorted(repr(row) for row in connection.execute(f"SELECT * FROM ONLY {name}".encode()))
            for name in names
        }


@pytest.mark.parametrize("number", range(len(GROUPS)), ids=[f"{n:02}" for n in range(len(GROUPS))])
def test_as_native_row_security(
    number: int, databases: tuple[str, str], postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The same rows, refusals and tables; no more for leaky functions. What differs by design does so as it says."""
    group = GROUPS[number]
    if postgres.version < group.get("since", 0):
        pytest.skip(f"from PostgreSQL {group['since']} on")
    pair = opened(databases, group, tmp_path)
    wrong: list[object] = []
    with ExitStack() as stack:
        here: dict[str, psycopg.Connection[Any]] = {}
        there: dict[str, psycopg.Connection[Any]] = {}
        for reader in READERS:
            here[reader] = stack.enter_context(psycopg.connect(pair.native, autocommit=True))
            here[reader].execute(f"SET SESSION AUTHORIZATION {reader}".encode())
            caller = Caller.of(reader, purpose="work")
            there[reader] = stack.enter_context(
                driver.connect(pair.gated, caller=caller, gate=pair.gate, autocommit=True)
            )
        for step in group["steps"]:
            for reader in step["as"]:
                texts = [step["text"]] if isinstance(step["text"], str) else step["text"]
                by_design = "gate" in step
                wanted, heard = ([], 0) if by_design else answers(here[reader], texts)
                got, told = answers(there[reader], texts)
                if by_design:
                    expected = REFUSED_BY_RULES if step["gate"] == "44000" else step["gate"]
                    wanted = [expected]
                    assert step["because"]
                elif told > heard and not step.get("tells"):
                    wrong.append(("told", reader, step["text"], heard, told))
                if got != wanted:
                    wrong.append((reader, step["text"], "native", wanted, "gate", got))
                if behind(pair.native) != behind(pair.gated):
                    wrong.append(("tables", reader, step["text"]))
                    pytest.fail("\n".join(map(str, wrong)))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("second", ["one", "two"])
def test_rules_in_a_circle(second: str, databases: tuple[str, str], tmp_path: Path) -> None:
    """A rule that leads back to its own relation, at once or through another, fails when policies are read."""
    permit = {"permit": "round", "to": {"role": "reader"}, "show": "all"}
    group = {
        "tables": "CREATE TABLE one (x int, y int); CREATE TABLE two (x int, y int);",
        "native": "SELECT 1",
        "rules": {
            "one": [{**permit, "rows": {"through": f"rls.{second}", "on": {"x": "y"}}}],
            "two": [{**permit, "rows": {"through": "rls.one", "on": {"x": "y"}}}],
        },
    }
    with pytest.raises(PolicyError):
        opened(databases, group, tmp_path)


def test_how_many() -> None:
    """No case is lost by accident; most are the same on both sides."""
    steps = [step for group in GROUPS for step in group["steps"]]
    by_design = [step for step in steps if "gate" in step]
    assert len(GROUPS) >= 26
    assert len(steps) >= 215
    assert len(by_design) <= len(steps) / 6
