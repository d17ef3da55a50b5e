"""Which names mean items of WITH, by PostgreSQL's rules (manual, 7.8)."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import MismatchKind
from tests.verify.world import pair, passes, refusal

RIGHT = [
    "WITH customers AS (SELECT 1 AS id) SELECT id FROM customers",
    "WITH customers AS (SELECT 1 AS id) SELECT id FROM customers AS c, {bank.customers AS d}",
    "WITH customers AS (SELECT id FROM {customers}) SELECT id FROM customers",
    "WITH RECURSIVE customers AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM customers) SELECT id FROM customers",
    "WITH a AS (SELECT id FROM {kyc}), kyc AS (SELECT 1 AS id) SELECT a.id FROM a, kyc",
    "WITH RECURSIVE a AS (SELECT id FROM kyc), kyc AS (SELECT 1 AS id) SELECT a.id FROM a, kyc",
    "WITH kyc AS (SELECT 1 AS id), a AS (SELECT id FROM kyc) SELECT id FROM a",
    "SELECT id FROM (WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc) AS x, {kyc}",
    "(WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc) UNION SELECT id FROM {kyc}",
    "WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc UNION (SELECT id FROM kyc ORDER BY 1)",
    "WITH kyc AS (SELECT 1 AS id) SELECT (SELECT id FROM kyc), {}".format("(SELECT max(id) FROM {public.kyc})"),
    "WITH kyc AS (WITH kyc AS (SELECT id FROM {kyc}) SELECT id FROM kyc) SELECT id FROM kyc",
    "WITH x AS (SELECT 1) SELECT 1 FROM {kyc} ORDER BY (WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc)",
    'WITH "Kyc" AS (SELECT 1 AS id) SELECT id FROM {kyc}, "Kyc"',
    "WITH kyc\xa0 AS (SELECT 1 AS x) SELECT * FROM {kyc}",
    "WITH kyc AS MATERIALIZED (SELECT 1 AS id) SELECT id FROM kyc k JOIN {customers c} USING (id)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) CYCLE n SET c USING p SELECT n FROM t",
    "SELECT 1 FROM {kyc k} WHERE EXISTS (WITH kyc AS (SELECT id FROM {kyc}) SELECT 1 FROM kyc WHERE kyc.id = k.id)",
]


@pytest.mark.parametrize("template", RIGHT)
def test_relations_are_guarded_and_items_of_with_are_not(template: str) -> None:
    """Each name is resolved as PostgreSQL resolves it."""
    passes(template)


@pytest.mark.parametrize(
    ("original", "final"),
    [
        # The item is not in sight where the name stands, so the name means the table.
        ("WITH a AS (SELECT id FROM kyc), kyc AS (SELECT 1 AS id) SELECT id FROM a", None),
        ("WITH kyc AS (SELECT id FROM kyc) SELECT id FROM kyc", None),
        ("SELECT id FROM (WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc) AS x, kyc", None),
        ("(WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc) UNION SELECT id FROM kyc", None),
        ("SELECT (WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc), (SELECT id FROM kyc)", None),
        ("WITH kyc AS (SELECT 1 AS id) SELECT id FROM public.kyc", None),
        ('WITH "KYC" AS (SELECT 1 AS id) SELECT id FROM kyc', None),
        ("WITH x AS (WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc) SELECT id FROM kyc", None),
        # The item is hidden away in the original only.
        (
            "SELECT id FROM kyc",
            "WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc",
        ),
        (
            "WITH x AS (SELECT 1 AS id) SELECT id FROM kyc",
            "WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc",
        ),
        (
            "WITH kyc AS (SELECT 1 AS id) SELECT id FROM public.kyc",
            "WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc",
        ),
        (
            "WITH RECURSIVE a AS (SELECT id FROM kyc), kyc AS (SELECT 1 AS id) SELECT id FROM a",
            "WITH a AS (SELECT id FROM kyc), kyc AS (SELECT 1 AS id) SELECT id FROM a",
        ),
        (
            "WITH kyc AS (SELECT 1 AS id), a AS (SELECT id FROM kyc) SELECT id FROM a",
            "WITH a AS (SELECT id FROM kyc), kyc AS (SELECT 1 AS id) SELECT id FROM a",
        ),
        # U+00A0 is part of a name for PostgreSQL, and white space for others.
        (
            "WITH kyc\xa0 AS (SELECT 1 AS x) SELECT * FROM kyc",
            "WITH kyc AS (SELECT 1 AS x) SELECT * FROM kyc",
        ),
    ],
)
def test_a_relation_that_looks_like_an_item_of_with_is_refused(original: str, final: str | None) -> None:
    """An unguarded name passes only where PostgreSQL's own scoping makes it an item of WITH."""
    assert refusal(original, final or original) in (MismatchKind.GUARD, MismatchKind.TREE)


def test_an_item_of_with_is_not_guarded() -> None:
    """Putting a guard in the place of an item of WITH would change the answer."""
    original = "WITH kyc AS (SELECT 1 AS id, 2 AS x) SELECT id FROM kyc"
    final = pair("WITH kyc AS (SELECT 1 AS id, 2 AS x) SELECT id FROM {kyc}").final
    assert refusal(original, final) is MismatchKind.GUARD


def test_a_sample_of_an_item_of_with_is_refused() -> None:
    """PostgreSQL samples tables only; and the clause must not get lost."""
    original = "WITH kyc AS (SELECT 1 AS id) SELECT id FROM kyc TABLESAMPLE system (1)"
    for final in (original, original.partition(" TABLESAMPLE")[0]):
        assert refusal(original, final) is MismatchKind.GUARD


def test_an_inner_item_hides_an_outer_one_only_inside() -> None:
    """Leaving a subquery leaves its WITH."""
    template = (
        "WITH a AS (SELECT 1 AS id) SELECT 1 FROM a, (WITH b AS (SELECT id FROM a) SELECT id FROM b) x WHERE EXISTS"
        " (SELECT 1 FROM {})"
    )
    passes(template.format("{public.kyc AS b}"))
    assert refusal(template.format("b"), template.format("b")) is MismatchKind.GUARD
