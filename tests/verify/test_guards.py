"""A guard that is missing, weaker, another's or elsewhere is always found."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import Mismatch, MismatchKind, Prescription, verify
from tests.verify.world import CATALOG, FUNCTIONS, GUARDS, catalog, check, expand, pair, plain, refusal, relation_name

# Each place where a relation may hide; ``@`` is where it stands.
PLACES = [
    "SELECT * FROM @",
    "SELECT * FROM {public.kyc AS x}, @",
    "SELECT * FROM (SELECT * FROM @) AS x",
    "SELECT * FROM generate_series(1, 2) AS s, LATERAL (SELECT * FROM @) AS x",
    "SELECT * FROM generate_series(1, 2) AS s JOIN @ ON true",
    "SELECT * FROM @ LEFT JOIN generate_series(1, 2) AS s ON true",
    "SELECT * FROM generate_series(1, 2) AS s JOIN generate_series(1, 3) AS t ON EXISTS (SELECT 1 FROM @)",
    "SELECT * FROM (generate_series(1, 2) AS s CROSS JOIN @) AS j",
    "WITH x AS (SELECT id FROM @) SELECT 1",
    "WITH x AS (WITH y AS (SELECT id FROM @) SELECT 1) SELECT 1",
    "WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT id FROM @) SELECT 1",
    "SELECT 1 UNION SELECT id FROM @",
    "SELECT id FROM @ UNION SELECT 1",
    "SELECT 1 INTERSECT (SELECT 2 EXCEPT SELECT id FROM @)",
    "SELECT 1 UNION SELECT 2 ORDER BY (SELECT id FROM @)",
    "SELECT (SELECT id FROM @)",
    "SELECT ARRAY(SELECT id FROM @)",
    "SELECT ARRAY[(SELECT id FROM @)]",
    "SELECT ROW((SELECT id FROM @))",
    "SELECT ((SELECT id FROM @) + 1)::text",
    "SELECT (ARRAY[1, 2])[(SELECT id FROM @)]",
    "SELECT (ARRAY[1, 2])[1:(SELECT id FROM @)]",
    "SELECT ((SELECT x FROM (SELECT * FROM @) AS x)).id",
    "SELECT lower((SELECT id FROM @))",
    "SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM @))",
    "SELECT array_agg(1 ORDER BY (SELECT id FROM @))",
    "SELECT sum(1) OVER (PARTITION BY (SELECT id FROM @))",
    "SELECT sum(1) OVER (ORDER BY (SELECT id FROM @))",
    "SELECT sum(1) OVER (ROWS BETWEEN (SELECT id FROM @) PRECEDING AND CURRENT ROW)",
    "SELECT sum(1) OVER (ROWS BETWEEN CURRENT ROW AND (SELECT id FROM @) FOLLOWING)",
    "SELECT sum(1) OVER w FROM generate_series(1, 2) WINDOW w AS (PARTITION BY (SELECT id FROM @))",
    "SELECT percentile_cont((SELECT id FROM @)) WITHIN GROUP (ORDER BY 1)",
    "SELECT CASE (SELECT id FROM @) WHEN 1 THEN 2 END",
    "SELECT CASE WHEN true THEN (SELECT id FROM @) ELSE 1 END",
    "SELECT CASE WHEN true THEN 1 ELSE (SELECT id FROM @) END",
    "SELECT COALESCE(1, (SELECT id FROM @)), GREATEST(1, 2)",
    "SELECT GREATEST(1, (SELECT id FROM @))",
    "SELECT NULLIF(1, (SELECT id FROM @))",
    "SELECT 1 IN (2, (SELECT id FROM @))",
    "SELECT 1 IN (SELECT id FROM @)",
    "SELECT (SELECT id FROM @) IN (SELECT 1)",
    "SELECT 1 BETWEEN 0 AND (SELECT id FROM @)",
    "SELECT (SELECT id FROM @) IS NULL",
    "SELECT ((SELECT id FROM @) = 1) IS TRUE",
    "SELECT NOT EXISTS (SELECT 1 FROM @)",
    "SELECT true AND (false OR EXISTS (SELECT 1 FROM @))",
    'SELECT ((SELECT id FROM @) COLLATE "C")',
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM @)",
    "SELECT 1 HAVING EXISTS (SELECT 1 FROM @)",
    "SELECT 1 GROUP BY (SELECT id FROM @)",
    "SELECT 1 GROUP BY ROLLUP ((SELECT id FROM @))",
    "SELECT DISTINCT ON ((SELECT id FROM @)) 1",
    "SELECT 1 ORDER BY (SELECT id FROM @) DESC",
    "SELECT 1 LIMIT (SELECT id FROM @)",
    "SELECT 1 OFFSET (SELECT id FROM @)",
    "VALUES (1), ((SELECT id FROM @))",
    "SELECT * FROM (VALUES ((SELECT id FROM @))) AS v",
    "SELECT * FROM generate_series(1, (SELECT id FROM @)) AS s",
    "SELECT * FROM ROWS FROM (generate_series(1, (SELECT id FROM @)), generate_series(1, 2)) AS s",
    "SELECT * FROM xmltable('/r' PASSING (SELECT id FROM @) COLUMNS a int) AS x",
    "SELECT * FROM xmltable((SELECT id FROM @) PASSING '<r/>' COLUMNS a int) AS x",
    "SELECT * FROM xmltable('/r' PASSING '<r/>' COLUMNS a int PATH (SELECT id FROM @)) AS x",
    "SELECT * FROM xmltable('/r' PASSING '<r/>' COLUMNS a int DEFAULT (SELECT id FROM @)) AS x",
    "SELECT * FROM xmltable(XMLNAMESPACES((SELECT id FROM @) AS n), '/r' PASSING '<r/>' COLUMNS a int) AS x",
    "SELECT xmlelement(name a, (SELECT id FROM @))",
    "SELECT xmlelement(name a, xmlattributes((SELECT id FROM @) AS b))",
    "SELECT xmlserialize(CONTENT (SELECT id FROM @) AS text)",
    "TABLE @",
]
SINCE_17 = [
    "SELECT json_array((SELECT id FROM @))",
    "SELECT json_array(SELECT id FROM @)",
    "SELECT json_object('a': (SELECT id FROM @))",
    "SELECT json_object((SELECT id FROM @): 1)",
    "SELECT json_arrayagg((SELECT id FROM @))",
    "SELECT json_arrayagg(1 ORDER BY (SELECT id FROM @))",
    "SELECT json_objectagg('a': (SELECT id FROM @)) FILTER (WHERE true)",
    "SELECT json_objectagg('a': 1) FILTER (WHERE EXISTS (SELECT 1 FROM @))",
    "SELECT json_objectagg('a': 1) OVER (ORDER BY (SELECT id FROM @))",
    "SELECT (SELECT id FROM @) IS JSON",
    "SELECT json((SELECT id FROM @))",
    "SELECT json_scalar((SELECT id FROM @))",
    "SELECT json_serialize((SELECT id FROM @))",
    "SELECT json_value((SELECT id FROM @), '$')",
    "SELECT json_query('{}', '$' PASSING (SELECT id FROM @) AS x)",
    "SELECT json_query('{}', (SELECT id FROM @))",
    "SELECT json_value('{}', '$' DEFAULT (SELECT id FROM @) ON EMPTY)",
    "SELECT json_value('{}', '$' DEFAULT (SELECT id FROM @) ON ERROR)",
    "SELECT * FROM json_table((SELECT id FROM @), '$' COLUMNS (a int)) AS j",
    "SELECT * FROM json_table('{}', '$' PASSING (SELECT id FROM @) AS x COLUMNS (a int)) AS j",
    "SELECT * FROM json_table('{}', '$' COLUMNS (a int DEFAULT (SELECT id FROM @) ON EMPTY)) AS j",
    "SELECT * FROM json_table('{}', '$' COLUMNS (NESTED '$' COLUMNS (a int DEFAULT (SELECT id FROM @) ON ERROR))) AS j",
]


def _at(place: str, relation: str) -> str:
    """The place with a relation in it; TABLE takes no alias, so there the whole is spelled out."""
    return place.replace("TABLE @", "SELECT * FROM @").replace("@", relation)


@pytest.mark.parametrize("place", PLACES)
def test_no_place_hides_a_bare_relation(place: str) -> None:
    """With its guard the statement passes; with the bare relation, in whatever place, it does not."""
    both = pair(_at(place, "{bank.customers}"))
    check(both.original, both.final)
    bare = expand(_at(place, "bank.customers"))
    assert refusal(both.original, bare) is MismatchKind.GUARD
    assert refusal(both.original, expand(_at(place, "bank.customers AS customers"))) is MismatchKind.GUARD
    assert (
        refusal(both.original, expand(_at(place, "(SELECT * FROM bank.customers) AS customers"))) is MismatchKind.GUARD
    )
    assert refusal(both.original, expand(_at(place, "{bank.customers AS c}"))) is MismatchKind.GUARD
    assert refusal(both.original, expand(_at(place, "{public.customers}"))) is MismatchKind.GUARD


@pytest.mark.parametrize("place", SINCE_17)
def test_no_place_in_sql_json_hides_a_bare_relation(place: str) -> None:
    """The same for SQL/JSON, on a server that has it."""
    recent = catalog(server_version=170000)
    both = pair(_at(place, "{bank.customers}"))
    check(both.original, both.final, of=recent)
    assert refusal(both.original, _at(place, "bank.customers"), of=recent) is MismatchKind.GUARD


WEAKENINGS = [
    ("a conjunct is gone", "g.region = ANY($9::text[]) AND ", ""),
    ("the consent is gone", " AND EXISTS (SELECT 1 FROM datagate.consents AS c WHERE c.data_subject = g.id)", ""),
    ("the filter is gone", " WHERE g.region = ANY($9::text[]) AND", " WHERE true OR"),
    ("AND becomes OR", "ANY($9::text[]) AND", "ANY($9::text[]) OR"),
    ("a mask is gone", "left(g.email, 1) AS email", "g.email AS email"),
    ("a mask shows more", "left(g.email, 1)", "left(g.email, 2)"),
    ("a column is added", "g.born AS born", "g.born AS born, g.note AS note"),
    ("a column is gone", ", g.born AS born", ""),
    ("columns are swapped", "g.balance AS balance, g.born AS born", "g.born AS balance, g.balance AS born"),
    ("the order of columns differs", "g.balance AS balance, g.born AS born", "g.born AS born, g.balance AS balance"),
    ("another parameter", "$9", "$8"),
    ("a constant for the parameter", "$9::text[]", "'{EU,US}'::text[]"),
    ("an operator", "g.region = ANY", "g.region <> ANY"),
    ("ALL for ANY", "= ANY(", "= ALL("),
    ("another relation", '"bank"."customers"', '"public"."customers"'),
    ("another schema for the state", "datagate.consents", "public.consents"),
    ("no schema", '"bank"."customers"', "customers"),
    ("ONLY", 'FROM "bank"', 'FROM ONLY "bank"'),
    ("a sample", "AS g WHERE", "AS g TABLESAMPLE system (100) WHERE"),
    ("one more relation", "AS g WHERE", "AS g, public.kyc AS k WHERE"),
    ("a limit", "c.data_subject = g.id)", "c.data_subject = g.id) LIMIT 10"),
    ("DISTINCT", "SELECT g.id AS id, left", "SELECT DISTINCT g.id AS id, left"),
    ("a union", "c.data_subject = g.id)", "c.data_subject = g.id) UNION ALL SELECT 1, 'x', 'y', 2, NULL"),
    ("another data subject", "c.data_subject = g.id", "c.data_subject = g.region"),
    ("the inner alias", "AS g WHERE", "AS c WHERE"),
]


@pytest.mark.parametrize(("what", "old", "new"), WEAKENINGS)
@pytest.mark.parametrize("fence", [False, True])
def test_a_guard_other_than_the_prescribed_one_is_refused(what: str, old: str, new: str, fence: bool) -> None:
    """Whatever is changed in a guard, inside a fence too."""
    guard = GUARDS["bank.customers"]
    assert old in guard, what
    template = (
        "SELECT c.email FROM (SELECT * FROM (%s) AS c OFFSET 0) AS c" if fence else "SELECT c.email FROM (%s) AS c"
    )
    original = "SELECT c.email FROM bank.customers AS c"
    check(original, template % guard)
    assert refusal(original, template % guard.replace(old, new)) is MismatchKind.GUARD


BITS = (
    "SELECT g.id AS id FROM bank.customers AS g WHERE EXISTS (SELECT 1 FROM datagate.consent_numbers AS kn"
    " LEFT JOIN datagate.consent_blocks AS k0 ON k0.block = kn.block AND k0.purpose = $7::text"
    " LEFT JOIN datagate.consent_blocks AS k1 ON k1.block = kn.block AND k1.purpose = $8::text"
    " WHERE kn.block = (g.id::int8 >> 10) AND COALESCE(CASE WHEN statement_timestamp() >= k0.holds_until"
    " OR k0.asked IS NOT NULL AND get_bit(k0.yes, (g.id::int8 & 1023)) = 0 AND get_bit(k0.no, (g.id::int8 & 1023)) = 0"
    " THEN datagate.answered($7::text, g.id::int8, k0.holds_until, k0.asked, ARRAY['plain'], $9::text[], $9::text[])"
    " ELSE CASE WHEN get_bit(k0.yes, (g.id::int8 & 1023)) = 1 THEN true"
    " WHEN get_bit(k0.no, (g.id::int8 & 1023)) = 1 THEN false END END, get_bit(k1.yes, (g.id::int8 & 1023)) = 1))"
)


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("the end of a block is not asked", "statement_timestamp() >= k0.holds_until OR ", ""),
        ("a block that ended counts", "() >= k0", "() < k0"),
        ("another clock", "statement_timestamp()", "now()"),
        ("other bits", "get_bit(k1.yes,", "get_bit(k1.no,"),
        ("another bit", "& 1023)) = 1))", "& 1022)) = 1))"),
        ("the other value", "& 1023)) = 1))", "& 1023)) = 0))"),
        ("another block", ">> 10", ">> 9"),
        ("a block of any purpose", " AND k1.purpose = $8::text", ""),
        ("the purposes are swapped", "k0.purpose = $7::text", "k0.purpose = $8::text"),
        ("the nearest does not win", "THEN false END", "THEN NULL END"),
        ("inner for outer", "LEFT JOIN datagate.consent_blocks AS k1", "JOIN datagate.consent_blocks AS k1"),
        ("a limit is not asked", "k0.asked IS NOT NULL AND", "k0.asked IS NULL AND"),
        ("fewer categories", "ARRAY['plain']", "ARRAY[]::text[]"),
        ("other recipients", "$9::text[], $9::text[]", "$9::text[], NULL"),
        ("bits of somebody's own", "datagate.consent_blocks AS k1", "public.consent_blocks AS k1"),
        ("a look-up of somebody's own", "datagate.answered", "public.answered"),
    ],
)
def test_bits_of_consent_are_held_to_the_prescription_too(what: str, old: str, new: str) -> None:
    """The condition by bits is proved as any other: what is prescribed stands there, and nothing else does."""
    name = relation_name("bank.customers")
    prescriptions = {name: Prescription(guard=BITS, view_sql=None)}
    original, final = "SELECT c.id FROM bank.customers AS c", "SELECT c.id FROM (%s) AS c"
    verify(original, final % BITS, catalog=CATALOG, prescriptions=prescriptions, functions=FUNCTIONS)
    assert old in BITS, what
    changed = final % BITS.replace(old, new)
    with pytest.raises(Mismatch) as caught:
        verify(original, changed, catalog=CATALOG, prescriptions=prescriptions, functions=FUNCTIONS)
    assert caught.value.kind is MismatchKind.GUARD


@pytest.mark.parametrize(
    ("original", "final"),
    [
        # Swapped, doubled, moved, aliased otherwise.
        ("SELECT c.id FROM customers AS c, accounts AS a", "SELECT c.id FROM {accounts AS c}, {customers AS a}"),
        ("SELECT c.id FROM customers AS c, accounts AS a", "SELECT c.id FROM {accounts AS a}, {customers AS c}"),
        ("SELECT c.id FROM customers AS c, accounts AS a", "SELECT c.id FROM {customers AS c}, {customers AS a}"),
        ("SELECT c.id FROM customers AS c, accounts AS a", "SELECT c.id FROM {customers AS a}, {accounts AS c}"),
        ("SELECT customers.id FROM customers", "SELECT customers.id FROM {customers AS c}"),
        ("SELECT * FROM customers AS c(a, b)", "SELECT * FROM {customers AS c}"),
        ("SELECT * FROM customers AS c(a, b)", "SELECT * FROM {customers AS c(b, a)}"),
        ("SELECT * FROM customers AS c", "SELECT * FROM {customers AS c(x)}"),
        # LATERAL on the guard itself.
        ("SELECT * FROM kyc AS k, customers AS c", "SELECT * FROM {kyc AS k}, LATERAL {customers AS c}"),
        # ONLY and TABLESAMPLE that the caller did not write, or did.
        ("SELECT * FROM ONLY kyc AS k", "SELECT * FROM {kyc AS k}"),
        ("SELECT * FROM kyc AS k", "SELECT * FROM {ONLY kyc k}"),
        ("SELECT * FROM kyc AS k TABLESAMPLE system (1)", "SELECT * FROM {kyc AS k}"),
        # A guard inside a guard's place, in a subquery, in a WITH.
        ("SELECT * FROM kyc AS k", "SELECT * FROM (SELECT * FROM {kyc AS k}) AS k"),
        ("SELECT * FROM kyc AS k", "WITH k AS (SELECT * FROM {kyc AS k}) SELECT * FROM k"),
        ("SELECT * FROM kyc AS k", "WITH kyc AS (SELECT * FROM {kyc AS k}) SELECT * FROM kyc AS k"),
        # One more relation, guarded or not.
        ("SELECT * FROM kyc AS k", "SELECT * FROM {kyc AS k}, {customers AS c}"),
        ("SELECT * FROM kyc AS k", "SELECT * FROM {kyc AS k}, customers AS c"),
        ("SELECT * FROM kyc AS k", "SELECT * FROM {kyc AS k} CROSS JOIN customers AS c"),
        ("SELECT * FROM kyc AS k", "SELECT *, (SELECT max(id) FROM customers) FROM {kyc AS k}"),
        ("SELECT * FROM kyc AS k", "SELECT * FROM {kyc AS k} UNION ALL SELECT * FROM customers"),
        ("SELECT 1", "SELECT 1 FROM customers"),
        ("SELECT 1", "SELECT 1 FROM {customers AS c}"),
        ("SELECT * FROM generate_series(1, 2) AS c", "SELECT * FROM {customers AS c}"),
        ("SELECT * FROM (SELECT 1 AS id) AS c", "SELECT * FROM {customers AS c}"),
    ],
)
def test_a_guard_in_another_place_is_refused(original: str, final: str) -> None:
    """Guards may not be moved, swapped, renamed, doubled or added."""
    assert refusal(original, expand(final)) in (MismatchKind.GUARD, MismatchKind.TREE)


@pytest.mark.parametrize(
    "sample",
    [
        ("TABLESAMPLE system (10)", "TABLESAMPLE system (20)"),
        ("TABLESAMPLE system (10)", "TABLESAMPLE bernoulli (10)"),
        ("TABLESAMPLE system (10) REPEATABLE (1)", "TABLESAMPLE system (10)"),
        ("TABLESAMPLE system (10)", "TABLESAMPLE system (10) REPEATABLE (1)"),
        ("TABLESAMPLE system ($1)", "TABLESAMPLE system ($2)"),
    ],
)
def test_another_sample_is_refused(sample: tuple[str, str]) -> None:
    """The caller's own sample, method, arguments and seed."""
    guard = GUARDS["public.kyc"].replace("AS g ", f"AS g {sample[1]} ")
    assert refusal(f"SELECT * FROM kyc AS k {sample[0]}", f"SELECT * FROM ({guard}) AS k") is MismatchKind.GUARD


@pytest.mark.parametrize(
    "original",
    [
        "SELECT * FROM public.forgotten",
        "SELECT * FROM forgotten",
        "SELECT * FROM nowhere",
        "SELECT * FROM bank.kyc",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_catalog.pg_authid",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM datagate.consents",
        "TABLE forgotten",
    ],
)
def test_a_relation_without_a_prescription_is_refused(original: str) -> None:
    """Unknown and unprescribed relations alike."""
    assert refusal(original, original) is MismatchKind.GUARD


def test_a_relation_named_with_its_database_is_refused() -> None:
    """``db.schema.table`` is not resolved."""
    assert refusal("SELECT * FROM bank.public.kyc", expand("SELECT * FROM {public.kyc}")) is MismatchKind.FORBIDDEN


@pytest.mark.parametrize(
    "guard",
    [
        "SELECT g.id AS id FROM public.kyc AS g",
        "SELECT g.id AS id FROM bank.customers AS g, public.kyc AS k",
        "SELECT g.id AS id FROM customers AS g",
        "SELECT g.id FROM bank.customers AS g",
        "SELECT * FROM bank.customers AS g",
        "SELECT g.id AS id, g.region AS id FROM bank.customers AS g",
        "SELECT g.id AS id FROM bank.customers AS g WHERE EXISTS (SELECT 1 FROM consents)",
        "SELECT g.id AS id FROM ONLY bank.customers AS g",
        "SELECT 1 AS id",
        "SELECT g.id AS id FROM bank.customers AS g UNION ALL SELECT g.id AS id FROM bank.customers AS g",
    ],
)
def test_a_prescription_that_is_no_guard_of_the_relation_is_refused(guard: str) -> None:
    """The verifier does not take even the policy's text on trust where it can see."""
    prescriptions = {relation_name("bank.customers"): Prescription(guard=guard, view_sql=None)}
    with pytest.raises(Mismatch, match=r"guard|prescribed") as caught:
        verify(
            "SELECT id FROM bank.customers AS c",
            f"SELECT id FROM ({guard}) AS c",
            catalog=CATALOG,
            prescriptions=prescriptions,
            functions=FUNCTIONS,
        )
    assert caught.value.kind is MismatchKind.GUARD


@pytest.mark.parametrize(
    "prescription",
    [Prescription(guard=None, view_sql=None), Prescription(GUARDS["bank.customers"], "SELECT 1 AS id")],
)
def test_a_prescription_of_nothing_or_of_both_is_refused(prescription: Prescription) -> None:
    """There is no way to say: let it pass."""
    both = pair("SELECT id FROM {bank.customers AS c}")
    for final in (both.original, both.final):
        with pytest.raises(Mismatch, match="guard") as caught:
            verify(
                both.original,
                final,
                catalog=CATALOG,
                prescriptions={relation_name("bank.customers"): prescription},
                functions=FUNCTIONS,
            )
        assert caught.value.kind is MismatchKind.GUARD


def test_a_parameter_is_the_callers_or_the_policys() -> None:
    """A caller who could set the policy's parameter would choose his own region, or read a mask's key."""
    passing = "SELECT $1, $2 FROM {bank.customers AS c}"
    check(plain(passing), expand(passing))
    for stolen in ("SELECT $9 FROM {bank.customers AS c}", "SELECT 1 FROM {bank.customers AS c} WHERE $9 = 'EU'"):
        assert refusal(plain(stolen), expand(stolen)) is MismatchKind.GUARD
    sampled = GUARDS["bank.customers"].replace("AS g", "AS g TABLESAMPLE system ($9)", 1)
    original = "SELECT 1 FROM bank.customers AS c TABLESAMPLE system ($9)"
    assert refusal(original, f"SELECT 1 FROM ({sampled}) AS c") is MismatchKind.GUARD
