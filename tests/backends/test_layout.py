"""Laying a statement out changes white space and nothing else."""

from __future__ import annotations

import pytest

from datagate.backends.postgres.engine import encode, parse_tree, scan, without_positions
from datagate.backends.postgres.layout import laid_out

ODD = [
    "SELECT 1",
    "SELECT 'two\n  lines', E'\\n', $$a $b$ c$$, U&'\\0041'",
    "SELECT DISTINCT a FROM t",
    "SELECT a IS DISTINCT FROM b, c BETWEEN 1 AND 2 AND d, extract(year FROM e), left(f, 1) FROM g",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FILTER (WHERE a > 1) FROM t",
    "WITH a AS MATERIALIZED (SELECT 1 UNION ALL (VALUES (2), (3)) ORDER BY 1 LIMIT 1) TABLE a",
    'SELECT (t."select").*, ARRAY(SELECT 1), (ARRAY[1,2])[1:2] FROM "from" AS t(a, b) NATURAL LEFT OUTER JOIN u',
    "SELECT 1 EXCEPT SELECT 2 INTERSECT ALL SELECT 3 ORDER BY 1 FETCH FIRST 2 ROWS WITH TIES",
    "SELECT a::int[], -  - 1, 5 OPERATOR(pg_catalog.+) 3, $1, b->>'c', 'ß' FROM t WHERE a = ANY($2) OR NOT b",
]


@pytest.mark.parametrize("text", ODD)
def test_the_tokens_stay(text: str) -> None:
    """The laid-out text has the same tokens and the same tree."""
    out = laid_out(text)
    assert _tokens(out) == _tokens(text)
    assert without_positions(parse_tree(out)) == without_positions(parse_tree(text))
    assert laid_out(out) == out


def _tokens(text: str) -> list[str]:
    raw = encode(text)
    return [raw[token.start : token.end].decode() for token in scan(raw)]


def test_clauses_stand_on_lines_of_their_own() -> None:
    """Clauses, joins and conditions begin lines; what stands in a subquery is set in."""
    text = (
        'SELECT a.x, count(*) FROM (SELECT g.x, g.y FROM "bank"."customers" AS g WHERE g.x = ANY($1) AND g.y BETWEEN'
        " 1 AND 3 OR g.z) AS a JOIN b ON a.x = b.x LEFT OUTER JOIN (c CROSS JOIN d) ON left(c.x, 1) = d.x"
        " WHERE a.y > (SELECT max(y) FROM c) GROUP BY a.x ORDER BY 2"
    )
    assert laid_out(text) == (
        "SELECT a.x,\n"
        "  count(*)\n"
        "FROM (\n"
        "  SELECT g.x,\n"
        "    g.y\n"
        '  FROM "bank"."customers" AS g\n'
        "  WHERE g.x = ANY($1)\n"
        "    AND g.y BETWEEN 1 AND 3\n"
        "    OR g.z\n"
        ") AS a\n"
        "  JOIN b ON a.x = b.x\n"
        "  LEFT OUTER JOIN (c CROSS JOIN d) ON left(c.x, 1) = d.x\n"
        "WHERE a.y > (SELECT max(y) FROM c)\n"
        "GROUP BY a.x\n"
        "ORDER BY 2"
    )
