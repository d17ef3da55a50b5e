"""Class 60: columns of types that name things (regclass, regtype, regrole …), which a policy shows.

What: a literal or parameter that takes the type of such a column, in a value that is written or beside it in a query.
Why: PostgreSQL looks the name up, unseen by the gate: that it finds nothing tells that there is nothing.
Defence: such columns exist for nobody; a column of type oid or text carries the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from datagate.errors import DatagateError
from datagate.frontends import driver
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring

SCHEMA = """
CREATE SCHEMA desk;
CREATE TABLE desk.hidden (x int);
CREATE DOMAIN desk.named AS regclass;
CREATE TABLE desk.jobs (id int PRIMARY KEY, r regclass, ra regclass[], t regtype, d desk.named, o oid);
INSERT INTO desk.jobs (id, r, o) VALUES (1, 'desk.hidden', 16384)
"""
WORDS = "purposes: {work: Work.}\nroles: {clerk: Works.}\ntags: {plain: Nothing.}\n"
JOBS = """
relation: desk.jobs
owner: o@x.example
why: Clerks have all jobs.
columns: {id: plain, r: plain, ra: plain, t: plain, d: plain, o: plain}
rules:
  - {permit: all, to: {role: clerk}, show: all, insert: all, update: all, delete: true}
"""
ATTACKS = [
    "INSERT INTO desk.jobs (id, r) VALUES (2, 'desk.NAME')",
    "INSERT INTO desk.jobs (id, d) SELECT 2, 'desk.NAME'",
    "UPDATE desk.jobs SET ra = '{desk.NAME}'",
    "UPDATE desk.jobs SET (id, t) = (2, 'desk.NAME')",
    "INSERT INTO desk.jobs (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET r = 'desk.NAME'",
    "INSERT INTO desk.jobs VALUES (2, 'desk.NAME')",
    "SELECT coalesce(r, 'desk.NAME') FROM desk.jobs",
    "SELECT r FROM desk.jobs UNION SELECT 'desk.NAME'",
    "SELECT id FROM desk.jobs WHERE ra = '{desk.NAME}'",
    "SELECT r::text FROM desk.jobs",
]


@pytest.fixture
def clerk(empty_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[driver.Connection[tuple[object, ...]]]:
    """Who may do anything with the jobs."""
    directory = tmp_path_factory.mktemp("policies")
    (directory / "datagate.yaml").write_text(WORDS)
    (directory / "jobs.yaml").write_text(JOBS)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(SCHEMA.encode())
    store = StateStore(state_engine(empty_dsn))
    store.create()
    store.grant_role("cleo", "clerk")
    gate = Gate.open(empty_dsn, policies=directory, state=store, keyring=Keyring({}))
    with driver.connect(empty_dsn, caller=Caller.of("cleo", purpose="work"), gate=gate, autocommit=True) as connection_:
        yield connection_


def test_no_name_is_looked_up(clerk: driver.Connection[tuple[object, ...]]) -> None:
    """A name that is there and one that is not are told alike; what such a column holds is shown to nobody."""
    for text in ATTACKS:
        told = []
        for name in ("hidden", "nothing"):
            with pytest.raises(DatagateError) as refused:
                clerk.execute(text.replace("NAME", name).encode())
            told.append((refused.value.sqlstate, str(refused.value).replace(name, "NAME")))
        assert told[0] == told[1], text
        assert "hidden" not in told[0][1], text


def test_other_columns_are_there(clerk: driver.Connection[tuple[object, ...]]) -> None:
    """The rest of the row is read and written as ever."""
    assert clerk.execute("SELECT * FROM desk.jobs").fetchall() == [(1, 16384)]
    assert clerk.execute("INSERT INTO desk.jobs VALUES (2, 16385) RETURNING *").fetchall() == [(2, 16385)]
