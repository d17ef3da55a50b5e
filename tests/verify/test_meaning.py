"""Nothing of the caller's text is lost, added or changed."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import MismatchKind
from tests.verify.world import check, pair, refusal

CHANGES = [
    ("WHERE id = 1", "WHERE id = 2"),
    ("WHERE id = 1", "WHERE id = '1'"),
    ("WHERE id = 1", "WHERE id = 1.0"),
    ("WHERE id = 1", "WHERE id <> 1"),
    ("WHERE id = 1", "WHERE NOT id = 1"),
    ("WHERE id = 1", "WHERE 1 = id"),
    ("WHERE id = 1", "WHERE id = $1"),
    ("WHERE id = 1", "WHERE id = 1 OR true"),
    ("WHERE id = 1", "WHERE id = 1 AND true"),
    ("WHERE id = 1", ""),
    ("", "WHERE true"),
    ("WHERE id = $1", "WHERE id = $2"),
    ("WHERE id = 1 AND region = 'EU'", "WHERE id = 1"),
    ("WHERE id = 1 AND region = 'EU'", "WHERE id = 1 OR region = 'EU'"),
    ("WHERE id = 1 AND region = 'EU'", "WHERE region = 'EU' AND id = 1"),
    ("WHERE (id = 1 OR id = 2) AND id = 3", "WHERE id = 1 OR id = 2 AND id = 3"),
    ("WHERE region = 'EU'", "WHERE region = 'eu'"),
    ("WHERE region = 'EU'", "WHERE region = E'EU\\t'"),
    ("WHERE region = 'EU'", 'WHERE region = "EU"'),
    ("WHERE id IN (1, 2)", "WHERE id IN (1)"),
    ("WHERE id IN (1, 2)", "WHERE id NOT IN (1, 2)"),
    ("WHERE id IN (1, 2)", "WHERE id = ANY (ARRAY[1, 2])"),
    ("WHERE id = ANY ($1)", "WHERE id = ALL ($1)"),
    ("WHERE email LIKE 'a%'", "WHERE email ILIKE 'a%'"),
    ("WHERE email LIKE 'a%'", "WHERE email NOT LIKE 'a%'"),
    ("WHERE email !~ ANY (ARRAY['a'])", "WHERE NOT email ~ ANY (ARRAY['a'])"),
    ("WHERE id BETWEEN 1 AND 2", "WHERE id BETWEEN SYMMETRIC 1 AND 2"),
    ("WHERE id IS NULL", "WHERE id IS NOT NULL"),
    ("WHERE (id = 1) IS TRUE", "WHERE (id = 1) IS NOT FALSE"),
    ("WHERE id::text = '1'", "WHERE id = '1'"),
    ("WHERE id::text = '1'", "WHERE id::varchar = '1'"),
    ("WHERE id::numeric(3, 1) = 1", "WHERE id::numeric(3) = 1"),
    ("WHERE '{1}'::int[] = '{1}'", "WHERE '{1}'::int = '{1}'"),
    ("WHERE born > INTERVAL '2 days ago'", "WHERE born > INTERVAL '2 days'"),
    ("WHERE email COLLATE \"C\" > 'a'", "WHERE email > 'a'"),
    ("WHERE EXISTS (SELECT 1)", "WHERE NOT EXISTS (SELECT 1)"),
    ("WHERE id IN (SELECT 1)", "WHERE id = (SELECT 1)"),
    ("WHERE id > ALL (SELECT 1)", "WHERE id > ANY (SELECT 1)"),
    ("ORDER BY id", "ORDER BY id DESC"),
    ("ORDER BY id", "ORDER BY id NULLS FIRST"),
    ("ORDER BY id DESC", "ORDER BY id DESC NULLS FIRST"),
    ("ORDER BY id NULLS LAST", "ORDER BY id NULLS FIRST"),
    ("ORDER BY id", "ORDER BY 1"),
    ("ORDER BY id", ""),
    ("ORDER BY id, email", "ORDER BY email, id"),
    ("ORDER BY id USING <", "ORDER BY id USING >"),
    ("LIMIT 10", "LIMIT 11"),
    ("LIMIT 10", ""),
    ("LIMIT 10", "LIMIT 10 OFFSET 1"),
    ("LIMIT 10", "OFFSET 10"),
    ("LIMIT ALL", ""),
    ("OFFSET 0", ""),
    ("ORDER BY id FETCH FIRST 1 ROW WITH TIES", "ORDER BY id FETCH FIRST 1 ROW ONLY"),
    ("FOR UPDATE", ""),
    ("FOR UPDATE", "FOR SHARE"),
    ("FOR UPDATE", "FOR UPDATE NOWAIT"),
    ("FOR UPDATE OF customers", "FOR UPDATE"),
    ("GROUP BY id", "GROUP BY email"),
    ("GROUP BY id, email", "GROUP BY email, id"),
    ("GROUP BY id, email", "GROUP BY id"),
    ("GROUP BY ROLLUP (id)", "GROUP BY CUBE (id)"),
    ("GROUP BY GROUPING SETS ((id), ())", "GROUP BY GROUPING SETS ((id))"),
    ("GROUP BY DISTINCT ROLLUP (id)", "GROUP BY ROLLUP (id)"),
    ("HAVING count(*) > 1", "HAVING count(*) > 2"),
    ("HAVING count(*) > 1", ""),
    ("WINDOW w AS (ORDER BY id)", "WINDOW w AS (ORDER BY id DESC)"),
    ("WINDOW w AS (ROWS 1 PRECEDING)", "WINDOW w AS (ROWS 2 PRECEDING)"),
    ("WINDOW w AS (ROWS 1 PRECEDING)", "WINDOW w AS (RANGE 1 PRECEDING)"),
    ("WINDOW w AS (ROWS 1 PRECEDING EXCLUDE TIES)", "WINDOW w AS (ROWS 1 PRECEDING)"),
    ("UNION SELECT 1", "UNION ALL SELECT 1"),
    ("UNION SELECT 1", "INTERSECT SELECT 1"),
    ("UNION SELECT 1", ""),
    ("UNION SELECT 1 EXCEPT SELECT 2", "UNION (SELECT 1 EXCEPT SELECT 2)"),
]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_changed_clause_is_refused(before: str, after: str) -> None:
    """Each clause counts, to the last flag."""
    template = "SELECT id FROM {customers} "
    both = pair(template + before)
    check(both.original, both.final)
    assert refusal(both.original, pair(template + after).final) is MismatchKind.TREE


@pytest.mark.parametrize(
    ("original", "final"),
    [
        ("SELECT id", "SELECT email"),
        ("SELECT id, email", "SELECT email, id"),
        ("SELECT id, email", "SELECT id"),
        ("SELECT id", "SELECT id, email"),
        ("SELECT id", "SELECT *"),
        ("SELECT *", "SELECT c.*"),
        ("SELECT c.id", "SELECT id"),
        ("SELECT c.id", "SELECT d.id"),
        ("SELECT c", "SELECT c.*"),
        ("SELECT id AS x", "SELECT id AS y"),
        ("SELECT id AS x", "SELECT id"),
        ("SELECT lower(email)", "SELECT lower(email) AS lower"),
        ('SELECT id AS "X"', "SELECT id AS x"),
        ("SELECT DISTINCT id", "SELECT id"),
        ("SELECT DISTINCT ON (id) id", "SELECT DISTINCT id"),
        ("SELECT DISTINCT ON (id) id", "SELECT DISTINCT ON (email) id"),
        ("SELECT count(*)", "SELECT count(id)"),
        ("SELECT count(id)", "SELECT count(DISTINCT id)"),
        ("SELECT count(id)", "SELECT count(id) FILTER (WHERE true)"),
        ("SELECT count(id)", "SELECT count(id) OVER ()"),
        ("SELECT count(id)", "SELECT sum(id)"),
        ("SELECT lower(email)", "SELECT pg_catalog.lower(email)"),
        ("SELECT concat(VARIADIC $1)", "SELECT concat($1)"),
        ("SELECT array_agg(id ORDER BY id)", "SELECT array_agg(id)"),
        ("SELECT substring(email, 1, 2)", "SELECT substring(email, 1)"),
        ("SELECT date_trunc(region, now())", "SELECT date_trunc('region', now())"),
        ("SELECT current_timestamp(0)", "SELECT current_timestamp"),
        ("SELECT current_timestamp", "SELECT now()"),
        ("SELECT 1", "SELECT 1.0"),
        ("SELECT 1", "SELECT '1'"),
        ("SELECT 1", "SELECT true"),
        ("SELECT 0", "SELECT NULL"),
        ("SELECT 0", "SELECT false"),
        ("SELECT ''", "SELECT NULL"),
        ("SELECT b'1'", "SELECT x'1'"),
        ("SELECT 1 - 2 - 3", "SELECT 1 - (2 - 3)"),
        ("SELECT -id", "SELECT id"),
        ("SELECT (ARRAY[1])[1]", "SELECT (ARRAY[1])[1:1]"),
        ("SELECT (ARRAY[1])[1:]", "SELECT (ARRAY[1])[:1]"),
        ("SELECT CASE WHEN id = 1 THEN 2 END", "SELECT CASE WHEN id = 1 THEN 2 ELSE 3 END"),
        ("SELECT CASE id WHEN 1 THEN 2 END", "SELECT CASE WHEN id = 1 THEN 2 END"),
        ("SELECT GREATEST(id, 1)", "SELECT LEAST(id, 1)"),
        ("SELECT '{}'::jsonb -> ''", "SELECT '{}'::jsonb"),
        ("SELECT xmlelement(name a)", "SELECT xmlelement(name b)"),
        ("SELECT ROW(1, 2)", "SELECT (1, 2)"),
        ("SELECT 'bank.customers'::regclass", "SELECT 'bank.accounts'::regclass"),
    ],
)
def test_a_changed_select_list_is_refused(original: str, final: str) -> None:
    """What is computed, and under which name."""
    rest = " FROM {customers AS c}"
    check(pair(original + rest).original, pair(original + rest).final)
    assert refusal(pair(original + rest).original, pair(final + rest).final) is MismatchKind.TREE


@pytest.mark.parametrize(
    ("original", "final"),
    [
        ("{customers c} JOIN {accounts a} ON c.id = a.id", "{customers c} JOIN {accounts a} ON c.id = a.customer_id"),
        ("{customers c} JOIN {accounts a} ON c.id = a.id", "{customers c} LEFT JOIN {accounts a} ON c.id = a.id"),
        ("{customers c} LEFT JOIN {accounts a} ON true", "{customers c} RIGHT JOIN {accounts a} ON true"),
        ("{customers c} LEFT JOIN {accounts a} ON true", "{accounts a} LEFT JOIN {customers c} ON true"),
        ("{customers c} CROSS JOIN {accounts a}", "{customers c} NATURAL JOIN {accounts a}"),
        ("{customers c} CROSS JOIN {accounts a}", "{customers c}, {accounts a}"),
        ("{customers c} JOIN {accounts a} USING (id)", "{customers c} JOIN {accounts a} ON c.id = a.id"),
        ("{customers c} JOIN {accounts a} USING (id)", "{customers c} JOIN {accounts a} USING (id, balance)"),
        ("{customers c} JOIN {accounts a} USING (id) AS j", "{customers c} JOIN {accounts a} USING (id)"),
        ("({customers c} JOIN {accounts a} ON true) AS j", "({customers c} JOIN {accounts a} ON true) AS k"),
        ("({customers c} JOIN {accounts a} ON true) AS j", "{customers c} JOIN {accounts a} ON true"),
        (
            "{customers c} LEFT JOIN {accounts a} ON true JOIN {kyc k} ON true",
            "{customers c} LEFT JOIN ({accounts a} JOIN {kyc k} ON true) ON true",
        ),
        ("{customers c}, LATERAL (SELECT 1) x", "{customers c}, (SELECT 1) x"),
        ("{customers c}, (SELECT 1) x", "{customers c}"),
        ("{customers c}, (SELECT 1) x", "(SELECT 1) x, {customers c}"),
        ("generate_series(1, 2) AS c", "generate_series(1, 3) AS c"),
        ("generate_series(1, 2) WITH ORDINALITY AS c", "generate_series(1, 2) AS c"),
        ("json_to_record('{}') AS c(id int)", "json_to_record('{}') AS c(id text)"),
        ("(VALUES (1), (2)) AS c(id)", "(VALUES (1)) AS c(id)"),
        ("(VALUES (1), (2)) AS c(id)", "(VALUES (1), (2)) AS c(x)"),
        (
            "xmltable('/r' PASSING '<r/>' COLUMNS o FOR ORDINALITY) AS c",
            "xmltable('/r' PASSING '<r/>' COLUMNS o int) AS c",
        ),
    ],
)
def test_a_changed_from_is_refused(original: str, final: str) -> None:
    """Kind, order, nesting, condition and names of joins."""
    check(pair(f"SELECT 1 FROM {original}").original, pair(f"SELECT 1 FROM {original}").final)
    refusing = refusal(pair(f"SELECT 1 FROM {original}").original, pair(f"SELECT 1 FROM {final}").final)
    assert refusing in (MismatchKind.TREE, MismatchKind.GUARD)


@pytest.mark.parametrize(
    ("original", "final"),
    [
        ("WITH x AS MATERIALIZED (SELECT 1) SELECT 1", "WITH x AS (SELECT 1) SELECT 1"),
        ("WITH x AS MATERIALIZED (SELECT 1) SELECT 1", "WITH x AS NOT MATERIALIZED (SELECT 1) SELECT 1"),
        ("WITH x AS (SELECT 1) SELECT 1", "SELECT 1"),
        ("SELECT 1", "WITH x AS (SELECT 1) SELECT 1"),
        ("WITH x AS (SELECT 1) SELECT 1", "WITH x AS (SELECT 2) SELECT 1"),
        ("WITH x AS (SELECT 1) SELECT 1", "WITH y AS (SELECT 1) SELECT 1"),
        ("WITH x(a) AS (SELECT 1) SELECT 1", "WITH x AS (SELECT 1) SELECT 1"),
        ("WITH x AS (SELECT 1), y AS (SELECT 2) SELECT 1", "WITH y AS (SELECT 2), x AS (SELECT 1) SELECT 1"),
        ("WITH x AS (SELECT 1), y AS (SELECT 2) SELECT 1", "WITH x AS (SELECT 1) SELECT 1"),
        ("WITH RECURSIVE x AS (SELECT 1) SELECT 1", "WITH x AS (SELECT 1) SELECT 1"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x AS y"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM (SELECT 1) AS x"),
        ("WITH x AS (SELECT 1) SELECT 1 UNION SELECT 2", "(WITH x AS (SELECT 1) SELECT 1) UNION SELECT 2"),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n FROM t) CYCLE n SET c USING p SELECT n FROM t",
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n FROM t) SELECT n FROM t",
        ),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n FROM t) SEARCH DEPTH FIRST BY n SET o SELECT n FROM t",
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n FROM t) SEARCH BREADTH FIRST BY n SET o SELECT n FROM t",
        ),
        ("VALUES (1, 2)", "VALUES (2, 1)"),
        ("VALUES (1), (2)", "VALUES (1)"),
        ("VALUES (1)", "SELECT 1"),
    ],
)
def test_a_changed_with_or_values_is_refused(original: str, final: str) -> None:
    """Items of WITH with their flags, and rows of VALUES."""
    check(original, original)
    assert refusal(original, final) in (MismatchKind.TREE, MismatchKind.GUARD)


@pytest.mark.parametrize(
    ("original", "final"),
    [
        # Somebody else has the name in the final text: at this level, inside, outside, or as an item of WITH.
        ("SELECT bank.customers.id FROM {bank.customers}, {public.customers AS x}", None),
        ("SELECT bank.customers.id FROM {accounts AS customers}", "bank"),
        ("SELECT (SELECT bank.customers.id FROM {accounts AS customers}) FROM {bank.customers}", "bank"),
        ("SELECT (SELECT bank.customers.id FROM {bank.customers}) FROM {accounts AS customers}", "bank"),
        ("SELECT bank.customers.id FROM {bank.customers}, (SELECT 1 AS id) AS customers", "bank"),
        ("SELECT bank.customers.id FROM {bank.customers}, generate_series(1, 2) AS customers", "bank"),
        ("SELECT bank.customers.id FROM {bank.customers}, generate_series(1, 2)", "bank"),
        ("SELECT bank.customers.id FROM ({bank.customers} CROSS JOIN {kyc}) AS customers", "bank"),
        ("WITH customers AS (SELECT 1 AS id) SELECT bank.customers.id FROM customers, {bank.customers AS b}", "bank"),
        ("SELECT bank.customers.id FROM {public.customers}", "bank"),
        ("SELECT bank.customers.id FROM {bank.customers AS customers}", "bank"),
        ("SELECT bank.customers.id FROM {bank.customers AS c}", "bank"),
        ("SELECT public.customers.id FROM {bank.customers}", "public"),
    ],
)
def test_a_schema_before_a_column_may_go_only_if_nothing_else_has_the_name(original: str, final: str | None) -> None:
    """What the shorter name means must not depend on where it stands."""
    both = pair(original)
    shortened = both.final.replace("SELECT bank.customers.id", "SELECT customers.id").replace(
        "SELECT public.customers.id", "SELECT customers.id"
    )
    assert shortened != both.final
    if final is None:
        check(both.original, shortened)
    else:
        assert refusal(both.original, shortened) is MismatchKind.TREE


def test_a_schema_before_a_column_may_not_be_added_or_changed() -> None:
    """Only dropping it is harmless."""
    both = pair("SELECT customers.id FROM {bank.customers}")
    for other in ("bank.customers.id", "public.customers.id", "id", "customers.email", "accounts.id"):
        assert refusal(both.original, both.final.replace("customers.id", other, 1)) is MismatchKind.TREE
