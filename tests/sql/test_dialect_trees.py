"""What the dialect's trees look like: the nodes that guards, inventory and the leak-proofness analysis rely on."""

from __future__ import annotations

import pytest
from sqlglot import exp

from datagate.sql.dialect import generate, nodes, parse_canonical


def scalar(text: str) -> exp.Expression:
    """The tree of one expression."""
    select = parse_canonical(f"SELECT {text}")
    found = select.expressions[0]
    assert isinstance(found, exp.Expression)
    return found


def test_a_guard_takes_a_tables_place() -> None:
    """A Table replaced by a Subquery of GuardText comes out as that text in parentheses, under the same alias."""
    tree = parse_canonical("SELECT c.x FROM s.t AS c (x), u WHERE EXISTS (SELECT FROM ONLY v)")
    table = next(node for node in tree.find_all(exp.Table) if node.name == "t")
    alias = table.args["alias"]
    table.replace(exp.Subquery(this=nodes.GuardText(this="SELECT a FROM s.t OFFSET 0"), alias=alias.copy()))
    assert generate(tree) == (
        "SELECT c.x FROM (SELECT a FROM s.t OFFSET 0) AS c(x), u WHERE EXISTS (SELECT FROM ONLY v)"
    )


def test_relations_are_tables_and_functions_are_not() -> None:
    """FROM holds exp.Table for relations only; functions are FunctionSource, queries exp.Subquery."""
    tree = parse_canonical(
        "SELECT 1 FROM a, f(1), ROWS FROM (g(1)), (SELECT 1 FROM b) AS s, (c CROSS JOIN d) AS j, LATERAL (TABLE e) AS l"
    )
    assert [table.name for table in tree.find_all(exp.Table)] != []
    assert {table.name for table in tree.find_all(exp.Table)} == {"a", "b", "c", "d", "e"}
    items = [tree.args["from_"].this, *(join.this for join in tree.args["joins"])]
    assert [type(item) for item in items] == [
        exp.Table, nodes.FunctionSource, nodes.FunctionSource, exp.Subquery, nodes.JoinGroup, exp.Subquery,
    ]  # fmt: skip
    assert items[-1].args["lateral"] is True


def test_relation_references_carry_what_belongs_to_them() -> None:
    """ONLY, TABLESAMPLE, alias and its columns are arguments of the Table."""
    table = parse_canonical('SELECT 1 FROM ONLY "S".t AS "A"(x) TABLESAMPLE system (1) REPEATABLE (2)').find(exp.Table)
    assert table is not None
    assert (table.db, table.name, table.alias, table.args["only"]) == ("S", "t", "A", True)
    assert [column.name for column in table.args["alias"].args["columns"]] == ["x"]
    assert isinstance(table.args["sample"], nodes.Sample)


def test_locks_name_items_not_relations() -> None:
    """FOR UPDATE OF holds identifiers, so that no Table stands outside a FROM."""
    tree = parse_canonical("SELECT 1 FROM t AS a FOR UPDATE OF a SKIP LOCKED")
    assert [table.name for table in tree.find_all(exp.Table)] == ["t"]
    assert tree.args["locks"][0].args["wait"] == "SKIP LOCKED"


@pytest.mark.parametrize(
    ("text", "name", "quoted"),
    [
        ("Foo", "foo", False),
        ('"Foo"', "Foo", True),
        ('"a""b"', 'a"b', True),
        ("ÄÖ", "ÄÖ", False),
        ("Ä" + "X" * 70, "Ä" + "x" * 61, False),
        ("x" * 62 + "Ä", "x" * 62, False),
    ],
)
def test_identifiers_are_the_catalogs_names(text: str, name: str, quoted: bool) -> None:
    """Unquoted names fold ASCII letters only; all are cut to 63 bytes between characters."""
    column = scalar(text)
    assert isinstance(column, exp.Column)
    assert (column.this.this, column.this.args["quoted"]) == (name, quoted)


@pytest.mark.parametrize("operator", ["LIKE", "ILIKE", "SIMILAR TO"])
def test_a_pattern_keeps_its_not_and_escape(operator: str) -> None:
    """NOT inside the operator is an argument; in front it is a node; ESCAPE is an argument."""
    inside = scalar(f"a NOT {operator} b ESCAPE 'x'")
    assert isinstance(inside, (exp.Like, exp.ILike, exp.SimilarTo))
    assert (inside.args["negate"], inside.args["escape"].this) == (True, "x")
    assert isinstance(scalar(f"NOT a {operator} b"), exp.Not)


def test_a_quantified_operator_is_one_node() -> None:
    """``!~ ANY`` is not turned around into NOT of ``~ ANY``."""
    node = scalar("a !~ ANY (ARRAY['x'])")
    assert isinstance(node, nodes.Quantified)
    assert (node.args["operator"], node.args["quantifier"]) == ("!~", "ANY")
    assert isinstance(scalar("a = ALL (SELECT 1)").args["expression"], exp.Select)


def test_conjuncts_are_ands() -> None:
    """AND and OR bind as in PostgreSQL, comparisons are sqlglot's classes, other operators Infix."""
    where = parse_canonical("SELECT 1 FROM t WHERE a = 1 AND b @> c OR NOT d < e").args["where"].this
    assert isinstance(where, exp.Or)
    assert isinstance(where.this, exp.And)
    assert isinstance(where.this.this, exp.EQ)
    assert where.this.expression.args["operator"] == "@>"
    assert isinstance(where.expression.this, exp.LT)


def test_values_are_literals_and_parameters() -> None:
    """Plain strings and numbers are exp.Literal by value, other strings RawString verbatim, $n exp.Parameter."""
    assert scalar("'it''s \\'").this == "it's \\"
    assert scalar("1_0.5e3").this == "1_0.5e3"
    assert isinstance(scalar(r"E'a\n'"), nodes.RawString)
    assert isinstance(scalar("$12"), exp.Parameter)
    assert scalar("$12").this == "12"


@pytest.mark.parametrize(
    ("text", "schema", "internal", "dimensions"),
    [
        ("int", "pg_catalog", "int4", 0),
        ("INTEGER[]", "pg_catalog", "int4", 1),
        ("float(24)", "pg_catalog", "float4", 0),
        ("float(25)", "pg_catalog", "float8", 0),
        ("float", "pg_catalog", "float8", 0),
        ("double precision", "pg_catalog", "float8", 0),
        ("timestamp(3) with time zone", "pg_catalog", "timestamptz", 0),
        ("time without time zone", "pg_catalog", "time", 0),
        ("national character varying(3)[][4]", "pg_catalog", "varchar", 2),
        ("character", "pg_catalog", "bpchar", 0),
        ("bit varying", "pg_catalog", "varbit", 0),
        ("interval day to second(3)", "pg_catalog", "interval", 0),
        ('"char"', None, "char", 0),
        ("Text", None, "text", 0),
        ('public."My" ARRAY[3]', "public", "My", 1),
        ("numeric(10, 2)", "pg_catalog", "numeric", 0),
    ],
)
def test_types_know_their_catalog_names(text: str, schema: str | None, internal: str, dimensions: int) -> None:
    """A TypeName tells the schema and the internal name, and writes itself as it was."""
    cast = scalar(f"a::{text}")
    to = cast.args["to"]
    assert (to.schema, to.internal, to.args.get("dimensions") or 0) == (schema, internal, dimensions)
    assert generate(cast).replace(" ", "").lower() == f"a::{text}".replace(" ", "").lower()


def test_calls_have_their_name_as_written() -> None:
    """A Call tells its schema and name, and holds DISTINCT, ORDER BY, FILTER and OVER."""
    call = scalar('S."F"(DISTINCT a, VARIADIC b ORDER BY c DESC) FILTER (WHERE d) OVER (PARTITION BY e)')
    assert isinstance(call, nodes.Call)
    assert (call.schema, call.name, call.args["distinct"]) == ("s", "F", True)
    assert isinstance(call.expressions[1], nodes.Variadic)
    assert isinstance(call.args["order"], exp.Order)
    assert isinstance(call.args["filter"], exp.Column)
    assert isinstance(call.args["over"], nodes.WindowDefinition)
    assert isinstance(scalar("f(*)").expressions[0], exp.Star)


def test_sql_syntax_calls_keep_their_words() -> None:
    """EXTRACT, COALESCE and their kin are KeywordCall with the words between the operands."""
    call = scalar("substring(a FROM 1 FOR 2)")
    assert isinstance(call, nodes.KeywordCall)
    assert [part if isinstance(part, str) else type(part) for part in call.args["parts"]] == [
        exp.Column, "FROM", exp.Literal, "FOR", exp.Literal,
    ]  # fmt: skip
    assert scalar("coalesce(a, 1)").this == "COALESCE"


def test_ordering_is_written_only_where_it_was() -> None:
    """No direction and no NULLS come out that did not go in."""
    text = "SELECT a FROM t ORDER BY a, b ASC, c DESC, d NULLS FIRST, e DESC NULLS LAST, f USING <"
    assert generate(parse_canonical(text)) == text


def test_set_operations_nest_as_in_the_engine() -> None:
    """INTERSECT binds tighter; the clauses at the end belong to the whole."""
    tree = parse_canonical("SELECT 1 UNION ALL SELECT 2 INTERSECT SELECT 3 ORDER BY 1 LIMIT 2")
    assert isinstance(tree, exp.Union)
    assert isinstance(tree.expression, exp.Intersect)
    assert tree.args["distinct"] is False
    assert tree.args["limit"] is not None


def test_with_holds_common_table_expressions() -> None:
    """Name, columns, MATERIALIZED, SEARCH and CYCLE are in the CTE; RECURSIVE in the With."""
    tree = parse_canonical(
        "WITH RECURSIVE q(a) AS NOT MATERIALIZED (SELECT 1) SEARCH DEPTH FIRST BY a SET o CYCLE a SET c USING p TABLE q"
    )
    with_ = tree.args["with_"]
    cte = with_.expressions[0]
    assert (with_.args["recursive"], cte.alias, cte.args["materialized"]) == (True, "q", False)
    assert isinstance(cte.args["search"], nodes.Search)
    assert isinstance(cte.args["cycle"], nodes.Cycle)
