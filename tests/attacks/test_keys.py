"""Class 59: keys that hidden rows have, asked for with rows that the rule refuses.

What: a new row that the caller may not write, under a key that a hidden row may have, in every kind of statement.
Why: PostgreSQL meets the unique index before RETURNING, so a duplicate key would be told of before the rule is.
Defence: the rule looks at the values before they become a row. Native row security, beside it, does so too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import DatagateError
from datagate.frontends import driver
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring

SCHEMA = """
CREATE SCHEMA till;
CREATE DOMAIN till.short AS varchar(4);
CREATE TABLE till.seats (
    id int PRIMARY KEY,
    region text DEFAULT 'EU',
    code till.short UNIQUE,
    during int4range,
    amount numeric(6, 2) DEFAULT 1 CHECK (amount < 1000),
    EXCLUDE USING gist (during WITH &&)
);
INSERT INTO till.seats VALUES (1, 'EU', 'c1', '[10,11)'), (2, 'APAC', 'c2', '[20,21)'), (3, 'EU', 'c3', '[30,31)');
CREATE TABLE till.parts (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE till.parts_eu PARTITION OF till.parts FOR VALUES IN ('EU');
CREATE TABLE till.parts_other PARTITION OF till.parts DEFAULT;
INSERT INTO till.parts VALUES (1, 'EU'), (2, 'APAC');
CREATE TABLE till.dated (
    id int PRIMARY KEY, region text, since date DEFAULT CURRENT_DATE, at timestamptz DEFAULT now(), serial serial
);
INSERT INTO till.dated (id, region) VALUES (1, 'EU'), (2, 'APAC');
CREATE TABLE till.drafts (id int PRIMARY KEY, state text DEFAULT 'new', note text);
INSERT INTO till.drafts VALUES (1, 'open'), (2, 'shut'), (3, 'new');
"""
NATIVE = """
CREATE ROLE till_clerk;
GRANT USAGE ON SCHEMA till TO till_clerk;
GRANT ALL ON ALL TABLES IN SCHEMA till TO till_clerk;
ALTER TABLE till.seats ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON till.seats USING (region = 'EU' AND amount < 100);
ALTER TABLE till.parts ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON till.parts USING (region = 'EU');
ALTER TABLE till.dated ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON till.dated USING (region = 'EU' AND since > '2001-01-01' AND at > '2001-01-01 00:00+00');
ALTER TABLE till.drafts ENABLE ROW LEVEL SECURITY;
CREATE POLICY s ON till.drafts FOR SELECT USING (state IN ('new', 'open'));
CREATE POLICY i ON till.drafts FOR INSERT WITH CHECK (state = 'new');
CREATE POLICY u ON till.drafts FOR UPDATE USING (state = 'open') WITH CHECK (state = 'open');
GRANT USAGE ON ALL SEQUENCES IN SCHEMA till TO till_clerk;
SET ROLE till_clerk
"""
POLICIES = {
    "datagate.yaml": """
purposes: {work: Work.}
roles: {clerk: Works.}
tags: {plain: Nothing.}
""",
    "seats.yaml": """
relation: till.seats
owner: o@x.example
why: Clerks work on the seats of their region.
columns: {id: plain, region: plain, code: plain, during: plain, amount: plain}
rules:
  - permit: own
    to: {role: clerk}
    rows: region = 'EU' AND amount < 100
    show: all
    insert: all
    update: all
    delete: true
""",
    "parts.yaml": """
relation: till.parts
owner: o@x.example
why: Clerks work on the parts of their region.
columns: {id: plain, region: plain}
rules:
  - {permit: own, to: {role: clerk}, rows: region = 'EU', show: all, insert: all, update: all, delete: true}
""",
    "dated.yaml": """
relation: till.dated
owner: o@x.example
why: Clerks work on the rows of their region that are not too old.
columns: {id: plain, region: plain, since: plain, at: plain, serial: plain}
rules:
  - permit: own
    to: {role: clerk}
    rows: region = 'EU' AND since > '2001-01-01' AND at > '2001-01-01 00:00+00'
    show: all
    insert: all
    update: all
    delete: true
""",
    "drafts.yaml": """
relation: till.drafts
owner: o@x.example
why: Clerks make new drafts and work on open ones.
columns: {id: plain, state: plain, note: plain}
rules:
  - {permit: made, to: {role: clerk}, rows: state = 'new', show: all, insert: all}
  - {permit: open, to: {role: clerk}, rows: state = 'open', show: all, update: all}
""",
}
TAKEN, FREE = 2, 7
STATEMENTS = """
INSERT INTO till.seats (id, region) VALUES (KEY, 'APAC');
INSERT INTO till.seats VALUES (KEY, 'APAC');
INSERT INTO till.seats (region, id) VALUES (upper('apac'), KEY) RETURNING id;
INSERT INTO till.seats (id, region) VALUES (KEY, NULL);
INSERT INTO till.seats (id, region) VALUES (40, 'EU'), (KEY, 'APAC'), (41, DEFAULT);
INSERT INTO till.seats (id, region) VALUES (KEY, DEFAULT), (41, 'APAC');
INSERT INTO till.seats (id, amount) VALUES (KEY, 99.999);
INSERT INTO till.seats (id, amount) VALUES (KEY, '99.999');
INSERT INTO till.seats (amount, id) VALUES ('100', KEY);
INSERT INTO till.seats (code, id, amount) VALUES ('xx', KEY, DEFAULT), ('yy', 44, 100);
INSERT INTO till.seats (id, region, code) VALUES (40, 'APAC', 'cKEY');
INSERT INTO till.seats (code, id, region) VALUES ('cKEY', 40, 'APAC');
INSERT INTO till.seats (id, region, during) VALUES (40, 'APAC', '[KEY0,KEY1)');
INSERT INTO till.seats (id, region, during) VALUES (40, 'APAC', int4range(KEY0, KEY0 + 1));
INSERT INTO till.seats (id, region) SELECT KEY, 'APAC';
INSERT INTO till.seats (id, region) SELECT 'KEY', 'APAC' WHERE true LIMIT 1;
INSERT INTO till.seats (id, region) SELECT KEY, 'APAC' UNION ALL SELECT 41, 'EU';
INSERT INTO till.seats (id, region) (SELECT KEY, 'APAC');
INSERT INTO till.seats (id, region) (VALUES (KEY, 'APAC') LIMIT 1);
INSERT INTO till.seats (amount, id) SELECT 99.999, KEY;
INSERT INTO till.seats SELECT KEY, r FROM (VALUES ('APAC')) AS v (r);
INSERT INTO till.seats (id, region) SELECT id + KEY - 1, 'APAC' FROM till.seats WHERE id = 1;
WITH v (r) AS (SELECT 'APAC') INSERT INTO till.seats (id, region) SELECT KEY, r FROM v;
INSERT INTO till.seats (id, region) WITH v (r) AS (SELECT 'APAC') SELECT KEY, r FROM v;
INSERT INTO till.seats AS t (id, region) VALUES (KEY, 'APAC') ON CONFLICT DO NOTHING;
INSERT INTO till.seats (id, region) VALUES (KEY, 'APAC') ON CONFLICT (id) DO NOTHING;
INSERT INTO till.seats (id, region) VALUES (KEY, 'APAC') ON CONFLICT (id) DO UPDATE SET amount = 3;
INSERT INTO till.seats AS t (id, code) VALUES (44, 'c1') ON CONFLICT (code) DO UPDATE SET id = KEY, region = 'APAC';
INSERT INTO till.seats AS t (id, code) VALUES (44, 'c1')
    ON CONFLICT (code) DO UPDATE SET id = t.id + KEY - 1, amount = excluded.amount + 99;
WITH w AS (INSERT INTO till.seats (id, region) VALUES (KEY, 'APAC') RETURNING id) SELECT count(*) FROM w;
UPDATE till.seats SET id = KEY, region = 'APAC' WHERE id = 1;
UPDATE till.seats AS t SET region = 'APAC', id = t.id + KEY - 1 WHERE id = 1 RETURNING id;
UPDATE till.seats SET code = 'cKEY', amount = amount + 99 WHERE id = 1;
UPDATE till.seats SET during = int4range(KEY0, KEY0 + 1), amount = v.n FROM (VALUES (100)) AS v (n) WHERE id = 1;
UPDATE till.seats SET id = KEY, region = (SELECT 'APAC' FROM till.seats AS o WHERE o.id = seats.id) WHERE id = 1;
INSERT INTO till.dated (id, region) VALUES (KEY, 'APAC'), (8, 'EU');
INSERT INTO till.dated (id, region, since, at) VALUES (KEY, 'APAC', DEFAULT, DEFAULT);
INSERT INTO till.dated (id, region) SELECT KEY, 'APAC';
UPDATE till.dated SET id = KEY, since = DEFAULT, region = 'APAC' WHERE id = 1;
INSERT INTO till.parts VALUES (KEY, 'APAC');
INSERT INTO till.parts SELECT KEY, 'APAC';
UPDATE till.parts SET id = KEY, region = 'APAC' WHERE id = 1
"""
MERGES = """
MERGE INTO till.seats AS s USING (VALUES (KEY, 'APAC')) AS v (k, r) ON false
    WHEN NOT MATCHED THEN INSERT (id, region) VALUES (v.k, v.r);
MERGE INTO till.seats AS s USING (VALUES (KEY)) AS v (k) ON s.id = 88 WHEN NOT MATCHED THEN INSERT VALUES (v.k, 'APAC');
MERGE INTO till.seats AS s USING (VALUES (KEY, 'APAC')) AS v (k, r) ON s.id = 1
    WHEN MATCHED THEN UPDATE SET id = v.k, region = v.r
"""
REFUSED = """
UPDATE till.seats SET (id, region) = (KEY, 'APAC') WHERE id = 1;
UPDATE till.seats SET (id, region) = (SELECT KEY, 'APAC') WHERE id = 1;
UPDATE till.seats SET id = KEY, region = CASE WHEN random() < 2 THEN 'APAC' END WHERE id = 1;
INSERT INTO till.seats (id, region) VALUES (KEY, CASE WHEN random() < 2 THEN 'APAC' END);
INSERT INTO till.seats (id, region) VALUES (KEY, (SELECT 'APAC' FROM till.seats TABLESAMPLE bernoulli (99) LIMIT 1))
"""


@dataclass(frozen=True, slots=True)
class Tills:
    """The same tables behind the gate and behind native row security."""

    gated: driver.Connection[Any]
    native: psycopg.Connection[Any]


@pytest.fixture(scope="module")
def tills(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tills]:
    """Two databases with them."""
    directory = tmp_path_factory.mktemp("policies")
    for name, text in POLICIES.items():
        (directory / name).write_text(text)
    gated, native = (postgres.create_database(name) for name in ("tills", "tills_native"))
    for dsn in (gated, native):
        with psycopg.connect(dsn) as connection:
            connection.execute(SCHEMA.encode())
    store = StateStore(state_engine(gated))
    store.create()
    store.grant_role("cleo", "clerk")
    gate = Gate.open(gated, policies=directory, state=store, keyring=Keyring({}))
    caller = Caller.of("cleo", purpose="work")
    with driver.connect(gated, caller=caller, gate=gate) as here, psycopg.connect(native) as there:
        there.execute(NATIVE.encode())
        there.commit()
        yield Tills(here, there)
        there.execute("RESET ROLE")
        there.execute("DROP OWNED BY till_clerk")
        there.execute("DROP ROLE till_clerk")
    postgres.drop_database("tills")
    postgres.drop_database("tills_native")


def told(connection: psycopg.Connection[Any], text: str, parameters: list[object] | None = None) -> tuple[object, ...]:
    """All that is told of a statement, which leaves nothing behind; native security's SQLSTATE is put as ours."""
    try:
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(text.encode(), parameters)
            return cursor.statusmessage, cursor.fetchall() if cursor.description else []
    except DatagateError as error:
        return error.sqlstate, str(error)
    except psycopg.Error as error:
        return ("44000" if error.sqlstate == "42501" else error.sqlstate, "")


def _statements(texts: str, tills: Tills) -> list[str]:
    merges = MERGES.split(";") if tills.native.info.server_version >= 170000 else []
    return [*texts.split(";"), *(merges if texts is STATEMENTS else ())]


def test_a_refused_row_tells_nothing_of_keys(tills: Tills) -> None:
    """The rule's refusal, whether a hidden row has the key or none; as in native row security."""
    for text in _statements(STATEMENTS, tills):
        taken, free = (told(tills.gated, text.replace("KEY", str(key))) for key in (TAKEN, FREE))
        assert taken == free == ("44000", taken[1]), text
        # Of several rows, native security looks at each when it is next.
        assert told(tills.native, text.replace("KEY", str(TAKEN)))[0] == "44000" or "), (" in text, text


def test_what_cannot_be_looked_at_before_is_refused(tills: Tills) -> None:
    """Whatever the key is, with what to write instead; but nothing is where the rule has nothing to say to it."""
    for text in _statements(REFUSED, tills):
        taken, free = (told(tills.gated, text.replace("KEY", str(key))) for key in (TAKEN, FREE))
        assert taken == free, text
        assert taken[0] in ("0A000", "42501"), text
    assert told(tills.gated, "UPDATE till.seats SET (id, code) = (SELECT 7, 'x') WHERE id = 1") == ("UPDATE 1", [])
    assert told(tills.gated, "UPDATE till.seats SET (amount, region) = (2, 'EU') WHERE id = 1") == ("UPDATE 1", [])
    assert told(tills.gated, "UPDATE till.seats SET id = (random() + 7)::int WHERE id = 1") == ("UPDATE 1", [])


def test_permitted_rows_are_told_as_ever(tills: Tills) -> None:
    """Near misses: what is permitted is written, and its duplicate keys are told, as in native row security."""
    for text in _statements(STATEMENTS, tills):
        for key in (TAKEN, FREE, 3):
            text_ = text.replace("KEY", str(key)).replace("APAC", "EU").replace("apac", "eu").replace("NULL", "'EU'")
            text_ = text_.replace("99", "9").replace("'100'", "'10'").replace("100", "10")
            here, there = told(tills.gated, text_), told(tills.native, text_)
            if here[0] in ("23505", "23P01", "23502", "0A000", "44000"):
                assert here[0] == there[0], text_
            else:
                assert here == there, text_


def test_parameters(tills: Tills) -> None:
    """Untyped and typed ones alike: prepared or not, of the column's type or one that is assigned to it."""
    for source in ("VALUES (%s, %s, %s)", "SELECT %s, %s, %s", "VALUES (1, 'EU', 1), (%s, %s, %s)"):
        text = f"INSERT INTO till.seats (id, region, amount) {source}"
        if source.startswith("VALUES (1"):
            text = text.replace("(1, ", "(50, ")
        for key in (TAKEN, FREE):
            assert told(tills.gated, text, [key, "APAC", 1])[0] == "44000"
            assert told(tills.gated, text, [str(key), "EU", "100"])[0] == "44000"
        assert told(tills.gated, text, [FREE, "EU", 1.5])[0] == text.count("), (") * "INSERT 0 2" or "INSERT 0 1"
        assert told(tills.gated, text, [TAKEN, "EU", 1])[0] == "23505"


def test_a_failing_value_fails_as_in_native_security(tills: Tills) -> None:
    """Casts, lengths and constraints are the server's to judge, with its SQLSTATE."""
    for text in """
        INSERT INTO till.seats (id, code) VALUES (50, 'much too long');
        INSERT INTO till.seats (code, id) VALUES ('much too long', 50);
        INSERT INTO till.seats (id, code) SELECT 50, 'much too long';
        INSERT INTO till.seats (id, amount) VALUES (50, 'x');
        INSERT INTO till.seats (id, amount) SELECT 50, 'x';
        INSERT INTO till.seats (id, region) VALUES (NULL, 'EU');
        INSERT INTO till.seats (id, region) SELECT 50;
        INSERT INTO till.seats (id) SELECT 50, 'EU';
        INSERT INTO till.seats (id) VALUES (50, 'EU');
        INSERT INTO till.seats (id, amount) VALUES (50, -5000000);
        INSERT INTO till.seats (id, region) VALUES (50, 5);
        INSERT INTO till.seats (region, id) VALUES (upper('eu'), 'x')
    """.split(";"):
        assert told(tills.gated, text)[0] == told(tills.native, text)[0], text


def test_functions_that_give_several_rows(tills: Tills) -> None:
    """As values they are held to the rule too, beside a value that gives one."""
    text = "INSERT INTO till.seats (id, region) VALUES (generate_series(KEY, KEY + 1), 'EU')"
    assert told(tills.gated, text.replace("KEY", "60")) == ("INSERT 0 2", [])
    for key in (TAKEN, FREE):
        assert told(tills.gated, text.replace("KEY", str(key)).replace("EU", "APAC"))[0] == "44000"


def test_each_arm_of_on_conflict_has_its_own_rule(tills: Tills) -> None:
    """What is proposed must be insertable, and the row that is there updatable, before and after: as in PostgreSQL."""
    for text, expected in [
        (
            "VALUES (1, 'new', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note RETURNING state, note",
            "INSERT 0 1",
        ),
        ("VALUES (4, 'new', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note", "INSERT 0 1"),
        ("SELECT 1, 'new', 'x' ON CONFLICT (id) DO UPDATE SET state = 'open', id = 9", "INSERT 0 1"),
        ("VALUES (1, 'open', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note", "44000"),
        ("VALUES (1, 'new', 'x') ON CONFLICT (id) DO UPDATE SET state = excluded.state", "44000"),
        ("VALUES (1, 'new', 'x') ON CONFLICT (id) DO UPDATE SET state = 'new', id = 2", "44000"),
        ("VALUES (3, 'new', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note", "44000"),
        ("VALUES (2, 'new', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note", "44000"),
        ("VALUES (4, 'open', 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note", "44000"),
    ]:
        here, there = (told(each, f"INSERT INTO till.drafts {text}") for each in (tills.gated, tills.native))
        assert here[0] == there[0] == expected, text
        assert expected == "44000" or here == there, text
