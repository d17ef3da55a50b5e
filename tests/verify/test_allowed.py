"""Nodes, functions, operators and types that are not on a list are refused, by whatever way they are reached."""

from __future__ import annotations

import pytest

from datagate.verify.names import Names
from datagate.verify.postgres import Mismatch, MismatchKind, verify
from datagate.verify.walk import Walk
from tests.verify.world import (
    CATALOG,
    FUNCTIONS,
    GUARDS,
    PRESCRIPTIONS,
    catalog,
    check,
    expand,
    passes,
    plain,
    refusal,
    refused,
)

# The refused statement, and a near miss that passes.
PAIRS = [
    # Functions.
    ("SELECT pg_read_file('x')", "SELECT lower('x')"),
    ("SELECT pg_catalog.pg_read_file('x')", "SELECT pg_catalog.lower('x')"),
    ("SELECT lower(pg_read_file('x'))", "SELECT lower(lower('x'))"),
    ("SELECT public.lower('x')", "SELECT pg_catalog.lower('x')"),
    ("SELECT bank.public.risk(1)", "SELECT public.risk(1)"),
    ("SELECT risk(1)", "SELECT public.risk(1)"),
    ('SELECT "public.risk"(1)', "SELECT public.risk(1)"),
    ('SELECT pg_catalog."public.risk"(1)', "SELECT public.risk(1)"),
    ("SELECT LOWER('x'), \"LOWER\"('x')", "SELECT LOWER('x'), \"lower\"('x')"),
    ("SELECT * FROM pg_read_file('x') AS f", "SELECT * FROM lower('x') AS f"),
    ("SELECT * FROM ROWS FROM (lower('x'), pg_read_file('x'))", "SELECT * FROM ROWS FROM (lower('x'), lower('x'))"),
    ("SELECT count(*) FILTER (WHERE pg_sleep(1) IS NULL)", "SELECT count(*) FILTER (WHERE now() IS NULL)"),
    ("SELECT sum(1) OVER (ORDER BY pg_sleep(1))", "SELECT sum(1) OVER (ORDER BY now())"),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", "SELECT to_char(1, '9')"),
    ("SELECT 1 ORDER BY set_config('role', 'x', false)", "SELECT 1 ORDER BY lower('x')"),
    # Advisory locks of two keys: not datagate's own.
    ("SELECT pg_advisory_lock(1684104292, 1)", "SELECT pg_advisory_lock(1684104299, 1)"),
    ("SELECT pg_catalog.pg_advisory_lock(1684104294, 0)", "SELECT pg_catalog.pg_advisory_lock(-5, 0)"),
    ("SELECT pg_advisory_lock($1, 1)", "SELECT pg_advisory_lock(0, $1)"),
    ("SELECT pg_advisory_lock(1684104293::int, 1)", "SELECT pg_advisory_lock(1684104293)"),
    ("SELECT pg_try_advisory_xact_lock_shared(1684104290 + 2, 1)", "SELECT pg_try_advisory_xact_lock_shared($1)"),
    ("SELECT 1 FROM pg_advisory_lock(1684104291, 0)", "SELECT 1 FROM pg_advisory_lock(2116, 0)"),
    # Attribute notation: PostgreSQL reads (x).f as f(x).
    ("SELECT ('/etc/passwd'::text).pg_read_file", "SELECT (id).street FROM {customers}"),
    ("SELECT ($1).ts_stat", "SELECT ($1).lower"),
    ("SELECT ((SELECT 'x')).pg_read_file", "SELECT ((SELECT 'x')).lower"),
    ("SELECT (ARRAY['x'])[1].pg_read_file", "SELECT (ARRAY['x'])[1].lower"),
    ("SELECT ('x').a.pg_read_file", "SELECT ('x').a.b"),
    ("SELECT g.pg_read_file FROM unnest(ARRAY['x']) AS g", "SELECT g.g FROM unnest(ARRAY['x']) AS g"),
    ("SELECT g.ts_stat FROM concat('SELECT 1') AS g", "SELECT g.ts_stat FROM concat('SELECT 1') AS g(ts_stat)"),
    ("SELECT concat.ts_stat FROM concat('SELECT 1')", "SELECT concat.concat FROM concat('SELECT 1')"),
    (
        "SELECT g.ts_stat FROM concat('SELECT 1') AS g WHERE EXISTS (SELECT 1 FROM lower('x') AS g(ts_stat))",
        "SELECT g.ts_stat FROM lower('x') AS g(ts_stat) WHERE EXISTS (SELECT 1 FROM concat('y') AS g(ts_stat))",
    ),
    (
        "SELECT concat.ts_stat FROM concat('SELECT 1') WHERE EXISTS (SELECT 1 FROM (SELECT 1) AS concat)",
        "SELECT concat.ts_stat FROM concat('SELECT 1') AS f WHERE EXISTS (SELECT 1 FROM (SELECT 1) AS concat)",
    ),
    ("SELECT coalesce.ts_stat FROM COALESCE('SELECT 1', '')", "SELECT coalesce.x FROM COALESCE('SELECT 1', '')"),
    ("SELECT x.ts_stat FROM CAST('SELECT 1' AS text) AS x", "SELECT x.x FROM CAST('SELECT 1' AS text) AS x"),
    ("SELECT x.ts_stat FROM ROWS FROM (concat('a')) AS x", "SELECT x.a FROM ROWS FROM (concat('a')) AS x"),
    ("SELECT (x.*).ts_stat FROM concat('a') AS x", "SELECT (x.*).a FROM concat('a') AS x"),
    ("SELECT ('{\"(,)\"}')._forgotten", "SELECT ('{\"(,)\"}').forgotten"),
    ("SELECT x._forgotten FROM concat('{}') AS x", "SELECT x._id FROM concat('{}') AS x(_id)"),
    ("SELECT ('pg_authid').regclass", "SELECT ('pg_authid').a"),
    ("SELECT ('postgres').regrole", "SELECT ('postgres').role"),
    ("SELECT g.regrole FROM concat('postgres') AS g", "SELECT g.role FROM concat('postgres') AS g"),
    # Operators.
    ("SELECT 1 OPERATOR(public.+) 2", "SELECT 1 OPERATOR(pg_catalog.+) 2"),
    ("SELECT 1 OPERATOR(bank.public.<=>) 2", "SELECT 1 OPERATOR(public.<=>) 2"),
    ("SELECT 1 OPERATOR(public.=) ANY (ARRAY[1])", "SELECT 1 OPERATOR(pg_catalog.=) ANY (ARRAY[1])"),
    ("SELECT 1 OPERATOR(public.=) ANY (SELECT 1)", "SELECT 1 OPERATOR(pg_catalog.=) ANY (SELECT 1)"),
    ("SELECT OPERATOR(public.-) 1", "SELECT OPERATOR(pg_catalog.-) 1"),
    ("SELECT 1 ORDER BY 1 USING OPERATOR(public.<)", "SELECT 1 ORDER BY 1 USING OPERATOR(pg_catalog.<)"),
    # Types.
    ("SELECT NULL::nowhere", "SELECT NULL::text"),
    ("SELECT NULL::bank.customers", "SELECT NULL::bank.region_t"),
    ("SELECT NULL::customers", "SELECT NULL::region_t"),
    ("SELECT jsonb_populate_record(NULL::bank.customers, '{}')", "SELECT jsonb_populate_record(NULL::mood, '{}')"),
    ("SELECT NULL::accounts", "SELECT NULL::public.accounts"),
    ("SELECT NULL::public.text", "SELECT NULL::pg_catalog.text"),
    ("SELECT NULL::bank.public.mood", "SELECT NULL::public.mood"),
    ('SELECT NULL::"public.mood"', "SELECT NULL::public.mood"),
    ("SELECT * FROM json_to_record('{}') AS x(a nowhere)", "SELECT * FROM json_to_record('{}') AS x(a text)"),
    (
        "SELECT * FROM ROWS FROM (json_to_record('{}') AS (a nowhere)) AS x",
        "SELECT * FROM ROWS FROM (json_to_record('{}') AS (a text)) AS x",
    ),
    (
        "SELECT * FROM xmltable('/r' PASSING '<r/>' COLUMNS a regclass) AS x",
        "SELECT * FROM xmltable('/r' PASSING '<r/>' COLUMNS a text) AS x",
    ),
    ("SELECT xmlserialize(CONTENT '<r/>' AS nowhere)", "SELECT xmlserialize(CONTENT '<r/>' AS text)"),
    # Types whose values name things in the catalog.
    ("SELECT 'postgres'::regrole", "SELECT 'postgres'::text"),
    ("SELECT 'public.forgotten'::regclass", "SELECT 'public.kyc'::regclass"),
    ("SELECT 'nowhere'::regclass", "SELECT 'kyc'::regclass"),
    ("SELECT 'bank.emails, kyc'::regclass", "SELECT 'bank.emails'::regclass"),
    ("SELECT '\"kyc\"'::regclass", "SELECT 'kyc'::regclass"),
    ("SELECT 'public.Forgotten'::regclass", "SELECT 'public.kyc'::regclass"),
    ("SELECT 'kyc'::regclass[]", "SELECT 'kyc'::text[]"),
    ("SELECT '16384'::regclass", "SELECT 'kyc'::regclass"),
    ("SELECT $1::regclass", "SELECT $1::text"),
    ("SELECT 16384::regclass", "SELECT 16384::text"),
    ("SELECT oid::regclass FROM {pg_catalog.pg_class}", "SELECT oid::int8 FROM {pg_catalog.pg_class}"),
    ("SELECT '{1}'::regclass[]", "SELECT '{1}'::text[]"),
    ("SELECT '{1}'::_regclass", "SELECT '{1}'::text[]"),
    ("SELECT 'kyc'::public.regclass", "SELECT 'kyc'::pg_catalog.regclass"),
    ("SELECT regclass 'public.forgotten'", "SELECT regclass 'public.kyc'"),
    ("SELECT * FROM json_to_record('{}') AS x(a regclass)", "SELECT * FROM json_to_record('{}') AS x(a text)"),
    # Samples.
    ("SELECT * FROM kyc TABLESAMPLE public.system (1)", "SELECT * FROM {kyc}"),
    ("SELECT * FROM kyc TABLESAMPLE system_rows (1)", "SELECT * FROM {kyc}"),
    ("SELECT * FROM kyc TABLESAMPLE system ((SELECT max(id) FROM customers))", "SELECT * FROM {kyc}"),
    ("SELECT * FROM kyc TABLESAMPLE system (pg_sleep(1))", "SELECT * FROM {kyc}"),
    ("SELECT * FROM kyc TABLESAMPLE system (1) REPEATABLE (random())", "SELECT * FROM {kyc}"),
    # Statements.
    ("SELECT 1 INTO x", "SELECT 1 AS x"),
    ("SELECT 1 INTO x FROM {kyc}", "SELECT 1 AS x FROM {kyc}"),
    ("SELECT 1 INTO x UNION SELECT 2", "SELECT 1 UNION SELECT 2"),
]


@pytest.mark.parametrize(("bad", "near_miss"), PAIRS)
def test_what_is_not_listed_is_refused(bad: str, near_miss: str) -> None:
    """The refused statement, guarded or not; and a near miss that passes."""
    assert refusal(plain(bad), expand(bad)) is MismatchKind.FORBIDDEN
    passes(near_miss)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE bank.customers",
        "SELECT FROM FROM",
        "SELECT 1 $1,$",
        "SELECT 'a' 'b'",
        "SELECT 1OR 2",
        "SELECT a LIMIT 1, 2",
        "SELECT '\ud800'",
        "SELECT 'a\0b'",
        "SELECT 1\0; DROP TABLE x",
        "EXPLAIN SELECT 1",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "COPY (SELECT 1) TO STDOUT",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "DO 'BEGIN END'",
        "CALL p()",
        "EXECUTE p",
        "SET role = postgres",
        "SHOW role",
        "BEGIN",
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "SELECT " + "+(" * 3_000 + "1" + ")" * 3_000,
        "SELECT " + "1 + " * 3_000 + "1",
        "SELECT 1" + " UNION SELECT 1" * 3_000,
        "SELECT " + "(SELECT " * 900 + "1" + ")" * 900,
        "SELECT " + "lower(" * 280 + "'x'" + ")" * 280,
    ],
)
def test_what_is_not_one_select_is_refused(text: str) -> None:
    """As the original, as the final text, and as both; nesting is bounded, and no other error escapes."""
    for original, final in ((text, text), (text, "SELECT 1"), ("SELECT 1", text)):
        assert refusal(original, final) in (MismatchKind.STATEMENT, MismatchKind.TREE, MismatchKind.DEPTH)
    # What is too deep for this stack alone may be verified where there is more room.
    assert refusal(text, text) in (MismatchKind.STATEMENT, MismatchKind.DEPTH)


@pytest.mark.parametrize("name", ["json_scalar(1)", "json('{}')", "json_exists('{}', '$')", "json_array(1)"])
def test_what_an_older_server_reads_as_a_call_is_refused_there(name: str) -> None:
    """On PostgreSQL 15 ``json_scalar(1)`` calls somebody's function of that name."""
    assert refused(f"SELECT {name}") is MismatchKind.FORBIDDEN
    passes(f"SELECT {name}", of=catalog(server_version=170000))


def test_a_users_function_of_a_built_ins_name_is_refused_unless_listed() -> None:
    """Its arguments may fit better than the built-in's, so the bare name may mean it."""
    captured = catalog(user_functions=frozenset({"lower", "json_object"}))
    assert refused("SELECT lower('x')", of=captured) is MismatchKind.FORBIDDEN
    assert refused("SELECT json_object('a', 'b')", of=captured) is MismatchKind.FORBIDDEN
    assert refused("SELECT ('x').lower", of=captured) is MismatchKind.FORBIDDEN
    passes("SELECT pg_catalog.lower('x')", of=captured)
    passes("SELECT lower('x')")
    passes("SELECT json_object('a', 'b')")


def test_a_listed_function_may_be_called_bare_only_if_nothing_else_in_the_path_can_be_meant() -> None:
    """``public.listed`` is allowed; with another schema in the path, the bare name may mean another."""
    users = frozenset({"listed"})
    passes("SELECT listed(1)", of=catalog(user_functions=users, search_path=("pg_catalog", "public")))
    assert refused("SELECT listed(1)", of=catalog(user_functions=users)) is MismatchKind.FORBIDDEN
    unread = catalog(user_functions=users, search_path=("pg_catalog", "public"), engine_functions=frozenset())
    assert refused("SELECT listed(1)", of=unread) is MismatchKind.FORBIDDEN


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        ("=", "SELECT 1 = 2"),
        ("=", "SELECT 1 IN (2)"),
        ("=", "SELECT 1 = ANY (ARRAY[2])"),
        ("=", "SELECT 1 IN (SELECT 2)"),
        ("=", "SELECT NULLIF(1, 2)"),
        ("=", "SELECT 1 IS DISTINCT FROM 2"),
        ("=", "SELECT CASE 1 WHEN 2 THEN 3 END"),
        ("=", "SELECT 1 FROM {kyc} JOIN {customers} USING (id)"),
        ("=", "SELECT 1 FROM {kyc} NATURAL JOIN {customers}"),
        ("<=", "SELECT 1 BETWEEN 2 AND 3"),
        (">", "SELECT 1 NOT BETWEEN SYMMETRIC 2 AND 3"),
        ("~~", "SELECT 'a' LIKE 'b'"),
        ("!~~*", "SELECT 'a' NOT ILIKE 'b'"),
        ("~", "SELECT 'a' SIMILAR TO 'b'"),
        ("-", "SELECT -id FROM {kyc}"),
        ("<", "SELECT 1 ORDER BY 1 USING <"),
        ("<=>", "SELECT 1 <=> 2"),
    ],
)
def test_a_users_operator_of_that_name_is_refused(operator: str, text: str) -> None:
    """Also where the operator is only implied."""
    captured = catalog(user_operators=frozenset({operator}))
    assert refused(text, of=captured) is MismatchKind.FORBIDDEN
    passes(text, of=catalog(user_operators=frozenset({"@@@"})))


def test_a_users_sampling_method_of_that_name_is_refused() -> None:
    """A method is a function, looked up by name."""
    guard = GUARDS["public.kyc"].replace("AS g", "AS g TABLESAMPLE system (1)")
    both = ("SELECT * FROM kyc AS k TABLESAMPLE system (1)", f"SELECT * FROM ({guard}) AS k")
    check(*both)
    assert refusal(*both, of=catalog(user_functions=frozenset({"system"}))) is MismatchKind.FORBIDDEN


@pytest.mark.parametrize("kind", ["JoinExpr", "WithClause", "RangeVar", "RangeTableSample", "IntoClause", "Query"])
def test_a_node_out_of_its_place_is_refused(kind: str) -> None:
    """The parser makes none; if it did, parts of them would not be compared."""
    node = {kind: {"larg": {"RangeVar": {"relname": "kyc"}}}}
    tree = {"SelectStmt": {"whereClause": node}}
    with pytest.raises(Mismatch, match="not allowed"):
        Walk(Names(CATALOG, FUNCTIONS), PRESCRIPTIONS).statement(tree, tree)


def test_a_listed_operator_may_be_used_bare() -> None:
    """Policy may name a user-defined operator."""
    passes("SELECT 1 <=> 2", of=catalog(user_operators=frozenset({"<=>"}), search_path=("pg_catalog", "public")))


@pytest.mark.parametrize(
    "template",
    [
        "SELECT c.email FROM {customers AS c}",
        "SELECT c.email FROM {customers AS c(email)}",
        "SELECT x.email FROM {emails AS x}",
    ],
)
def test_a_column_of_a_guard_is_no_call_whatever_functions_there_are(template: str) -> None:
    """A function named like a column that the guard shows does not get in the way."""
    passes(template, of=catalog(user_functions=frozenset({"email"}), engine_functions=frozenset({"email"})))


@pytest.mark.parametrize(
    "template",
    [
        "SELECT q.email FROM (SELECT 1 AS id) AS q",
        "SELECT q.email FROM {customers AS c}, (SELECT 1 AS id) AS q",
        "WITH q AS (SELECT 1 AS id) SELECT q.email FROM q",
        "SELECT c.email FROM {kyc AS c}",
        "SELECT c.email FROM {kyc AS c} WHERE EXISTS (SELECT 1 FROM {customers AS c})",
        "SELECT c.email FROM {customers AS c(a, b)}",
        "SELECT customers.email FROM {customers AS c}",
        "SELECT (c).email FROM {customers AS c}",
    ],
)
def test_a_users_function_of_a_columns_name_is_refused_where_it_could_be_called(template: str) -> None:
    """A function of any row type could be meant where the column is not certainly there."""
    assert refused(template, of=catalog(user_functions=frozenset({"email"}))) is MismatchKind.FORBIDDEN
    passes(template)


def test_without_the_engines_function_names_attribute_notation_is_refused() -> None:
    """Where it is not known what a name could call, a name that is not allowed is refused."""
    unread = catalog(engine_functions=frozenset())
    assert refused("SELECT ($1).street", of=unread) is MismatchKind.FORBIDDEN
    assert refused("SELECT g.street FROM jsonb_each('{}') AS g", of=unread) is MismatchKind.FORBIDDEN
    passes("SELECT ($1).lower, g.k FROM jsonb_each('{}') AS g(k, v)", of=unread)
    passes("SELECT q.total, c.email FROM (SELECT 1 AS total) AS q, {customers AS c}", of=unread)


@pytest.mark.parametrize("name", ["ts_rewrite", "ts_stat", "query_to_xml", "table_to_xml", "database_to_xml"])
def test_what_runs_sql_is_refused_even_if_listed(name: str) -> None:
    """``ts_rewrite(query, 'SELECT ...')`` reads any table."""
    for text in (f"SELECT {name}('a', 'SELECT 1')", f"SELECT pg_catalog.{name}('a', 'b')", f"SELECT ('a').{name}"):
        with pytest.raises(Mismatch, match="not allowed"):
            verify(text, text, catalog=CATALOG, prescriptions=PRESCRIPTIONS, functions=FUNCTIONS | {name})


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        (("public", "bank"), "SELECT * FROM {public.customers}", None),
        (("public", "bank"), "SELECT * FROM {bank.customers}", MismatchKind.GUARD),
        (("bank", "public"), "SELECT * FROM {bank.customers}", None),
        (("bank", "public"), "SELECT * FROM {public.customers}", MismatchKind.GUARD),
        ((), "SELECT * FROM {bank.customers}", MismatchKind.GUARD),
        ((), "SELECT * FROM {pg_catalog.pg_class}", None),
        (("public", "pg_catalog"), "SELECT * FROM {pg_catalog.pg_class}", None),
    ],
)
def test_unqualified_names_follow_the_search_path(path: tuple[str, ...], text: str, kind: MismatchKind | None) -> None:
    """The first schema that has the relation, and pg_catalog before all where the path does not name it."""
    bare = plain(text).replace("bank.", "").replace("public.", "").replace("pg_catalog.", "")
    if kind is None:
        check(bare, expand(text), of=catalog(search_path=path))
    else:
        assert refusal(bare, expand(text), of=catalog(search_path=path)) is kind
