"""What passes: each relation under its guard, everything else as the caller wrote it."""

from __future__ import annotations

import pytest

from tests.verify.world import CATALOG, catalog, check, pair, passes

CARRIED = [
    # Joins.
    "SELECT * FROM {bank.customers}",
    "SELECT c.email FROM {bank.customers AS c} WHERE c.id = $1",
    "SELECT email FROM {customers} WHERE id = 1",
    "SELECT * FROM {customers}, {accounts} WHERE customers.id = accounts.customer_id",
    "SELECT * FROM {customers c} JOIN {accounts a} ON a.customer_id = c.id",
    "SELECT * FROM {customers c} LEFT JOIN {accounts a} ON a.customer_id = c.id",
    "SELECT * FROM {customers c} RIGHT JOIN {accounts a} USING (id)",
    "SELECT j.id FROM {customers c} FULL JOIN {accounts a} USING (id) AS j",
    "SELECT * FROM {customers c} NATURAL JOIN {accounts a}",
    "SELECT * FROM {customers c} CROSS JOIN {customers d}",
    "SELECT j.x FROM ({customers c} JOIN {accounts a} ON true) AS j(x)",
    "SELECT * FROM {customers AS c(a, b)} WHERE a = 1",
    "SELECT * FROM {customers c}, LATERAL (SELECT * FROM {accounts a} WHERE a.customer_id = c.id) AS x",
    "SELECT * FROM {customers c} LEFT JOIN LATERAL (SELECT 1 FROM {accounts a} WHERE a.id = c.id LIMIT 1) x ON true",
    # Subqueries wherever an expression may stand.
    "SELECT (SELECT max(balance) FROM {accounts a} WHERE a.customer_id = c.id) FROM {customers c}",
    "SELECT 1 FROM {customers c} WHERE EXISTS (SELECT 1 FROM {accounts a} WHERE a.customer_id = c.id)",
    "SELECT 1 FROM {customers c} WHERE id IN (SELECT customer_id FROM {accounts})",
    "SELECT 1 FROM {customers c} WHERE (id, 1) NOT IN (SELECT customer_id, 1 FROM {accounts})",
    "SELECT 1 FROM {customers c} WHERE id > ALL (SELECT customer_id FROM {accounts})",
    "SELECT ARRAY(SELECT id FROM {accounts}) FROM {customers c}",
    "SELECT 1 FROM {customers c} ORDER BY (SELECT max(id) FROM {accounts}) NULLS FIRST",
    "SELECT 1 FROM {customers c} LIMIT (SELECT count(*) FROM {accounts}) OFFSET (SELECT min(id) FROM {accounts})",
    "SELECT sum(id) OVER (ORDER BY id ROWS (SELECT min(id) FROM {accounts}) PRECEDING) FROM {customers c}",
    "SELECT count(*) FILTER (WHERE id IN (SELECT id FROM {accounts})) FROM {customers c}",
    "SELECT lower((SELECT email FROM {customers} LIMIT 1))",
    "VALUES (1, (SELECT max(id) FROM {accounts})), (2, 3)",
    "SELECT * FROM generate_series(1, (SELECT max(id) FROM {accounts})) AS s(n)",
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM {accounts}) THEN 1 ELSE 2 END",
    "SELECT 1 FROM {customers c} GROUP BY (SELECT max(id) FROM {accounts}) HAVING count(*) > (SELECT 1 FROM {kyc})",
    "SELECT DISTINCT ON ((SELECT id FROM {accounts} LIMIT 1)) 1",
    "SELECT (ARRAY(SELECT id FROM {accounts}))[(SELECT 1 FROM {kyc})]",
    # Set operations, VALUES, TABLE.
    "SELECT id FROM {customers} UNION SELECT id FROM {accounts}",
    "(SELECT id FROM {customers} ORDER BY 1 LIMIT 1) UNION ALL (SELECT id FROM {accounts}) ORDER BY 1 DESC",
    "SELECT id FROM {customers} INTERSECT ALL (SELECT id FROM {accounts} EXCEPT SELECT id FROM {kyc})",
    "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(n, t) JOIN {customers c} ON c.id = v.n",
    # Grouping, windows, locking.
    "SELECT region, count(*) FROM {customers} GROUP BY region",
    "SELECT region, count(*), grouping(region) FROM {customers} GROUP BY GROUPING SETS ((region), ()), CUBE (id, born)",
    "SELECT rank() OVER w, lag(id, 1) OVER (w ROWS UNBOUNDED PRECEDING) FROM {customers} WINDOW w AS (ORDER BY id)",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY balance) FROM {accounts}",
    "SELECT array_agg(DISTINCT id ORDER BY id DESC) FROM {accounts}",
    "SELECT * FROM {customers c} FOR UPDATE OF c SKIP LOCKED",
    "SELECT DISTINCT region FROM {customers} ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES",
    # Expressions.
    "SELECT c, c.*, row_to_json(c), (c).email FROM {customers c}",
    "SELECT a.b.c FROM (SELECT 1) AS x",
    "SELECT 'x'::text, CAST(1.5 AS numeric(3, 1)), '{1,2}'::int[], DATE '2024-01-01', INTERVAL '2 days ago'",
    "SELECT 'EU'::bank.region_t, 'sad'::mood, 'EU'::region_t",
    "SELECT email LIKE 'a%' ESCAPE '!', email ~ 'x', email SIMILAR TO 'y', email COLLATE \"C\" FROM {customers}",
    "SELECT balance BETWEEN 1 AND 2, region IN ('EU', $1), NULLIF(id, 1), COALESCE(id, 2) FROM {customers}",
    "SELECT born IS NULL, (born IS DISTINCT FROM now()) IS NOT TRUE, extract(year FROM born) FROM {customers}",
    "SELECT current_timestamp(0), current_date, born AT TIME ZONE 'UTC' FROM {customers}",
    "SELECT ROW(1, 2) = ROW(3, 4), ARRAY[[1], [2]], (ARRAY[1, 2])[1:2], GREATEST(1, 2), -id FROM {customers}",
    "SELECT substring(email FROM 1 FOR 2), overlay(email PLACING 'x' FROM 1), trim(email) FROM {customers}",
    "SELECT 1 OPERATOR(pg_catalog.+) 2, 1 OPERATOR(public.<=>) 2 ORDER BY 1 USING <",
    "SELECT json_to_record.a FROM ROWS FROM (json_to_record('{}') AS (a int, b text)) WITH ORDINALITY",
    "SELECT e.value, x.k FROM jsonb_array_elements('[]') AS e, jsonb_each('{}') AS x(k, v)",
    "SELECT (pg_catalog.lower('A')), public.risk(1)",
    "SELECT * FROM xmltable('/r' PASSING '<r/>' COLUMNS o FOR ORDINALITY, a int PATH 'x' DEFAULT 1) AS x",
    "SELECT xmlelement(name a, xmlattributes(id AS b), email) FROM {customers}",
    "SELECT q.total FROM (SELECT sum(id) AS total FROM {accounts}) AS q",
    "SELECT ('bank.customers'::regclass), 'pg_authid'::pg_catalog.regclass",
    # Partitions and heirs named directly, ONLY, quoted names.
    "SELECT * FROM {bank.transactions_2024 AS t}",
    "SELECT * FROM {ONLY bank.transactions t}",
    'SELECT "c"."email" FROM {bank.customers AS c}',
    "SELECT oid, relname FROM {pg_catalog.pg_class}",
]


@pytest.mark.parametrize("template", CARRIED)
def test_guarded_and_otherwise_the_same_passes(template: str) -> None:
    """Every clause carries guards, and no construct of an honest query is refused."""
    passes(template)


@pytest.mark.parametrize(
    "template",
    [
        "SELECT json_array(1, 2), json_object('a': 1), '{}' IS JSON",
        "SELECT json_arrayagg(id), json_objectagg(id: email) FROM {customers}",
        "SELECT json_array(SELECT id FROM {customers})",
        "SELECT json_value(note, '$.a' RETURNING int DEFAULT 0 ON EMPTY), json_exists(note, '$.b') FROM {customers}",
        "SELECT j.a FROM json_table('{}', '$' COLUMNS (a int PATH '$', NESTED PATH '$' COLUMNS (b int))) AS j",
        "SELECT json_scalar(1), json('{}'), json_serialize('{}' RETURNING text)",
    ],
)
def test_sql_json_passes_where_the_server_knows_it(template: str) -> None:
    """PostgreSQL 17's SQL/JSON is carried on PostgreSQL 17."""
    passes(template, of=catalog(server_version=170000))


def test_white_space_comments_and_case_make_no_difference() -> None:
    """Only the tree counts, not its spelling."""
    both = pair("SELECT c.email FROM {bank.customers AS c}")
    check(both.original, both.final.replace("SELECT c.email", '/* hello */ select\n\tC."email"'))


def test_brackets_that_change_nothing_pass() -> None:
    """PostgreSQL's parser drops brackets that do not matter."""
    check("SELECT 1 + 2 * 3", "(SELECT (1) + (2 * 3))")


@pytest.mark.parametrize("sample", ["TABLESAMPLE system (10)", "TABLESAMPLE bernoulli ($1) REPEATABLE (3)"])
def test_the_callers_sample_stands_inside_the_guard(sample: str) -> None:
    """TABLESAMPLE moves to the guarded relation, with or without ONLY."""
    guard = "SELECT g.id AS id, g.x AS x FROM public.kyc AS g {} WHERE g.x > 0"
    check(f"SELECT * FROM kyc AS k {sample}", f"SELECT * FROM ({guard.format(sample)}) AS k")
    only = guard.format(sample).replace("FROM public", "FROM ONLY public")
    check(f"SELECT * FROM ONLY kyc AS k {sample}", f"SELECT * FROM ({only}) AS k")


def test_a_schema_before_a_column_may_go() -> None:
    """``bank.customers.id`` cannot name a guard; ``customers.id`` does, and here nothing else has that name."""
    for column in ("email", "*"):
        check(
            f"SELECT bank.customers.{column} FROM {{}}".format("bank.customers"),
            pair(f"SELECT customers.{column} FROM {{bank.customers}}").final,
        )


def test_deep_but_bounded_nesting_passes() -> None:
    """Two hundred operators in a row are carried."""
    passes("SELECT " + " + ".join(["1"] * 200) + " FROM {customers}")
    assert CATALOG.server_version == 150000
