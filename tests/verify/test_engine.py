"""The verifier's rules held to the engine itself: scope, attribute notation, fences, further GROUP BY columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.model.names import RelationName
from datagate.verify.postgres import Mismatch, MismatchKind, Prescription, verify
from tests.verify.world import CATALOG, FUNCTIONS, refusal

GUARDS = {
    "bank.customers": "SELECT g.id AS id, g.region AS region, g.balance AS balance FROM bank.customers AS g"
    " WHERE g.balance < 3 OR g.balance IS NULL",
    "bank.accounts": "SELECT g.id AS id, g.customer_id AS customer_id, g.balance AS balance FROM bank.accounts AS g"
    " WHERE g.id < 6",
    "public.kyc": "SELECT g.id AS id, g.x AS x FROM public.kyc AS g WHERE g.x > 0",
}
PRESCRIPTIONS = {RelationName.parse(name): Prescription(guard, None) for name, guard in GUARDS.items()}

SETUP = """
CREATE SCHEMA bank;
CREATE TABLE bank.customers (id int PRIMARY KEY, region text, balance int);
CREATE TABLE bank.accounts (id int PRIMARY KEY, customer_id int, balance int);
CREATE TABLE public.kyc (id int PRIMARY KEY, x int);
INSERT INTO bank.customers
  SELECT n, (ARRAY['EU', 'US', NULL])[n % 3 + 1], NULLIF(n % 5, 4) FROM generate_series(1, 9) n;
INSERT INTO bank.accounts SELECT n, NULLIF(n % 4, 0), NULLIF(n % 3, 2) FROM generate_series(1, 7) n;
INSERT INTO public.kyc SELECT n, n % 3 FROM generate_series(1, 4) n;
CREATE TABLE public.secret (v tsvector, note text);
INSERT INTO public.secret VALUES ('classified', 'x');
"""
ENGINE = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with the tables above."""
    with psycopg.connect(postgres.create_database("verify"), autocommit=True) as connection:
        connection.execute(SETUP)
        connection.execute("SET search_path = bank, public")
        yield connection
    postgres.drop_database("verify")


def accepted(original: str, final: str) -> bool:
    """Whether the verifier lets it pass."""
    try:
        verify(original, final, catalog=CATALOG, prescriptions=PRESCRIPTIONS, functions=FUNCTIONS)
    except Mismatch:
        return False
    return True


@st.composite
def scopes(draw: st.DrawFn, depth: int = 3, probe: bool = True) -> str:
    """A query with WITH items named as tables in all places; exactly one FROM, ``@``, names one of them."""
    if depth == 0:
        return "SELECT v FROM @" if probe else "SELECT 1 AS v"
    shape = draw(
        st.sampled_from(
            [
                "SELECT v FROM ({}) AS s",
                "SELECT ({}) AS v",
                "SELECT 1 AS v WHERE EXISTS ({})",
                "SELECT 1 AS v ORDER BY ({})",
                "SELECT s.v FROM generate_series(1, 2) AS g, LATERAL ({}) AS s",
                "({}) UNION ALL ({})",
                "{} UNION ({}) ORDER BY ({})",
                "SELECT 1 AS v LIMIT ({})",
            ]
        )
    )
    items = draw(st.lists(st.sampled_from(["kyc", "accounts", "other"]), max_size=2, unique=True))
    if shape.startswith("{}"):
        shape = shape.replace("{}", "SELECT 1 AS v", 1)
    parts = shape.count("{}") + len(items)
    chosen = draw(st.integers(0, parts - 1)) if probe else -1
    texts = [draw(scopes(depth=draw(st.integers(0, depth - 1)), probe=at == chosen)) for at in range(parts)]
    bodies = ", ".join(f"{name}(v) AS ({texts.pop()})" for name in items)
    recursive = draw(st.sampled_from(["", "RECURSIVE "]))
    return (f"WITH {recursive}{bodies} " if items else "") + shape.format(*texts)


@ENGINE
@given(data=st.data())
def test_scope_is_the_engines(server: psycopg.Connection[Any], data: st.DataObject) -> None:
    """A name passes bare just where PostgreSQL takes it for an item of WITH, and guarded just where for a table."""
    name = data.draw(st.sampled_from(["kyc", "accounts"]))
    template = data.draw(scopes())
    original = template.replace("@", f"{name} AS t(v)")
    is_table = _reads_table(server, original, name)
    guard = GUARDS["public.kyc" if name == "kyc" else "bank.accounts"]
    assert accepted(original, template.replace("@", f"({guard}) AS t(v)")) == is_table
    assert accepted(original, original) == (not is_table)


def _reads_table(server: psycopg.Connection[Any], query: str, name: str) -> bool:
    """What the engine says: a view made of the query depends on the table or does not."""
    try:
        with server.transaction(force_rollback=True):
            server.execute(f"CREATE TEMPORARY VIEW made AS {query}")
            found = server.execute(
                "SELECT EXISTS (SELECT 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
                " WHERE r.ev_class = 'made'::regclass AND d.refobjid = %s::regclass)",
                (name,),
            ).fetchone()
    except psycopg.Error:
        assume(False)
    assert found is not None
    return bool(found[0])


JOINS = [
    "@ CROSS JOIN {a}",
    "@ JOIN {a} ON a.customer_id = c.id",
    "@ LEFT JOIN {a} ON a.customer_id = c.id",
    "@ RIGHT JOIN {a} ON a.customer_id = c.id",
    "@ FULL JOIN {a} ON a.customer_id = c.id",
    "{a} LEFT JOIN @ ON a.customer_id = c.id",
    "{a} LEFT JOIN (@ JOIN {k} ON k.id = c.id) ON a.customer_id = c.id",
    "{k} RIGHT JOIN (@ LEFT JOIN {a} ON a.customer_id = c.id) ON k.id = c.id",
    "@ FULL JOIN {k} USING (id)",
    "@ LEFT JOIN {k} USING (id)",
    "{k} LEFT JOIN @ USING (id)",
    "@ NATURAL JOIN {k}",
    "@ NATURAL LEFT JOIN {a}",
    "{a} NATURAL RIGHT JOIN @",
    "(@ CROSS JOIN {k}) AS j(balance, id, region), {a} AS b",
    "@",
]
CONDITIONS = [
    "c.id > 2",
    "id > 2",
    "c.region = 'EU'",
    "region IS NULL",
    "region = 'US' OR c.id = 1",
    "balance < 2",
    "c.balance IS NULL",
    "c.balance IS NOT NULL",
    "a.id < 4",
    "customer_id IS NULL",
    "x > 1",
    "NOT (region = 'EU')",
    "COALESCE(c.balance, 0) = 0",
    "true",
]


def _named(text: str) -> str:
    named = {"a": ("bank.accounts", "a"), "k": ("public.kyc", "k")}
    for short, (name, alias) in named.items():
        text = text.replace(f"{{{short}}} AS b", f"({GUARDS[name]}) AS b").replace(
            f"{{{short}}}", f"({GUARDS[name]}) AS {alias}"
        )
    return text


def _bare(text: str) -> str:
    return text.replace("{a} AS b", "accounts AS b").replace("{a}", "accounts AS a").replace("{k}", "kyc AS k")


def _rows(server: psycopg.Connection[Any], query: str) -> Counter[Any] | None:
    try:
        return Counter(server.execute(query).fetchall())
    except psycopg.Error:
        return None


@settings(ENGINE, max_examples=250)
@given(data=st.data())
def test_an_accepted_fence_changes_no_answer(server: psycopg.Connection[Any], data: st.DataObject) -> None:
    """Whatever conditions the verifier lets into a fence, the rows are those without it."""
    join = data.draw(st.sampled_from(JOINS))
    where = data.draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3, unique=True))
    copied = data.draw(st.lists(st.sampled_from(where), min_size=1, unique=True))
    query = f"SELECT * FROM {join} WHERE {' AND '.join(f'({each})' for each in where)}"
    guard = f"({GUARDS['bank.customers']}) AS c"
    fence = f"(SELECT * FROM {guard} WHERE {' AND '.join(f'({each})' for each in copied)} OFFSET 0) AS c"
    original = _bare(query).replace("@", "customers AS c")
    plain, fenced = _named(query).replace("@", guard), _named(query).replace("@", fence)
    rows = _rows(server, plain)
    assume(rows is not None)
    assert accepted(original, plain)
    if accepted(original, fenced):
        assert _rows(server, fenced) == rows


@settings(ENGINE, max_examples=250)
@given(data=st.data())
def test_accepted_group_by_columns_change_no_answer(server: psycopg.Connection[Any], data: st.DataObject) -> None:
    """Whatever columns the verifier lets into GROUP BY, the groups are those without them."""
    join = data.draw(st.sampled_from(JOINS)).replace("@", "{c}")
    items = data.draw(
        st.lists(st.sampled_from(["c.id", "id", "k.id", "a.id", "region", "x", "c.id + 0"]), min_size=1, max_size=2)
    )
    extra = data.draw(
        st.lists(st.sampled_from(["c.region", "c.balance", "k.x", "a.balance", "a.customer_id", "c.id"]), min_size=1)
    )
    query = f"SELECT count(*) FROM {join} GROUP BY {', '.join(items)}"
    original = _bare(query).replace("{c}", "customers AS c")
    plain = _named(query).replace("{c}", f"({GUARDS['bank.customers']}) AS c")
    rows = _rows(server, plain)
    assume(rows is not None)
    assert accepted(original, plain)
    longer = f"{plain}, {', '.join(extra)}"
    if accepted(original, longer):
        assert _rows(server, longer) == rows


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT ('SELECT v FROM secret'::text).ts_stat",
        "SELECT x.ts_stat FROM concat('SELECT v FROM secret') AS x",
        "SELECT (x.*).ts_stat FROM concat('SELECT v FROM secret') AS x",
        "SELECT concat.ts_stat FROM concat('SELECT v FROM secret') WHERE EXISTS (SELECT 1 FROM (SELECT 1) AS concat)",
        "SELECT x.ts_stat FROM CAST('SELECT v FROM secret' AS text) AS x",
        "SELECT coalesce.ts_stat FROM COALESCE('SELECT v FROM secret'::text, '') WHERE true",
        "SELECT x.ts_stat FROM ROWS FROM (concat('SELECT v FROM secret')) AS x",
        "SELECT 1 GROUP BY ('SELECT v FROM secret'::text).ts_stat",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''secret''::tsquery FROM secret')",
        "SELECT row_to_json(unnest(('{\"(,)\"}')._secret))",
        "SELECT ('secret').regclass",
        "SELECT '{secret}'::_regclass",
        'SELECT x.a FROM json_to_record(\'{"a": "secret"}\') AS x(a regclass)',
    ],
)
def test_what_reaches_a_table_past_the_parser_is_refused(server: psycopg.Connection[Any], attack: str) -> None:
    """Each of these shows something of a table that no FROM names; PostgreSQL runs it, and the verifier refuses it."""
    assert server.execute(attack).fetchall()
    assert refusal(attack, attack) is MismatchKind.FORBIDDEN
