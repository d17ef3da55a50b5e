"""What the masks' SQL is made of: qualified names only, nothing volatile, and a text that the deparser leaves alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import postgast
import psycopg
import pytest
from google.protobuf import json_format

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.masks import chain_expression, is_total, mask_expression, result_type
from datagate.model.fragment import Binding, Fragment
from datagate.model.mask import Mask, MaskKind
from datagate.model.values import ValueType
from tests.backends.mask_cases import CASE_IDS, CASES, TAG, Connection, inline_key, json_paths, mask, spell

K = MaskKind
OPERAND = Fragment.of('g."Value"')


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    database = postgres.create_database("mask_text")
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened
    postgres.drop_database("mask_text")


def text_of(each: Mask, type_name: str) -> str:
    return spell(mask_expression(each, OPERAND, type_name, tag=TAG)[0], {})


def tree_of(text: str) -> object:
    """The parse tree of ``SELECT text`` without positions."""
    return _without_positions(json_format.MessageToDict(postgast.parse(text)))


def _without_positions(node: object) -> object:
    if isinstance(node, Mapping):
        return {
            name: _without_positions(child)
            for name, child in node.items()
            if not name.lower().endswith(("location", "len", "start", "end"))
        }
    return [_without_positions(child) for child in node] if isinstance(node, list) else node


def nodes(tree: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every node of a tree with the name of its kind."""
    if isinstance(tree, Mapping):
        for name, child in tree.items():
            if isinstance(child, Mapping):
                yield name, child
            yield from nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from nodes(child)


def names_of(listed: object) -> list[str]:
    assert isinstance(listed, list)
    return [str(each["String"]["sval"]) for each in listed]


@pytest.mark.parametrize(("type_name", "each"), CASES, ids=CASE_IDS)
def test_deparser_leaves_the_tree_alone(type_name: str, each: Mask) -> None:
    """Parsing, deparsing and parsing again gives the same tree."""
    text = f"SELECT {text_of(each, type_name)}"
    assert tree_of(postgast.deparse(postgast.parse(text))) == tree_of(text)


@pytest.mark.parametrize(("type_name", "each"), CASES, ids=CASE_IDS)
def test_every_name_is_qualified(type_name: str, each: Mask) -> None:
    """Functions, operators, types and collations stand in pg_catalog; no construct looks up an operator by itself."""
    for kind, node in nodes(tree_of(f"SELECT {text_of(each, type_name)}")):
        if kind == "FuncCall":
            assert names_of(node["funcname"])[0] == "pg_catalog"
        elif kind == "typeName":
            assert names_of(node["names"])[0] == "pg_catalog"
        elif kind == "CollateClause":
            assert names_of(node["collname"])[0] == "pg_catalog"
        elif kind == "A_Expr":
            assert node["kind"] == "AEXPR_OP"
            assert names_of(node["name"])[0] == "pg_catalog"
        elif kind == "CaseExpr":
            assert "arg" not in node
        assert kind.lower() not in {"sublink", "rangevar", "rowcompareexpr", "sqlvaluefunction"}


@pytest.mark.parametrize(
    "text", ["a = b", "CASE a WHEN b THEN c END", "a IN (1)", "lower(a)", "a::text", "NULLIF(a, b)"]
)
def test_the_check_of_names_can_fail(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would notice a name that is not qualified."""
    monkeypatch.setattr(f"{__name__}.text_of", lambda *_: text)
    with pytest.raises(AssertionError):
        test_every_name_is_qualified("text", CASES[0][1])


def test_nothing_is_volatile(connection: Connection) -> None:
    """Every function that a mask calls, by name or behind an operator, is immutable or stable, and built in."""
    functions, operators = set(), set()
    for type_name, each in CASES:
        for kind, node in nodes(tree_of(f"SELECT {text_of(each, type_name)}")):
            if kind == "FuncCall":
                functions.add(names_of(node["funcname"])[-1])
            elif kind == "A_Expr":
                operators.add(names_of(node["name"])[-1])
    assert {"sha256", "jsonb_set", "date_trunc"} <= functions
    found = connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile <> 'v' "
        "AND proname = ANY(%s)",
        [sorted(functions)],
    )
    assert {name for (name,) in found} == functions
    volatile = connection.execute(
        "SELECT o.oprname FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode "
        "WHERE p.provolatile = 'v' AND o.oprname = ANY(%s)",
        [sorted(operators)],
    )
    assert operators
    assert volatile.fetchall() == []


def test_keys_travel_as_bindings() -> None:
    """A keyed mask names its two padded keys as bytea bindings and holds no key itself."""
    fragment, _ = mask_expression(mask(K.HASH, key="iban-2026"), OPERAND, "text", tag=TAG)
    outer, inner = (Binding(f"key.iban-2026.{pad}", ValueType.BYTEA) for pad in ("outer", "inner"))
    assert fragment.bindings == (outer, inner)
    assert mask_expression(mask(K.EMAIL), OPERAND, "text", tag=TAG)[0].bindings == ()


def shown(connection: Connection, each: Mask, type_name: str, value: str, *, cast: str | None = None) -> object:
    """One masked value; ``cast``: the SQL type of the operand, by default the type itself."""
    operand = Fragment.of(f"CAST({value} AS {cast or type_name})")
    text = mask_expression(each, operand, type_name, tag=TAG)[0].render(inline_key)
    [(result,)] = connection.execute(f"SELECT {text}".encode()).fetchall()
    return result


def test_pseudonyms_join_within_a_domain(connection: Connection) -> None:
    """Equal values of one domain have equal pseudonyms, whatever the width of their type; other domains differ."""
    integers = {shown(connection, mask(K.PSEUDONYM), type_name, "4711") for type_name in ("int2", "int4", "int8")}
    assert integers == {shown(connection, mask(K.PSEUDONYM), "numeric", "4711.00")}
    texts = {
        str(shown(connection, mask(K.PSEUDONYM), type_name, "'DE89'", cast=sql_type)).rstrip()
        for type_name, sql_type in (("text", "text"), ("varchar", "varchar(9)"), ("bpchar", "char(9)"))
    }
    assert len(texts) == 1
    others = {
        shown(connection, mask(K.PSEUDONYM, **options), "int4", "4711")
        for options in ({"domain": "other"}, {"domain": "Customer"}, {"domain": "customer", "key": "long"})
    }
    assert len(others | integers) == 4
    assert shown(connection, mask(K.PSEUDONYM, domain=TAG), "int4", "4711") in integers


def test_domains_and_enums_and_collations(connection: Connection) -> None:
    """Masks work on domains (giving the base type), on enums (null only) and under nondeterministic collations."""
    connection.execute(
        "CREATE DOMAIN positive AS int4 CHECK (VALUE > 0); CREATE DOMAIN mail AS varchar(40) NOT NULL;"
        "CREATE DOMAIN amount AS numeric(9, 2); CREATE DOMAIN born AS date; CREATE DOMAIN papers AS jsonb;"
        "CREATE DOMAIN host AS inet; CREATE TYPE mood AS ENUM ('sad', 'glad');"
    )
    for type_name, each in CASES:
        domain = {
            "int4": "positive",
            "varchar": "mail",
            "numeric": "amount",
            "date": "born",
            "jsonb": "papers",
            "inet": "host",
        }
        some = {
            "int4": "17",
            "varchar": "'a@b'",
            "numeric": "17.5",
            "date": "'1999-02-03'",
            "jsonb": "'{}'",
            "inet": "'::1'",
        }
        if type_name in domain:
            plain = shown(connection, each, type_name, some[type_name])
            assert shown(connection, each, type_name, some[type_name], cast=domain[type_name]) == plain
    assert shown(connection, mask(K.NULL), "mood", "'sad'") is None
    fragment, told = mask_expression(mask(K.NULL), Fragment.of("CAST('sad' AS mood)"), "mood", tag=TAG)
    [(kind,)] = connection.execute(f"SELECT pg_typeof({fragment.render(inline_key)})::text".encode()).fetchall()
    assert (kind, told) == ("mood", "mood")


def test_nondeterministic_collation(connection: Connection) -> None:
    """Text under a collation that PostgreSQL cannot search in is masked all the same."""
    try:
        connection.execute(
            "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server was built without ICU and has no nondeterministic collations")
    for type_name, each in CASES:
        if type_name == "text":
            collated = "('Ann@b.example' COLLATE any_case)"
            assert shown(connection, each, "text", collated) == shown(connection, each, "text", "'Ann@b.example'")


def test_chains_apply_the_first_mask_first(connection: Connection) -> None:
    """A chain masks what the masks before it left, and its type is the last one's."""
    masks = [mask(K.EMAIL), mask(K.KEEP_LAST, n=7), mask(K.ZIP3)]
    fragment, told = chain_expression(masks, Fragment.of("CAST('ann@bank.example' AS varchar)"), "varchar", tag=TAG)
    [(text,)] = connection.execute(f"SELECT {fragment.render(inline_key)}".encode()).fetchall()
    assert (text, told) == ("***", "varchar")
    assert chain_expression([], OPERAND, "date", tag=TAG) == (OPERAND, "date")
    assert chain_expression([mask(K.PSEUDONYM), mask(K.ROUND, to=10)], OPERAND, "int2", tag=TAG)[1] == "int8"
    with pytest.raises(ValueError, match="round does not fit type text"):
        chain_expression([mask(K.HASH), mask(K.ROUND, to=10)], OPERAND, "int4", tag=TAG)


def test_sql_masks(connection: Connection) -> None:
    """A steward's expression stands in for the value, has the type that its checker told, and leaves NULL as NULL."""

    def checked(expression: str) -> tuple[Fragment, str]:
        return Fragment.of(f"pg_catalog.{expression}"), "int4"

    each = mask(K.SQL, expression="length('abc')")
    for value, expected in (("'x'", 3), ("NULL", None)):
        fragment, told = mask_expression(
            each, Fragment.of(f"CAST({value} AS text)"), "text", tag=TAG, sql_expression=checked
        )
        [(result,)] = connection.execute(f"SELECT {fragment.render(inline_key)}".encode()).fetchall()
        assert (result, told) == (expected, "int4")
    assert result_type(each, "text", sql_expression=checked) == "int4"
    assert result_type(each, "text") == "text"


def test_totality() -> None:
    """All masks are total but the steward's own SQL."""
    assert all(is_total(each) for _, each in CASES)
    assert is_total(mask(K.HIDE))
    assert not is_total(mask(K.SQL, expression="1/0"))
    assert not is_total(json_paths(a=mask(K.NULL), b=mask(K.SQL, expression="1/0")))


def test_hide_fits_every_type_and_has_no_expression() -> None:
    """`hide` is never spelled, but may be asked for its type."""
    assert result_type(mask(K.HIDE), "mood") == "mood"
    with pytest.raises(ValueError, match="takes the column away"):
        mask_expression(mask(K.HIDE), OPERAND, "text", tag=TAG)


@pytest.mark.parametrize(
    ("type_name", "each"),
    [
        *(
            (type_name, mask(kind))
            for type_name in ("int4", "json", "mood", "_text")
            for kind in (K.REDACT, K.EMAIL, K.ZIP3)
        ),
        *((type_name, mask(K.KEEP_FIRST, n=2)) for type_name in ("uuid", "bytea", "_varchar")),
        *((type_name, mask(K.HASH)) for type_name in ("float8", "bytea", "jsonb", "bool", "_text")),
        *((type_name, mask(K.PSEUDONYM)) for type_name in ("float8", "date", "inet", "bool", "json")),
        *((type_name, mask(K.TRUNCATE, unit="year")) for type_name in ("text", "time", "interval")),
        *((type_name, mask(K.ROUND, to=10)) for type_name in ("text", "money", "interval")),
        *((type_name, mask(K.BUCKET, edges=(1,))) for type_name in ("text", "date", "money")),
        *((type_name, mask(K.IP_PREFIX)) for type_name in ("text", "macaddr")),
        *((type_name, json_paths(a=mask(K.NULL))) for type_name in ("text", "hstore", "_jsonb")),
    ],
)
def test_misfits(type_name: str, each: Mask) -> None:
    """A mask on a type that it does not fit is refused, saying which type and what would fit."""
    with pytest.raises(ValueError, match=rf"{each.kind.value} does not fit type {type_name}: it masks .*; use null"):
        result_type(each, type_name)


@pytest.mark.parametrize(
    ("type_name", "each", "what"),
    [
        ("text", mask(K.REDACT, value=5), "value as text"),
        ("text", mask(K.REDACT, value="a\0"), "NUL"),
        ("text", mask(K.REDACT, value="\ud800"), "surrogate"),
        ("text", mask(K.KEEP_FIRST), "needs n"),
        ("text", mask(K.KEEP_LAST, n=-1), "needs n"),
        ("text", mask(K.KEEP_LAST, n=True), "needs n"),
        ("text", mask(K.HASH, key="a.b"), "names a key 'a.b'"),
        ("text", mask(K.HASH, key=7), "key as text"),
        ("text", mask(K.PSEUDONYM, domain=""), "no domain"),
        ("text", mask(K.PSEUDONYM, domain="a\0b"), "NUL"),
        ("date", mask(K.TRUNCATE), "no unit None; write one of year"),
        ("date", mask(K.TRUNCATE, unit="decade"), "no unit 'decade'"),
        ("int4", mask(K.ROUND), "needs to"),
        ("int4", mask(K.ROUND, to=0), "cannot round to 0"),
        ("int4", mask(K.ROUND, to=-5), "cannot round to -5"),
        ("int4", mask(K.ROUND, to=Decimal("0.5")), "no fractions"),
        ("numeric", mask(K.ROUND, to=Decimal("NaN")), "cannot round"),
        ("numeric", mask(K.ROUND, to=Decimal("1e19")), "cannot round"),
        ("numeric", mask(K.ROUND, to="10"), "needs to"),
        ("int4", mask(K.BUCKET), "needs edges"),
        ("int4", mask(K.BUCKET, edges=()), "needs edges"),
        ("int4", mask(K.BUCKET, edges=(1, 1)), "do not ascend"),
        ("int4", mask(K.BUCKET, edges=(2, 1)), "do not ascend"),
        ("int4", mask(K.BUCKET, edges=("1",)), "not a number"),
        ("int2", mask(K.BUCKET, edges=(40000,)), "no value of type int2"),
        ("int4", mask(K.BUCKET, edges=(Decimal("0.5"),)), "no value of type int4"),
        ("float8", mask(K.BUCKET, edges=(Decimal("1e-19"),)), "smaller than 1e-18"),
        ("numeric", mask(K.BUCKET, edges=(Decimal("Infinity"),)), "needs edges"),
        ("inet", mask(K.IP_PREFIX, v4=33), "v4, a whole number from 0 to 32"),
        ("inet", mask(K.IP_PREFIX, v6=-1), "v6, a whole number from 0 to 128"),
        ("jsonb", mask(K.JSON), "needs paths"),
        ("jsonb", mask(K.JSON, paths=(("a", "hide"),)), "needs paths"),
        ("jsonb", mask(K.JSON, paths=("ab",)), "needs paths"),
        ("jsonb", mask(K.JSON, paths=(("a..b", mask(K.NULL)),)), "empty step"),
        ("jsonb", json_paths(a=mask(K.NULL), a__b=mask(K.NULL)), "a.b lies at or below a"),
        ("jsonb", mask(K.JSON, paths=(("a", mask(K.NULL)), ("a", mask(K.NULL)))), "lies at or below"),
        ("jsonb", json_paths(a=mask(K.TRUNCATE, unit="year")), "truncate does not fit type text"),
        ("jsonb", json_paths(a=json_paths(b=mask(K.NULL))), "json cannot stand inside"),
        ("jsonb", json_paths(a=mask(K.SQL, expression="1")), "sql cannot stand inside"),
        ("text", mask(K.SQL), "needs an expression"),
    ],
)
def test_wrong_options(type_name: str, each: Mask, what: str) -> None:
    """A wrong or missing option is refused, saying what is wrong."""
    with pytest.raises(ValueError, match=what):
        result_type(each, type_name)
