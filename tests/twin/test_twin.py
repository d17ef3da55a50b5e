"""The oracle's own tests: a handful of rows, and what each caller's twin must hold of them, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.model.caller import Caller
from datagate.policy import load_policies
from fixtures.personas import Consent, Grant, World, entitled
from tests.twin.build import KEYS, build_twin
from tests.twin.consents import answers_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
Rows = list[tuple[Any, ...]]
Ask = Callable[..., Rows]

DATA = """
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('glad', 'sad');
CREATE TABLE shop.people (id int PRIMARY KEY, name varchar(20), city char(6), born date, mood shop.mood, worth numeric);
INSERT INTO shop.people VALUES
  (1, 'Ann', 'Bonn', '1990-05-05', 'glad', 149), (2, 'Bob', 'Rome', '1980-02-29', 'sad', 150),
  (3, 'Cy', NULL, '1970-01-01', NULL, 'NaN'), (4, 'Dee', 'Bonn', 'infinity', 'sad', NULL);
CREATE TABLE shop.sales (person int, day date, amount int) PARTITION BY RANGE (day);
CREATE TABLE shop.sales_old PARTITION OF shop.sales FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE shop.sales_new (amount int, person int, day date);
ALTER TABLE shop.sales ATTACH PARTITION shop.sales_new FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
INSERT INTO shop.sales VALUES
  (1, '2025-12-31', 10), (1, '2026-01-01', 20), (2, '2026-01-02', 30), (NULL, '2026-01-03', 40);
CREATE VIEW shop.names AS SELECT id, upper(name) AS name FROM shop.people;
CREATE VIEW shop.cities AS SELECT city, born FROM shop.people;
CREATE TABLE shop.unpoliced (x int);
"""

CONFIGURATION = """
purposes: {marketing: {contains: {marketing.email: By e-mail.}}, service: Serving.}
roles: [seller, boss, aide]
attributes: {city: text, cities: 'text[]', since: date}
tags: [key, name, plain]
scopes:
  desk:
    parameters: {person: int}
    relations:
      shop.people: {columns: [id, name, mood], rows: 'id <= :mandate.person'}
      shop.sales: {columns: all}
  twice:
    intersect_actor: true
    relations: {shop.people: {columns: all}}
"""

PEOPLE = """
relation: shop.people
owner: shop
why: A test.
data_subject: id
columns: {id: key, name: name, city: plain, born: plain, mood: plain, worth: plain}
rules:
  - permit: own-city
    to: {role: seller}
    for: [marketing]
    rows: city = :principal.city
    consent: required
    show: [id, name, city]
    masks: {name: redact}
  - permit: the-rich
    to: {role: seller}
    rows: worth >= 150
    show: [id, name, worth, born]
    masks: {worth: {round: 100}, born: {truncate: year}}
  - permit: all-of-them
    to: {role: boss}
    show: all
    masks: {mood: null, city: {keep_first: 1}}
  - permit: aides
    to: {role: aide}
    rows: mood = 'sad'
    show: [id, name, mood]
    masks: {name: {keep_last: 1}}
  - restrict: aides-by-agent
    when: {actor.kind: agent}
    masks: {name: {keep_first: 2}}
"""

SALES = """
relation: shop.sales
owner: shop
why: A test.
columns: {person: key, day: plain, amount: plain}
rules:
  - permit: of-visible-people
    rows: {through: shop.people, on: {person: id}}
    show: [person, amount]
  - restrict: not-of-old
    to: {role: seller}
    rows: amount > 10
"""

WORLD = World(
    entitlements={
        "sue": entitled("seller", city="Bonn"),
        "sid": entitled("seller"),
        "bea": entitled("boss"),
        "hal": entitled("aide"),
    },
    mandates=(
        Grant("m1", "bea", "hal", "desk", ("service",), {"person": 2}, sub_delegable=1),
        Grant("m2", "bea", "sue", "desk", ("service",), {"person": 1}, parent="m1"),
        Grant("m3", "bea", "hal", "twice", ("service",)),
    ),
    consents=(
        Consent("1", "marketing", granted=True),
        Consent("4", "marketing", granted=True),
        Consent("4", "marketing.email", granted=False),
    ),
)


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Caller], str]]:
    """Gives the connection string of a caller's twin of the shop."""
    policies = tmp_path_factory.mktemp("policies")
    for name, text in (("datagate", CONFIGURATION), ("people", PEOPLE), ("sales", SALES)):
        (policies / f"{name}.yaml").write_text(text.lstrip(), encoding="utf-8")
    read = load_policies(policies, PostgresPredicates())
    real_dsn = postgres.create_database("shop")
    made: dict[Caller, str] = {}
    with psycopg.connect(real_dsn, autocommit=True) as real:
        real.execute(DATA.encode())
        real.execute("ALTER DATABASE shop SET search_path = shop, public")

        def twin_of(caller: Caller) -> str:
            if caller not in made:
                made[caller] = postgres.create_database(f"shop_twin_{len(made)}")
                build_twin(real, made[caller], read, caller, WORLD.facts(caller), answers_of(WORLD), KEYS, NOW)
            return made[caller]

        yield twin_of
    for number in range(len(made)):
        postgres.drop_database(f"shop_twin_{number}")
    postgres.drop_database("shop")


@pytest.fixture
def ask(shop: Callable[[Caller], str]) -> Ask:
    """Run a statement on a caller's twin; rows sorted by their text."""

    def run(caller: Caller, text: str) -> Rows:
        with psycopg.connect(shop(caller)) as connection:
            return sorted(connection.execute(text.encode()).fetchall(), key=repr)

    return run


def test_rows_need_a_permit_and_consent_and_cells_follow_the_permit_that_matches(ask: Ask) -> None:
    """Ann consented to marketing; Bob is rich, and so is Cy: NaN is above all; no permit leaks into another's rows."""
    caller = Caller.of("sue", purpose="marketing")
    assert ask(caller, "SELECT * FROM people WHERE worth IS DISTINCT FROM 'NaN'") == [
        (1, "***", "Bonn  ", None, None),
        (2, "Bob", None, date(1980, 1, 1), 200),
        (4, "***", "Bonn  ", None, None),
    ]
    assert ask(caller, "SELECT id, name, worth::text FROM people WHERE worth = 'NaN'") == [(3, "Cy", "NaN")]


def test_the_nearest_answer_counts(ask: Ask) -> None:
    """Dee said yes to marketing and no to e-mail; Ann's yes to marketing covers e-mail."""
    assert ask(Caller.of("sue", purpose="marketing.email"), "SELECT id FROM people WHERE city = 'Bonn'") == [(1,)]


def test_a_permit_for_another_purpose_is_not_in_play(ask: Ask) -> None:
    """For service a seller sees the rich alone, without their cities: that column does not exist."""
    caller = Caller.of("sue", purpose="service")
    assert ask(caller, "SELECT id FROM people") == [(2,), (3,)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        ask(caller, "SELECT city FROM people")


def test_a_missing_attribute_refuses(ask: Ask) -> None:
    """Sid has no city: a predicate that needs it denies the relation, though another permit would show rows."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(Caller.of("sid", purpose="marketing"), "SELECT id FROM people")


def test_an_unpoliced_relation_and_an_unknown_purpose_are_denied(ask: Ask) -> None:
    """What no policy names does not exist; nor does anything for a purpose that is not in the tree."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(Caller.of("bea"), "SELECT * FROM unpoliced")
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(Caller.of("bea", purpose="fun"), "SELECT * FROM people")


def test_through_shows_the_rows_of_visible_people(ask: Ask) -> None:
    """Bob's sale only: Ann is not visible for service, NULL refers to nobody, and small sales are restricted."""
    assert ask(Caller.of("sue", purpose="service"), "SELECT * FROM sales") == [(2, 30)]
    assert ask(Caller.of("bea"), "SELECT * FROM sales") == [(1, 10), (1, 20), (2, 30)]


def test_partitions_can_be_named_and_keep_their_own_columns_order(ask: Ask) -> None:
    """A partition is its own rows under its parent's policy; ONLY the parent is nothing."""
    caller = Caller.of("bea")
    assert ask(caller, "SELECT * FROM sales_new") == [(20, 1), (30, 2)]
    assert ask(caller, "SELECT * FROM sales_old") == [(1, 10)]
    assert ask(caller, "SELECT * FROM ONLY sales") == []


def test_views_stand_on_the_redacted_tables(ask: Ask) -> None:
    """A view shows masked values; one that needs a hidden column does not exist."""
    caller = Caller.of("sue", purpose="service")
    assert ask(caller, "SELECT * FROM names") == [(2, "BOB"), (3, "CY")]
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(caller, "SELECT * FROM cities")
    assert ask(Caller.of("bea"), "SELECT city FROM cities WHERE city IS NOT NULL") == [
        ("B***",), ("B***",), ("R***",),
    ]  # fmt: skip


def test_columns_keep_order_type_and_key(ask: Ask) -> None:
    """Types stay, with their lengths where raw; a raw key determines the row; masked NULLs are typed."""
    caller = Caller.of("bea")
    types = ask(
        caller,
        "SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = 'people'::regclass AND attnum > 0",
    )
    assert types == [("integer character varying(20) bpchar date mood numeric",)]
    assert ask(caller, "SELECT id, name FROM people GROUP BY id HAVING id < 3") == [(1, "Ann"), (2, "Bob")]
    assert ask(caller, "SELECT DISTINCT mood FROM people") == [(None,)]
    assert ask(caller, "SELECT id FROM people WHERE born = 'infinity'") == [(4,)]


def test_a_mandate_narrows_rows_and_columns(ask: Ask) -> None:
    """Hal acts for the boss with a scope of three columns and two people."""
    caller = Caller.of("bea", actor="hal", mandate="m1", purpose="service")
    assert ask(caller, "SELECT * FROM people") == [(1, "Ann", None), (2, "Bob", None)]
    assert ask(caller, "SELECT person, amount FROM sales") == [(1, 10), (1, 20), (2, 30)]


def test_a_sub_mandate_is_the_intersection_of_its_chain(ask: Ask) -> None:
    """Sue holds a part of what Hal was handed."""
    caller = Caller.of("bea", actor="sue", mandate="m2", purpose="service")
    assert ask(caller, "SELECT id FROM people") == [(1,)]


def test_a_scope_may_intersect_the_actor(ask: Ask) -> None:
    """The boss's and the aide's own rules: sad people, under the masks of both; a shared restrict counts once."""
    caller = Caller.of("bea", actor="hal", actor_kind="agent", mandate="m3", purpose="service")
    assert ask(caller, "SELECT * FROM people") == [(2, "***", None), (4, "***", None)]


@pytest.mark.parametrize(
    "caller",
    [
        Caller.of("bea", actor="hal", purpose="service"),
        Caller.of("bea", actor="sue", mandate="m1", purpose="service"),
        Caller.of("bea", actor="hal", mandate="m1", purpose="marketing"),
        Caller.of("bea", actor="hal", mandate="m1"),
    ],
    ids=["no mandate", "another's mandate", "another purpose", "no purpose"],
)
def test_without_a_fitting_mandate_nothing_exists(ask: Ask, caller: Caller) -> None:
    """Delegation needs a mandate that is the actor's and for the purpose."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(caller, "SELECT 1 FROM people")
