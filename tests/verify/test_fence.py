"""The fence around a guard: the same rows, or fewer by what the WHERE asks for anyway."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import MismatchKind
from tests.verify.world import check, expand, pair, plain, refusal


def fenced(template: str, alias: str, where: str = "", inner: str = "") -> str:
    """The final text of a template whose ``@`` is put in a fence under the alias."""
    condition = f" WHERE {where}" if where else ""
    guard = expand("{bank.customers AS " + (inner or alias.partition("(")[0]) + "}")
    return expand(template.replace("@", f"(SELECT * FROM {guard}{condition} OFFSET 0) AS {alias}"))


def original(template: str, alias: str) -> str:
    return plain(template.replace("@", f"bank.customers AS {alias}"))


GOOD = [
    ("SELECT c.id FROM @", "c", ""),
    ("SELECT c.id FROM @ WHERE c.balance > 10", "c", ""),
    ("SELECT c.id FROM @ WHERE c.balance > 10", "c", "c.balance > 10"),
    ("SELECT id FROM @ WHERE balance > 10 AND region = $1", "c", "balance > 10 AND region = $1"),
    ("SELECT id FROM @ WHERE balance > 10 AND region = $1 AND 1 / id = 1", "c", "region = $1"),
    ("SELECT id FROM @ WHERE balance > 10 AND (region = $1 AND id = 1)", "c", "id = 1 AND balance > 10"),
    ("SELECT id FROM @ WHERE (id = 1 OR c.region IN ('EU', 'US'))", "c", "id = 1 OR c.region IN ('EU', 'US')"),
    ("SELECT c.id FROM @, {accounts AS a} WHERE region = 'EU' AND a.id = c.id", "c", "region = 'EU'"),
    ("SELECT c.id FROM @ LEFT JOIN {accounts AS a} ON a.id = c.id WHERE c.region = 'EU'", "c", "c.region = 'EU'"),
    ("SELECT c.id FROM {accounts AS a} RIGHT JOIN @ ON a.id = c.id WHERE c.region = 'EU'", "c", "c.region = 'EU'"),
    ("SELECT c.id FROM {accounts AS a} LEFT JOIN @ ON a.id = c.id WHERE c.region = 'EU'", "c", ""),
    ("SELECT c.id FROM {accounts AS a} JOIN @ USING (id) WHERE c.id = 1", "c", "c.id = 1"),
    ("SELECT email FROM @ WHERE lower(region) = 'eu' AND born IS NOT NULL", "c", "lower(region) = 'eu'"),
    ("SELECT email FROM @ WHERE born > DATE '2024-01-01' + 1", "c", "born > DATE '2024-01-01' + 1"),
    ("SELECT email FROM @ WHERE born > current_date", "c", "born > current_date"),
    ("SELECT email FROM @ WHERE born < now() AND md5(email) > 'a'", "c", "md5(email) > 'a' AND born < now()"),
    ("SELECT email FROM @ WHERE email LIKE 'a%' ESCAPE '!'", "c", "email LIKE 'a%' ESCAPE '!'"),
    ("SELECT 1 FROM {kyc AS k} WHERE EXISTS (SELECT 1 FROM @ WHERE c.id = 1)", "c", "c.id = 1"),
    ("SELECT 1 FROM {kyc AS k}, LATERAL (SELECT 1 FROM @ WHERE c.id = 1) AS x", "c", "c.id = 1"),
    ("SELECT a FROM @ WHERE a = 1", "c(a, b)", ""),
    ("SELECT j.id FROM (@ CROSS JOIN {accounts AS a}) AS j WHERE j.id = 1", "c", ""),
]


@pytest.mark.parametrize(("template", "alias", "where"), GOOD)
def test_a_fence_with_conjuncts_of_the_where_passes(template: str, alias: str, where: str) -> None:
    """Any subset, in any order, of what is required of this row alone."""
    check(original(template, alias), fenced(template, alias, where))


BAD = [
    ("not in the WHERE", "SELECT id FROM @", "c", "id = 1"),
    ("not in the WHERE", "SELECT id FROM @ WHERE id = 2", "c", "id = 1"),
    ("a false one", "SELECT id FROM @ WHERE id = 2", "c", "false"),
    ("one side of an OR", "SELECT id FROM @ WHERE id = 1 OR id = 2", "c", "id = 1"),
    ("under a NOT", "SELECT id FROM @ WHERE NOT (id = 1 AND id = 2)", "c", "id = 1"),
    ("joined by OR", "SELECT id FROM @ WHERE id = 1 AND id = 2", "c", "id = 1 OR id = 2"),
    ("of the HAVING", "SELECT id FROM @ GROUP BY id HAVING id = 1", "c", "id = 1"),
    ("of an ON", "SELECT c.id FROM @ JOIN {accounts AS a} ON c.id = 1", "c", "c.id = 1"),
    ("of another SELECT", "SELECT id FROM (SELECT id FROM @) AS c WHERE id = 1", "c", "id = 1"),
    ("of an inner SELECT", "SELECT id FROM @ WHERE (SELECT 1 WHERE 1 = 1) = 1", "c", "1 = 1"),
    ("of the other arm", "SELECT id FROM @ UNION SELECT id FROM {kyc AS c} WHERE id = 1", "c", "id = 1"),
    ("nullable side", "SELECT a.id FROM {accounts AS a} LEFT JOIN @ ON true WHERE c.id = 1", "c", "c.id = 1"),
    ("nullable side", "SELECT a.id FROM @ RIGHT JOIN {accounts AS a} ON true WHERE c.id = 1", "c", "c.id = 1"),
    ("nullable side", "SELECT a.id FROM @ FULL JOIN {accounts AS a} ON true WHERE c.id = 1", "c", "c.id = 1"),
    ("nullable side", "SELECT a.id FROM {accounts AS a} FULL JOIN @ ON true WHERE c.id = 1", "c", "c.id = 1"),
    (
        "nullable further out",
        "SELECT a.id FROM {accounts AS a} LEFT JOIN (@ JOIN {kyc AS k} ON true) ON true WHERE c.id = 1",
        "c",
        "c.id = 1",
    ),
    ("another relation's", "SELECT c.id FROM @, {accounts AS a} WHERE a.id = 1", "c", "a.id = 1"),
    ("both relations'", "SELECT c.id FROM @, {accounts AS a} WHERE a.id = c.id", "c", "a.id = c.id"),
    ("another's column", "SELECT c.id FROM @, {accounts AS a} WHERE customer_id = 1", "c", "customer_id = 1"),
    ("a hidden column", "SELECT c.id FROM @ WHERE c.note = 'x'", "c", "c.note = 'x'"),
    ("a whole row", "SELECT c.id FROM @ WHERE c IS NOT NULL", "c", "c IS NOT NULL"),
    ("a whole row", "SELECT c.id FROM @ WHERE (c.*) IS NOT NULL", "c", "(c.*) IS NOT NULL"),
    ("an outer relation's", "SELECT 1 FROM {kyc AS k} WHERE EXISTS (SELECT 1 FROM @ WHERE k.id = 1)", "c", "k.id = 1"),
    ("a subquery", "SELECT id FROM @ WHERE id IN (SELECT 1)", "c", "id IN (SELECT 1)"),
    ("a subquery", "SELECT id FROM @ WHERE EXISTS (SELECT 1 FROM {kyc})", "c", "EXISTS (SELECT 1 FROM {kyc})"),
    ("a volatile function", "SELECT id FROM @ WHERE random() < 0.5", "c", "random() < 0.5"),
    ("a function of somebody's", "SELECT id FROM @ WHERE public.risk(id) > 1", "c", "public.risk(id) > 1"),
    (
        "a function of somebody's",
        "SELECT id FROM @ WHERE public.upper(region) = 'x'",
        "c",
        "public.upper(region) = 'x'",
    ),
    (
        "more than a call",
        "SELECT id FROM @ WHERE lower(region) FILTER (WHERE true) = 'x'",
        "c",
        "lower(region) FILTER (WHERE true) = 'x'",
    ),
    (
        "merged further out",
        "SELECT 1 FROM ({kyc AS k} JOIN @ ON true) NATURAL LEFT JOIN {accounts AS a} WHERE balance = 1",
        "c",
        "balance = 1",
    ),
    (
        "under a join's alias further out",
        "SELECT 1 FROM ((@ CROSS JOIN {kyc AS k}) JOIN {accounts AS a} ON true) AS j(born, id) WHERE id = 1",
        "c",
        "id = 1",
    ),
    ("a merged column", "SELECT 1 FROM {accounts AS a} JOIN @ USING (id) WHERE id = 1", "c", "id = 1"),
    ("a merged column", "SELECT 1 FROM {accounts AS a} NATURAL JOIN @ WHERE balance = 1", "c", "balance = 1"),
    ("a renamed column", "SELECT b FROM @ WHERE id = 1", "c(a, b)", "id = 1"),
    ("a renamed column", "SELECT b FROM @ WHERE a = 1", "c(a, b)", "a = 1"),
    (
        "under a join's alias",
        "SELECT 1 FROM (@ CROSS JOIN {accounts AS a}) AS j(x), {kyc AS c} WHERE c.id = 1",
        "c",
        "c.id = 1",
    ),
    ("under a join's alias", "SELECT 1 FROM (@ CROSS JOIN {kyc AS k}) AS j(born, id) WHERE id = 1", "c", "id = 1"),
]


@pytest.mark.parametrize(("what", "template", "alias", "where"), BAD)
def test_a_fence_that_could_drop_a_row_is_refused(what: str, template: str, alias: str, where: str) -> None:
    """And so is one whose condition would mean something else inside."""
    check(original(template, alias), fenced(template, alias))
    assert refusal(original(template, alias), fenced(template, alias, where)) is MismatchKind.GUARD, what


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("OFFSET 0", "OFFSET 1"),
        ("OFFSET 0", "LIMIT 0 OFFSET 0"),
        ("OFFSET 0", "LIMIT 1"),
        ("OFFSET 0", ""),
        ("OFFSET 0", "ORDER BY 1 OFFSET 0"),
        ("OFFSET 0", "OFFSET 0 FOR UPDATE"),
        ("OFFSET 0", "GROUP BY () OFFSET 0"),
        ("OFFSET 0", "HAVING true OFFSET 0"),
        ("SELECT * FROM (", "SELECT DISTINCT * FROM ("),
        ("SELECT * FROM (", "SELECT c.* FROM ("),
        ("SELECT * FROM (", "SELECT id FROM ("),
        ("SELECT * FROM (", "SELECT *, 1 FROM ("),
        ("SELECT * FROM (", "SELECT *, (SELECT max(id) FROM bank.customers) FROM ("),
        ("SELECT * FROM (", "SELECT * FROM bank.customers, ("),
        ("SELECT * FROM (", "SELECT * FROM LATERAL ("),
        ("SELECT * FROM (", "WITH x AS (SELECT 1) SELECT * FROM ("),
        (" AS c OFFSET", " AS d OFFSET"),
        (" AS c OFFSET", " AS c(id) OFFSET"),
        (" AS c OFFSET", " AS c, generate_series(1, 2) OFFSET"),
        (" AS c OFFSET", " AS c CROSS JOIN bank.customers OFFSET"),
        (" AS c OFFSET", " AS c UNION ALL SELECT * FROM bank.customers OFFSET"),
    ],
)
def test_anything_but_the_one_shape_is_no_fence(old: str, new: str) -> None:
    """The shape of a fence is fixed."""
    good = fenced("SELECT c.id FROM @", "c")
    check("SELECT c.id FROM bank.customers AS c", good)
    changed = good.replace(old, new, 1) if "SELECT" in old else new.join(good.rsplit(old, 1))
    assert changed != good
    assert refusal("SELECT c.id FROM bank.customers AS c", changed) is MismatchKind.GUARD


def test_one_fence_is_enough() -> None:
    """A fence around a fence is refused, as is a fence around a bare relation."""
    guard = expand("{bank.customers AS c}")
    twice = f"SELECT c.id FROM (SELECT * FROM (SELECT * FROM {guard} OFFSET 0) AS c OFFSET 0) AS c"
    assert refusal("SELECT c.id FROM bank.customers AS c", twice) is MismatchKind.GUARD
    bare = "SELECT c.id FROM (SELECT * FROM bank.customers AS c OFFSET 0) AS c"
    assert refusal("SELECT c.id FROM bank.customers AS c", bare) is MismatchKind.GUARD


def test_the_callers_own_offset_zero_is_not_taken_for_a_fence() -> None:
    """A subquery of the caller's that looks like a fence is compared like any other."""
    both = pair("SELECT x.id FROM (SELECT * FROM {customers AS x} WHERE x.id = 1 OFFSET 0) AS x")
    check(both.original, both.final)
    assert refusal(both.original, both.final.replace("WHERE x.id = 1 ", "")) is MismatchKind.TREE


UNION = "(SELECT * FROM {bank.customers AS c}# UNION ALL SELECT NULL, NULL WHERE false OFFSET 0) AS c"


@pytest.mark.parametrize("where", ["", " WHERE c.id = 1"])
def test_a_fence_may_end_in_a_union_without_rows(where: str) -> None:
    """``UNION ALL SELECT NULL, … WHERE false`` adds nothing; the planner's statistics end there."""
    asked = "SELECT c.id FROM @ WHERE c.id = 1"
    check(original(asked, "c"), expand(asked.replace("@", UNION.replace("#", where))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("false", "true"),
        ("false", "NULL"),
        (" WHERE false", ""),
        ("NULL, NULL", "NULL, 1"),
        ("NULL, NULL", "NULL, NULL AS x"),
        ("NULL, NULL WHERE", "NULL, NULL FROM bank.customers WHERE"),
        ("UNION ALL", "UNION"),
        ("UNION ALL", "EXCEPT ALL"),
        ("OFFSET 0", "OFFSET 1"),
        (" OFFSET 0", ""),
        ("OFFSET 0", "LIMIT 1 OFFSET 0"),
        ("# UNION", " WHERE c.id = 2 UNION"),
        ("false OFFSET", "false UNION ALL SELECT 1, 2 OFFSET"),
    ],
)
def test_another_union_is_no_fence(old: str, new: str) -> None:
    """Anything else after the guard is refused."""
    asked = "SELECT c.id FROM @ WHERE c.id = 1"
    text = UNION.replace(old, new)
    assert text != UNION
    assert refusal(original(asked, "c"), expand(asked.replace("@", text.replace("#", "")))) is MismatchKind.GUARD
