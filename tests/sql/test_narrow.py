"""Guards show only the columns that a statement can name."""

from __future__ import annotations

import pytest

from datagate.model.catalog import Catalog, Relation, RelationKind
from datagate.model.names import RelationName
from datagate.sql.dialect import parse_canonical
from datagate.sql.inventory import take_inventory
from datagate.sql.narrow import named_columns

NAME = RelationName("s", "t")
CATALOG = Catalog(
    version="1",
    database="d",
    server_version=170000,
    search_path=("pg_catalog", "s"),
    relations={NAME: Relation(1, NAME, RelationKind.TABLE, (), (), None, None, ())},
    functions=frozenset(),
    types=frozenset(),
    user_operators=frozenset(),
    user_functions=frozenset(),
)


def named(text: str) -> frozenset[str] | None:
    tree = parse_canonical(text)
    return named_columns(list(tree.walk()), take_inventory(tree, CATALOG), frozenset())


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("SELECT a FROM t WHERE b = 1 ORDER BY c", {"a", "b", "c"}),
        ("SELECT count(*) FROM t", set()),
        ("SELECT x.a FROM t x JOIN t y USING (k)", {"a", "k"}),
        ('SELECT "A" FROM t', {"A"}),
    ],
)
def test_names_that_could_be_columns(text: str, columns: set[str]) -> None:
    """Every column that is named is among the names."""
    found = named(text)
    assert found is not None
    assert columns <= found
    assert "other" not in found


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM t",
        "SELECT x.* FROM t x",
        "TABLE t",
        "SELECT t FROM t",
        "SELECT (x).a FROM t x",
        "SELECT row_to_json(x) FROM t x",
        "SELECT a FROM t NATURAL JOIN t y",
        "SELECT p FROM t AS x (p, q)",
        "SELECT j.p FROM (t CROSS JOIN t y) AS j (p, q)",
    ],
)
def test_columns_meant_without_a_name(text: str) -> None:
    """Where columns are meant by position or all at once, none may be left out."""
    assert named(text) is None
