"""That new rows are held to their check by their values: real rewritings pass, each that is weakened is refused."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from datagate.audit import MemorySink
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import Gate, GateSession, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from datagate.verify.tree import QUERIES, WRITES, read
from tests.attacks.test_keys import MERGES, POLICIES, SCHEMA
from tests.verify.test_writes import Verified, asked_of, has_merge_returning, swapped, without_a_part

STATEMENTS = """
INSERT INTO till.seats (id, region) VALUES (1, 'EU');
INSERT INTO till.seats (id, region, amount) VALUES (1, DEFAULT, $1), (DEFAULT, upper('eu'), 2);
INSERT INTO till.seats (code, id) VALUES ('x', 1) RETURNING id, code AS c;
INSERT INTO till.seats (amount, id) SELECT '7', n FROM generate_series(1, 3) AS n;
INSERT INTO till.seats (id, region) SELECT id + 9, region FROM till.seats ORDER BY amount LIMIT 2;
INSERT INTO till.seats AS t (id, code) VALUES (4, 'c1') ON CONFLICT (code) DO UPDATE SET id = 5, amount = t.amount + 1;
INSERT INTO till.drafts (id, note) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note;
INSERT INTO till.drafts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET state = 'open', id = 4 RETURNING note;
UPDATE till.seats SET id = 5, region = 'EU' WHERE id = 1;
UPDATE till.seats AS t SET region = v.r, code = v.c FROM (VALUES ('EU', 'y')) AS v (r, c) WHERE t.id = 1 RETURNING t.id
""".split(";")


@pytest.fixture(scope="module")
def session(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateSession]:
    """The clerk's way through the gate of the tills."""
    directory = tmp_path_factory.mktemp("policies")
    for name, text in POLICIES.items():
        (directory / name).write_text(text)
    dsn = postgres.create_database("verified_tills")
    with psycopg.connect(dsn) as connection:
        connection.execute(SCHEMA.encode())
    store = StateStore(state_engine(dsn))
    store.create()
    store.grant_role("cleo", "clerk")
    gate = Gate.open(dsn, policies=directory, state=store, keyring=Keyring({}), audit=MemorySink())
    yield gate.session(Caller.of("cleo", purpose="work"), frontend="test")
    postgres.drop_database("verified_tills")


@pytest.fixture(scope="module")
def verified(session: GateSession) -> list[Verified]:
    """What the verifier was asked for each of the statements."""
    merges = MERGES.replace("KEY", "5").split(";") if has_merge_returning(session) else []
    return asked_of(session, [*STATEMENTS, *merges])


def test_the_unchanged_pass(verified: list[Verified]) -> None:
    """And each looks at its values."""
    assert not [each.original for each in verified if each.refuses(each.final)]
    assert not [each.original for each in verified if each.final.count("refuse_row(") < 2]


CHANGES = [
    ("IS NOT TRUE", "IS TRUE"),
    ("NOT EXISTS (SELECT 1", "EXISTS (SELECT 1"),
    ("(SELECT 1 FROM", "(SELECT 1 FROM till.seats,"),
    (" OPERATOR(pg_catalog.=) 'EU'", " OPERATOR(pg_catalog.=) 'APAC'"),
    (" OPERATOR(pg_catalog.<) 100", " OPERATOR(pg_catalog.>) 100"),
    ("CAST(1 AS", "CAST(2 AS"),
    ("CAST('EU' AS", "CAST('APAC' AS"),
    ("CAST('EU' AS", "CAST('EU'::text AS"),
    ('AS "pg_catalog"."numeric"(6,2))', 'AS "pg_catalog"."numeric"(6,1))'),
    ('AS "pg_catalog"."text")', 'AS "public"."text")'),
    ('("amount", "region") WHERE', '("region", "amount") WHERE'),
    ("WHEN datagate.refuse_row('till.seats')", "WHEN false"),
    (" OR (drafts.state", " OR true OR (drafts.state"),
    ("(drafts.state OPERATOR(pg_catalog.=) 'new') OR ", ""),
    (" 'open' THEN true ELSE datagate.refuse_row('till.drafts')", " 'open' THEN true ELSE true"),
    ("WHEN datagate.refuse_row('till.seats')", "WHEN NOT datagate.refuse_row('till.seats')"),
    (') AS "datagate: rows" (', ' OFFSET 1) AS "datagate: rows" ('),
    ('FROM (SELECT CAST("datagate: rows"', 'FROM (SELECT DISTINCT CAST("datagate: rows"'),
    ('CAST("datagate: rows"."region"', 'CAST("datagate: rows"."id"'),
    ('"t"."amount" AS "amount"', '"t"."id" AS "amount"'),
    ('"seats"."amount" AS "amount"', '5 AS "amount"'),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_weakened_text_is_refused(verified: list[Verified], old: str, new: str) -> None:
    """Wherever the piece stands, changing it there is refused; and it stands somewhere."""
    found = 0
    for each in verified:
        for place in range(each.final.count(old)):
            parts = each.final.split(old)
            found += 1
            mutant = f"{old.join(parts[: place + 1])}{new}{old.join(parts[place + 1 :])}"
            assert each.refuses(mutant), (each.original, mutant)
    assert found


def test_every_missing_or_swapped_part_is_refused(verified: list[Verified]) -> None:
    """Any node of the final tree that is in a list, any field that is a node, and any two neighbours."""
    for each in verified:
        tree = read(each.final, QUERIES | WRITES)
        for mutant in (*without_a_part(tree), *swapped(tree)):
            assert each.refuses_tree(mutant), (each.original, mutant)


def test_a_copy_that_is_not_the_value_is_refused(verified: list[Verified]) -> None:
    """The check looks at what is written, and at nothing else: a value is changed in each of its places in turn."""
    for each in verified:
        places = each.final.count("'EU'")
        for place in range(places):
            parts = each.final.split("'EU'")
            mutant = "'US'".join("'EU'".join(part) for part in (parts[: place + 1], parts[place + 1 :]))
            assert each.refuses(mutant), (each.original, mutant)
