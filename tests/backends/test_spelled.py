"""Calls that look things up by name, spelled out as queries of the catalogs."""

from __future__ import annotations

import psycopg
import pytest

from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.spelled import spell_out
from datagate.errors import UndefinedRelation

KEPT = (
    "select to_regclass('pg_class')",
    "select to_regclass('pg_class')::text, to_regtype('int4')::oid, 'pg_type'::text::regclass",
    "select relname::regclass, oid from pg_class where oid = 1259",
    "select case when true then null else to_regclass('pg_class') end, (select to_regtype('text'))",
    "select has_table_privilege('pg_class', 'select'), pg_get_serial_sequence('pg_class', 'oid')",
    "select typinput, typoutput::text from pg_type where oid = 23",
    "select proargtypes::regtype[]::text[] from pg_proc where oid = 0",
    "select c.relname from pg_class c where c.tableoid = 'pg_class'::regclass and c.oid = 1259",
    "select '23'::regtype, 'timestamp with time zone'::regtype, '\"char\"'::regtype, 'pg_catalog.pg_class'::regclass",
)


@pytest.mark.parametrize("text", KEPT)
def test_it_says_the_same(bank_dsn: str, text: str) -> None:
    """What is spelled out gives the same columns and rows, where nothing is hidden."""
    with psycopg.connect(bank_dsn) as connection:
        spelled = spell_out(text, read_catalog(connection), lambda _schema, _name: True)
        assert spelled != text
        plain, other = connection.execute(text.encode()), connection.execute(spelled.encode())
        named = [[(column.name, column.type_code) for column in each.description or ()] for each in (plain, other)]
        assert named[0] == named[1]
        assert plain.fetchall() == other.fetchall()


def test_what_looks_nothing_up_is_left_alone(bank_dsn: str) -> None:
    """Other statements are not even spelled anew."""
    with psycopg.connect(bank_dsn) as connection:
        catalog = read_catalog(connection)
        for text in ("select  1", "select 'to_regclass'", "select 'pg_class'::regclass"):
            assert spell_out(text, catalog, lambda _schema, _name: True) == text
        with pytest.raises(UndefinedRelation):
            spell_out("select 'nothing'::regclass", catalog, lambda _schema, _name: False)
