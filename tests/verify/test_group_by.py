"""GROUP BY a primary key: the guard hides the key from PostgreSQL, so the columns it determines are written out."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import MismatchKind
from tests.verify.world import check, pair, refusal

GOOD = [
    ("SELECT c.region FROM {customers AS c} GROUP BY c.id", ", c.region"),
    ("SELECT c.region FROM {customers AS c} GROUP BY id", ", c.region, c.born"),
    ("SELECT region FROM {customers} GROUP BY customers.id", ", customers.region"),
    ("SELECT c.region FROM {customers AS c}, {accounts AS a} GROUP BY a.balance, c.id, 1", ", c.region"),
    ("SELECT c.region FROM {accounts AS a} LEFT JOIN {customers AS c} ON true GROUP BY c.id", ", c.region"),
    ("SELECT c.region FROM {accounts AS a} JOIN {customers AS c} USING (id) GROUP BY c.id", ", c.region"),
    ("SELECT t.amount FROM {transactions AS t} GROUP BY t.id", ", t.amount"),
    ("SELECT p.name FROM {children AS p} GROUP BY p.id", ", p.name"),
    ("SELECT (SELECT c.region FROM {customers AS c} GROUP BY c.id@) FROM {kyc}", ", c.region"),
]


def _both(template: str, extra: str) -> tuple[str, str]:
    both = pair(template if "@" in template else template + "@")
    return both.original.replace("@", ""), both.final.replace("@", extra)


@pytest.mark.parametrize(("template", "extra"), GOOD)
def test_columns_that_the_key_determines_may_follow(template: str, extra: str) -> None:
    """The whole key is grouped by and shown raw, so each group has one row of the relation."""
    check(*_both(template, ""))
    check(*_both(template, extra))


BAD = [
    ("no key", "SELECT 1 FROM {customers AS c} GROUP BY c.region", ", c.born"),
    ("no GROUP BY", "SELECT 1 FROM {customers AS c}", " GROUP BY c.id"),
    ("an expression of the key", "SELECT 1 FROM {customers AS c} GROUP BY c.id + 0", ", c.born"),
    ("a position", "SELECT c.id FROM {customers AS c} GROUP BY 1", ", c.born"),
    ("another relation's column", "SELECT 1 FROM {customers AS c}, {kyc AS k} GROUP BY c.id", ", k.x"),
    ("another relation's key", "SELECT 1 FROM {customers AS c}, {kyc AS k} GROUP BY k.id", ", c.born"),
    ("an expression", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", c.born + 1"),
    ("a volatile one", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", random()"),
    ("a bare name", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", born"),
    ("a star", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", c.*"),
    ("a whole row", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", c"),
    ("a hidden column", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", c.note"),
    ("grouping sets", "SELECT 1 FROM {customers AS c} GROUP BY ROLLUP (c.id)", ", c.born"),
    ("grouping sets", "SELECT 1 FROM {customers AS c} GROUP BY c.id, ()", ", c.born"),
    ("grouping sets", "SELECT 1 FROM {customers AS c} GROUP BY c.id", ", ROLLUP (c.born)"),
    ("a masked key", "SELECT 1 FROM {notes AS n} GROUP BY n.id", ", n.body"),
    ("no key at all", "SELECT 1 FROM {loose AS l} GROUP BY l.id", ", l.x"),
    ("a key that shows another column", "SELECT 1 FROM {shuffled AS s} GROUP BY s.id", ", s.body"),
    ("heirs", "SELECT 1 FROM {parents AS p} GROUP BY p.id", ", p.name"),
    ("renamed columns", "SELECT 1 FROM {customers AS c(x, y, z)} GROUP BY c.x", ", c.y"),
    ("renamed columns", "SELECT 1 FROM {customers AS c(x, id, z)} GROUP BY c.id", ", c.born"),
    ("a merged key", "SELECT 1 FROM {accounts AS a} FULL JOIN {customers AS c} USING (id) GROUP BY id", ", c.born"),
    ("under a join's alias", "SELECT 1 FROM ({customers AS c} CROSS JOIN {kyc}) AS j(born) GROUP BY born", ", c.born"),
    ("an outer relation", "SELECT (SELECT 1 FROM {kyc AS k} GROUP BY c.id@) FROM {customers AS c}", ", c.born"),
    ("a subquery's column", "SELECT 1 FROM (SELECT * FROM {customers}) AS c GROUP BY c.id", ", c.born"),
]


@pytest.mark.parametrize(("what", "template", "extra"), BAD)
def test_any_other_further_column_is_refused(what: str, template: str, extra: str) -> None:
    """It could split a group."""
    check(*_both(template, ""))
    assert refusal(*_both(template, extra)) is MismatchKind.TREE, what


def test_further_columns_stand_at_the_end() -> None:
    """The caller's own items stay where they were, since ORDER BY, GROUPING and positions refer to nothing else."""
    both = pair("SELECT 1 FROM {customers AS c} GROUP BY c.id")
    assert refusal(both.original, both.final.replace("BY c.id", "BY c.born, c.id")) is MismatchKind.TREE
