"""Class 56: names that something of the attacker's comes to stand for.

What: functions, operators, types, casts, collations and relations of the same name in another schema or as temporary
objects; a search path that is set at start-up, for the role, for the database, or on the way.
Why: PostgreSQL takes the closest match of all schemas in the path, and looks for relations and types among temporary
ones first.
Defence: what the gate writes is qualified; the path is the gate's, with temporary objects at its end; what the caller
names is refused where something that is not PostgreSQL's own could answer to it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import DatagateError
from datagate.frontends import driver
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.frontends.gateway.running import SERVICE, Running, make_role
from tests.twin.pairs import Pairs
from tests.twin.rows import Connection

POLICIES = Path(__file__).parents[2] / "policies"
CUSTOMERS = 40
SECRET = "(SELECT string_agg(ssn, ',') FROM bank.customers)"  # noqa: S105 - what an attacker is after

PLANT = f"""
CREATE SCHEMA evil;
CREATE TABLE evil.customers AS SELECT ssn AS region, * FROM (SELECT ssn, full_name, balance FROM bank.customers) AS c;
CREATE TABLE public.customers AS SELECT ssn AS region FROM bank.customers;
CREATE TABLE public.pg_class AS SELECT ssn AS relname FROM bank.customers;
CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE FUNCTION public.round(numeric, numeric) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE FUNCTION public.length(bpchar) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE FUNCTION public.date_trunc(text, date) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE FUNCTION public.step(text, varchar) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE AGGREGATE public.max(varchar) (SFUNC = public.step, STYPE = text);
CREATE FUNCTION public.always(numeric, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR public.> (LEFTARG = numeric, RIGHTARG = int, FUNCTION = public.always);
CREATE FUNCTION public.tell(varchar, text) RETURNS text LANGUAGE sql AS $$ SELECT {SECRET} $$;
CREATE OPERATOR public.|| (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.tell);
CREATE DOMAIN public.text AS pg_catalog.text CHECK (false);
CREATE TYPE public.date AS (a int);
CREATE TYPE evil.uuid AS ENUM ('a');
CREATE COLLATION public."C" FROM "C";
CREATE COLLATION evil.ucs_basic FROM "C";
"""

STATEMENTS = [
    "select region, count(*) from customers group by 1",
    "select region, count(*) from bank.customers group by 1",
    "select count(*) > 0 from pg_class where relname = 'customers'",
    "select lower(region) from bank.customers",
    "select lower(region::varchar) from bank.customers",
    "select pg_catalog.lower(region::varchar) from bank.customers",
    "select max(region) from bank.customers",
    "select max(region::varchar) from bank.customers",
    "select pg_catalog.max(region::varchar) from bank.customers",
    "select length(zip) from bank.customers",
    "select length(zip::bpchar) from bank.customers",
    "select round(balance, 1) from bank.customers",
    "select round(balance, 1.0) from bank.customers",
    "select date_trunc('year', birth_date) from bank.customers",
    "select upper(region) from bank.customers",
    "select count(*) from bank.customers where balance > 100000",
    "select count(*) from bank.customers where balance > 100000::numeric",
    "select count(*) from bank.customers where balance operator(pg_catalog.>) 100000",
    "select count(*) from bank.customers where balance operator(public.>) 100000",
    "select region || 'x' from bank.customers",
    "select region::varchar || 'x'::text from bank.customers",
    "select region operator(pg_catalog.||) 'x' from bank.customers",
    "select count(*) from bank.customers where balance between 1 and 100000",
    "select count(*) from bank.customers where balance not between symmetric 100000 and 1",
    "select count(*) from bank.customers where greatest(balance, 5) = balance",
    "select count(*) from bank.customers where balance > any (array[100000])",
    "select count(*) from bank.customers where (balance, 1) > (100000, 0)",
    "select host(balance) from bank.customers",
    "select host(balance::inet) from bank.customers",
    "select balance::text::inet from bank.customers where false",
    "select region::text from bank.customers",
    "select region::pg_catalog.text from bank.customers",
    "select region::public.text from bank.customers",
    "select birth_date::date from bank.customers",
    "select null::public.date",
    "select date '2020-01-01'",
    "select '6f2b1d3a-0000-4000-8000-000000000000'::uuid",
    'select region collate "C" from bank.customers order by 1',
    'select region collate pg_catalog."C" from bank.customers order by 1',
    "select region collate ucs_basic from bank.customers order by 1",
    "select customers.region from bank.customers order by region limit 1",
    "select pg_temp.lower(region) from bank.customers",
    "select evil.upper(region) from bank.customers",
    "select * from evil.customers",
    "select * from public.customers",
    "select * from pg_temp.customers",
]
"""Each answers as on the twin, where none of the above exists, or is refused."""

PATHS = [
    "set search_path = evil, public",
    "set local search_path = evil",
    "set schema 'evil'",
    "reset search_path",
    "reset all",
    "select set_config('search_path', 'evil', false)",
    "select pg_catalog.set_config('search_path', 'evil', true)",
    "update pg_settings set setting = 'evil' where name = 'search_path'",
]
TEMPORARY = ["text", "varchar", "numeric", "date", "bool", "int8", "timestamptz", "customers", "pg_class", "consents"]


class Scene:
    """The bank with all of that in it, an analyst's ways in, and the twin, which has none of it."""

    def __init__(self, dsn: str, pairs: Pairs, gateway: Running) -> None:
        self.dsn = dsn
        self.pairs = pairs
        self.gateway = gateway
        self.twin: Connection = pairs.pair(CALLERS["analyst"]).twin

    def driven(self, **more: Any) -> driver.Connection[Any]:
        """By the driver, as a role of the least rights."""
        dsn = make_conninfo(self.dsn, user=SERVICE, **more)
        return driver.connect(dsn, caller=CALLERS["analyst"], gate=self.pairs.gate, autocommit=True)


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The scene."""
    dsn = postgres.create_database("captured")
    with psycopg.connect(dsn) as connection:
        load(connection, CUSTOMERS)
        connection.execute(PLANT.encode())
        connection.execute("GRANT USAGE ON SCHEMA evil, public TO public")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA evil, public TO public")
    with Pairs(postgres, dsn, POLICIES, world(CUSTOMERS)) as pairs:
        make_role(dsn).dispose()
        with Running(dsn, tmp_path_factory.mktemp("captured")) as gateway:
            with psycopg.connect(dsn, autocommit=True) as connection:
                # After the gates have been opened, so that only what they set can stand against it.
                connection.execute("ALTER DATABASE captured SET search_path = evil, bank")
                connection.execute(
                    f"ALTER ROLE {SERVICE} IN DATABASE captured SET search_path = evil, pg_catalog".encode()
                )
            yield Scene(dsn, pairs, gateway)
    postgres.drop_database("captured")


def answer(connection: psycopg.Connection[Any], text: str) -> tuple[str, Any]:
    """The SQLSTATE, or nothing and the rows."""
    try:
        return "", sorted(map(repr, connection.execute(text.encode()).fetchall()))
    except DatagateError as error:
        return error.sqlstate, str(error)
    except psycopg.Error as error:
        return str(error.sqlstate), str(error.diag.message_primary)


def hold(scene: Scene, connection: psycopg.Connection[Any], text: str) -> bool:
    """Whether it answers; then as on the twin."""
    state, told = answer(connection, text)
    assert "555-" not in told
    if state:
        assert state in ("42501", "42P01", "42883", "42704", "42725", "42703", "0A000", "42846", "42P21", "23514"), (
            text,
            told,
        )
        return False
    assert (state, told) == answer(scene.twin, text), text
    return True


def test_both_doors(scene: Scene) -> None:
    """No capture, whichever way; and qualified names answer, so that it is not all refused."""
    with scene.driven() as driven, scene.gateway.connect("ana") as wired:
        for connection in (driven, wired):
            answered = {text for text in STATEMENTS if hold(scene, connection, text)}
            assert len(answered) >= 15, answered
            assert {text for text in STATEMENTS if "pg_catalog." in text} <= answered


@pytest.mark.parametrize("options", ["-c search_path=evil,bank", "-c search_path=pg_temp,evil", "--search_path=evil"])
def test_paths_at_start_up(scene: Scene, options: str) -> None:
    """Refused, or without effect."""
    with scene.driven() as plain:
        path = answer(plain, "show search_path")
    doors: list[Callable[[], psycopg.Connection[Any]]] = [
        lambda: scene.driven(options=options),
        lambda: scene.gateway.connect("ana", options=options),
    ]
    for door in doors:
        with contextlib.suppress(psycopg.OperationalError), door() as connection:
            assert answer(connection, "show search_path") == path
            for text in STATEMENTS[:8]:
                hold(scene, connection, text)


@pytest.mark.parametrize("text", PATHS)
def test_paths_on_the_way(scene: Scene, text: str) -> None:
    """Refused; or it leaves the path what it was, in a transaction too."""
    with scene.driven() as driven, scene.gateway.connect("ana") as wired:
        for connection in (driven, wired):
            before = answer(connection, "show search_path")
            connection.execute("begin")
            state, _ = answer(connection, text)
            connection.execute("rollback" if state else "commit")
            assert answer(connection, "show search_path") == before
            assert hold(scene, connection, "select count(*) from bank.customers")


@pytest.mark.parametrize("name", TEMPORARY)
def test_temporary_tables(scene: Scene, name: str) -> None:
    """A temporary table, whose row type has its name, stands for no relation of a schema and for no type."""
    with scene.driven() as driven, scene.gateway.connect("ana") as wired:
        for connection in (driven, wired):
            answer(connection, f"create temp table {name} as select 'secret' as region, 1 as balance")
            for text in STATEMENTS[1:]:
                if not re.search(r" from (pg_temp\.)?customers|pg_class", text):
                    hold(scene, connection, text)
            assert hold(scene, connection, "select region, count(*) from bank.customers group by 1")
            assert hold(scene, connection, "select birth_date::pg_catalog.date, balance::numeric from bank.customers")
