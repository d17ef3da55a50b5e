"""Masks by value on real servers, each against the oracle's plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from ipaddress import ip_interface

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.masks import mask_expression, result_type
from datagate.model.fragment import Fragment
from datagate.model.mask import Mask
from tests.backends.mask_cases import (
    CASE_IDS,
    CASES,
    KEYS,
    MASKS,
    TAG,
    VALUES,
    Connection,
    ask,
    comparable,
    inline_key,
    load,
)
from tests.twin.masks import mask_value, masked_type

TRIED = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
HOSTILE_SETTINGS = {
    "datestyle": "SQL, DMY",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "search_path": "evil, pg_catalog",
    "intervalstyle": "iso_8601",
    "xmloption": "document",
}
OTHER_STYLES = [
    {},
    {"datestyle": "German", "timezone": "Pacific/Kiritimati", "intervalstyle": "sql_standard"},
    # From PostgreSQL 18 on, the session's own abbreviations count first.
    {"datestyle": "Postgres, YMD", "timezone": "<UTC>+12", "extra_float_digits": "3"},
    {"timezone": "UTC-5:13"},
]


EVIL = """
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION evil.glue(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'captured' $$;
    CREATE FUNCTION evil.above(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION evil."left"(text, integer) RETURNS text LANGUAGE sql AS 'SELECT $1';
    CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1';
    CREATE FUNCTION evil.abs(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT $1';
    CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR evil.|| (FUNCTION = evil.glue, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR evil.> (FUNCTION = evil.above, LEFTARG = integer, RIGHTARG = integer);
    CREATE TYPE evil.text AS ENUM ('captured');
    CREATE TYPE evil."numeric" AS ENUM ('captured');
"""


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    database = postgres.create_database("masks")
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened
    postgres.drop_database("masks")


def assert_as_oracle(connection: Connection, type_name: str, values: Sequence[str]) -> None:
    masks = MASKS[type_name]
    for answer in ask(connection, type_name, values, masks):
        for mask, masked in zip(masks, answer.masked, strict=True):
            expected = mask_value(mask, load(type_name, answer.raw), type_name, tag=TAG, keys=KEYS)
            shown_type = masked_type(mask, type_name)
            shown = comparable(shown_type, load(shown_type, masked))
            assert shown == comparable(shown_type, expected), (mask, (answer.raw or "")[:200])


@pytest.mark.parametrize("type_name", MASKS)
def test_masks_by_value(connection: Connection, type_name: str) -> None:
    """On a table of ordinary and extreme values, every mask that fits gives what the oracle gives, and never raises."""
    assert_as_oracle(connection, type_name, VALUES[type_name])


@pytest.mark.parametrize(("type_name", "mask"), CASES, ids=CASE_IDS)
def test_type_is_as_told(connection: Connection, type_name: str, mask: Mask) -> None:
    """`result_type` names the type that the server gives, NULL stays NULL, and the oracle agrees on the type."""
    [some, nothing] = ask(connection, type_name, [VALUES[type_name][0], None], [mask])
    told = result_type(mask, type_name)
    assert some.types == nothing.types == (told,)
    assert nothing.masked == (None,)
    assert told == masked_type(mask, type_name)


@pytest.mark.parametrize("styles", OTHER_STYLES, ids=["", "German", "another UTC", "UTC ahead"])
def test_session_settings_and_hostile_objects_change_nothing(
    postgres: EmbeddedPostgres, styles: dict[str, str]
) -> None:
    """No setting of the session, and no function, operator or type on its search_path, changes a masked value."""
    database = postgres.create_database("masks_evil")
    with psycopg.connect(database, autocommit=True) as plain, psycopg.connect(database, autocommit=True) as hostile:
        plain.execute(EVIL)
        plain.prepare_threshold = None
        for name, setting in {**HOSTILE_SETTINGS, **styles}.items():
            hostile.execute(sql.SQL("SELECT pg_catalog.set_config({}, {}, false)").format(name, setting))
        for type_name, masks in MASKS.items():
            plain.execute(
                sql.SQL(
                    "CREATE TABLE public.raw AS SELECT CAST(v AS pg_catalog.{}) AS v FROM unnest({}::text[]) AS v"
                ).format(sql.Identifier(type_name), list(VALUES[type_name]))
            )
            for table, session in (("here", plain), ("there", hostile)):
                masked = (
                    mask_expression(mask, Fragment.of("v"), type_name, tag=TAG)[0].render(inline_key) for mask in masks
                )
                listed = ", ".join(f"{text} AS m{number}" for number, text in enumerate(masked))
                session.execute(f"CREATE TABLE public.{table} AS SELECT {listed} FROM public.raw".encode())
            here, there = (
                plain.execute(f"SELECT * FROM public.{table}".encode()).pgresult for table in ("here", "there")
            )
            assert here is not None
            assert there is not None
            cells = [(row, place) for row in range(here.ntuples) for place in range(here.nfields)]
            assert cells
            assert [here.get_value(*cell) for cell in cells] == [there.get_value(*cell) for cell in cells], type_name
            plain.execute("DROP TABLE public.raw, public.here, public.there")
    postgres.drop_database("masks_evil")


def strings() -> st.SearchStrategy[str]:
    """Text that PostgreSQL can hold: no NUL, no surrogates."""
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def some(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(values, min_size=1, max_size=30)


@TRIED
@given(some(strings() | st.from_regex(r"[a-z@.]{0,12}", fullmatch=True)))
@pytest.mark.parametrize("type_name", ["text", "bpchar"])
def test_any_text(connection: Connection, type_name: str, values: list[str]) -> None:
    """Any Unicode text is masked as the oracle masks it."""
    assert_as_oracle(connection, type_name, values)


@TRIED
@given(st.data())
@pytest.mark.parametrize("type_name", ["int2", "int4", "int8"])
def test_any_integer(connection: Connection, type_name: str, data: st.DataObject) -> None:
    """Any integer is masked as the oracle masks it, without overflow at either end."""
    bits = int(type_name[3:]) * 8 - 1
    values = data.draw(some(st.integers(-(2**bits), 2**bits - 1).map(str)))
    assert_as_oracle(connection, type_name, values)


@TRIED
@given(some(st.decimals().map(str)))
def test_any_numeric(connection: Connection, values: list[str]) -> None:
    """Any numeric is masked as the oracle masks it."""
    assert_as_oracle(connection, "numeric", ["NaN" if "NaN" in value else value for value in values])


@TRIED
@given(some(st.floats().map(repr)))
def test_any_float8(connection: Connection, values: list[str]) -> None:
    """Any double is masked as the oracle masks it, subnormal numbers, infinities and NaN too."""
    assert_as_oracle(connection, "float8", values)


@TRIED
@given(some(st.floats(width=32).map(repr)))
def test_any_float4(connection: Connection, values: list[str]) -> None:
    """Any single is masked as the oracle masks it."""
    assert_as_oracle(connection, "float4", values)


@TRIED
@given(st.lists(st.integers(-2451545, 2145031948), min_size=1, max_size=30))
def test_any_date(connection: Connection, days: list[int]) -> None:
    """Any date that PostgreSQL holds, from 4714 BC to the year 5874897, is masked as the oracle masks it."""
    found = connection.execute("SELECT (date '2000-01-01' + d)::text FROM unnest(%s::int4[]) AS d", [days]).fetchall()
    assert_as_oracle(connection, "date", [str(text) for (text,) in found])


@TRIED
@given(st.lists(st.integers(-211813488000000000, 9223371331199999999), min_size=1, max_size=30))
@pytest.mark.parametrize("type_name", ["timestamp", "timestamptz"])
def test_any_timestamp(connection: Connection, type_name: str, microseconds: list[int]) -> None:
    """Any timestamp that PostgreSQL holds is masked as the oracle masks it."""
    texts = connection.execute(
        f"SELECT ({type_name} '2000-01-01 00:00:00+00' + make_interval(days => (m / 86400000000)::int4) "
        "+ mod(m, 86400000000) * interval '1 microsecond')::text FROM unnest(%s::int8[]) AS m",
        [microseconds],
    ).fetchall()
    assert_as_oracle(connection, type_name, [str(text) for (text,) in texts])


@TRIED
@given(some(st.ip_addresses().map(str)), st.integers(0, 128))
@pytest.mark.parametrize("type_name", ["inet", "cidr"])
def test_any_address(connection: Connection, type_name: str, values: list[str], bits: int) -> None:
    """Any network address with any prefix is masked as the oracle masks it."""
    networks = [ip_interface(f"{value}/{min(bits, 128 if ':' in value else 32)}") for value in values]
    assert_as_oracle(connection, type_name, [str(each if type_name == "inet" else each.network) for each in networks])


KEYS_OF_DOCUMENTS = st.sampled_from(["contact", "phone", "mail", "home", "balance", "note", "other", "a \"q\" \\ 's'"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS_OF_DOCUMENTS, inner, max_size=4),
    max_leaves=12,
)


@TRIED
@given(some(st.dictionaries(KEYS_OF_DOCUMENTS, DOCUMENTS, max_size=5).map(json.dumps)), st.booleans())
@pytest.mark.parametrize("type_name", ["json", "jsonb"])
def test_any_document(connection: Connection, type_name: str, values: list[str], escaped: bool) -> None:
    """Any document, in whichever shape, is masked as the oracle masks it."""
    if not escaped:
        values = [json.dumps(json.loads(value), ensure_ascii=False) for value in values]
    assert_as_oracle(connection, type_name, values)


@TRIED
@given(some(st.text('\\\\\\u0deD83cC/"n9 ', max_size=24)))
def test_any_escapes(connection: Connection, values: list[str]) -> None:
    """What a json column holds and jsonb would refuse is hidden whole; nothing raises."""
    documents = [f'{{"note": "{value}", "balance": 5}}' for value in values]
    assert_as_oracle(connection, "json", [text for text in documents if _is_json(text)])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
