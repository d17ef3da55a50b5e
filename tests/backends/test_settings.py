"""Expressions that a session's settings would move are refused, and what to write instead is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.backends.postgres.settings import check_settings
from datagate.errors import PolicyError, Problem
from datagate.gate import Gate
from datagate.policy import read_source

WORDS = """
purposes: {study: Studies.}
roles: {nurse: Cares.}
attributes: {ward: text, wards: "text[]", until: date, budget: numeric}
tags: {plain: Nothing.}
functions: [clinic.told, clinic.steady, clinic.pinned]
scopes:
  proxy:
    why: Somebody else looks.
    parameters: {since: timestamptz}
    relations: {clinic.visits: {columns: all, rows: "seen_at > :mandate.since"}}
"""
VISITS = """relation: clinic.visits
owner: o@clinic.example
why: Nurses see visits.
columns: {id: plain, seen_at: plain, local_at: plain, day: plain, weight: plain, scan: plain, ward: plain, mood: plain,
  took: plain, doc: plain, price: plain, net: plain, tags: plain, closes: plain, half: plain}
rules:
  - permit: own
    to: {role: nurse}
    for: [study]
    show: all
"""
TABLES = """
CREATE SCHEMA clinic;
CREATE TYPE clinic.mood AS ENUM ('well', 'ill');
CREATE DOMAIN clinic.half AS float8 CHECK (value > 0);
CREATE TABLE clinic.visits (id int8, seen_at timestamptz, local_at timestamp, day date, weight float8, scan bytea,
    ward text, mood clinic.mood, took interval, doc jsonb, price numeric, net inet, tags text[], closes timetz,
    half clinic.half);
CREATE FUNCTION clinic.told(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT now()::text';
CREATE FUNCTION clinic.steady(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION clinic.pinned(text) RETURNS text LANGUAGE sql STABLE
    SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' AS 'SELECT now()::text';
"""

# What settings move, and what says the same and stays.
PAIRS = {
    "a moment without an offset": ("seen_at > '2024-01-01'", "seen_at > '2024-01-01 00:00+00'"),
    "a typed moment": ("seen_at > timestamptz '2024-01-01 10:00'", "seen_at > timestamptz '2024-01-01 10:00+00'"),
    "a day in another order": ("day > '01/02/2024'", "day > '2024-02-01'"),
    "a typed day": ("day > date '1.2.2024'", "day > date '2024-02-01'"),
    "today": ("day > 'today'", "day > (:now AT TIME ZONE 'UTC')::date"),
    "today, as a moment": ("seen_at > 'today'", "seen_at > :now"),
    "the current day": ("day > current_date", "day > (:now AT TIME ZONE 'utc')::date"),
    "the local time": ("local_at > localtimestamp", "local_at > :now AT TIME ZONE 'UTC'"),
    "an interval's sign": ("took > '-1 2:03:04'", "took > '-1 days -02:03:04'"),
    "days before now": (
        "seen_at > :now - interval '90 days'",
        "seen_at > (:now AT TIME ZONE 'UTC' - interval '90 days') AT TIME ZONE 'UTC'",
    ),
    "hours before now": (
        "seen_at + interval '4 hours' > :now",
        "(seen_at AT TIME ZONE 'UTC' + interval '4 hours') AT TIME ZONE 'UTC' > :now",
    ),
    "a day of a moment": ("seen_at::date = day", "(seen_at AT TIME ZONE 'UTC')::date = day"),
    "a moment of a day": ("day::timestamptz < :now", "day::timestamp AT TIME ZONE 'UTC' < :now"),
    "a day against a moment": ("day < :now", "day < :now AT TIME ZONE 'UTC'"),
    "a local time against a moment": ("local_at < seen_at", "local_at < seen_at AT TIME ZONE 'UTC'"),
    "an attribute against a moment": ("seen_at < :principal.until", "seen_at AT TIME ZONE 'UTC' < :principal.until"),
    "an hour": ("extract(hour from seen_at) < 8", "extract(hour from seen_at AT TIME ZONE 'UTC') < 8"),
    "the start of a day": (
        "date_trunc('day', seen_at) < :now",
        "date_trunc('day', seen_at AT TIME ZONE 'UTC') < :now AT TIME ZONE 'UTC'",
    ),
    "the start of a day there": (
        "date_trunc('day', seen_at, 'UTC') < :now",
        "date_trunc('day', seen_at AT TIME ZONE 'Europe/Berlin') < local_at",
    ),
    "a zone by its abbreviation": (
        "seen_at AT TIME ZONE 'EST' < local_at",
        "seen_at AT TIME ZONE 'America/New_York' < local_at",
    ),
    "a zone by an offset": ("seen_at AT TIME ZONE ward < local_at", "seen_at AT TIME ZONE INTERVAL '1h' < local_at"),
    "a zone by its rules": ("seen_at AT TIME ZONE 'UTC-5' < local_at", "seen_at AT TIME ZONE INTERVAL '5h' < local_at"),
    "an age": ("age(seen_at, :now) > interval '1 year'", "age(seen_at AT TIME ZONE 'UTC', local_at) > '1 year'"),
    "a moment's text": ("seen_at::text LIKE '2024%'", "seen_at >= '2024-01-01 00:00+00'"),
    "a moment's format": ("to_char(seen_at, 'YYYY') = '2024'", "extract(year from day) = 2024"),
    "a day's text": ("day::text LIKE '2024%'", "day >= '2024-01-01'"),
    "a text's day": ("ward::date = day", "make_date(2024, 1, id::int) = day"),
    "a float's text": ("weight::text = '0.3'", "weight::numeric = 0.3"),
    "a domain's text": ("half::text = '0.5'", "half = 0.5"),
    "a float's text, joined": ("ward || weight = 'a0.3'", "ward || weight::numeric::text = 'a0.3'"),
    "bytes' text": ("scan::text LIKE '%ff%'", "encode(scan, 'hex') LIKE '%ff%'"),
    "an interval's text": ("took::text = '1 day'", "took = '1 day'"),
    "concat": ("concat(ward, seen_at) = 'a'", "ward || id::text = 'a1'"),
    "format": ("format('%s', weight) = 'a'", "lower(ward) = 'a'"),
    "a row's text": ("row(seen_at)::text = ''", "row(seen_at, id) = row(:now, 1)"),
    "an array's text": ("array[weight]::text = ''", "weight = any(array[1, 2])"),
    "a document of a moment": ("to_jsonb(seen_at) = doc", "doc ->> 'at' = 'x'"),
    "xml of a moment": ("xmlelement(name a, seen_at) IS NOT NULL", "seen_at IS NOT NULL"),
    "an enum": ("mood::text || weight = 'well'", "mood::text = 'well' OR mood = 'ill'"),
    "a stable function": ("clinic.told(ward) = 'x'", "clinic.steady(ward) = 'x' OR clinic.pinned(ward) = 'x'"),
    "an attribute's text": ("ward = :principal.until::text", "ward = any(:principal.wards)"),
    "the present's text": (
        "ward = :now::text",
        "price > :principal.budget AND now() > :now",
    ),
    "a time with a zone": ("closes < '10:00'", "closes < '10:00+00' AND closes::time < '10:00'"),
    "text with a language": ("to_tsvector(ward) IS NULL", "to_tsvector('english', ward) IS NULL"),
    "something random": ("random() < 0.5", "net << '10.0.0.0/8' AND 'a' = any(tags) AND coalesce(price, 0) > 0"),
}


@pytest.fixture(scope="module")
def clinic(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a database with the visits."""
    dsn = postgres.create_database("settings")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES.encode())
    yield dsn
    postgres.drop_database("settings")


def check(dsn: str, directory: Path, visits: str) -> list[Problem]:
    """What is wrong with a policy of the visits."""
    (directory / "datagate.yaml").write_text(WORDS)
    (directory / "visits.yaml").write_text(visits)
    with psycopg.connect(dsn, autocommit=True) as connection:
        catalog = read_catalog(connection)
        source = read_source(directory, PostgresPredicates(catalog.functions))
        found = check_settings(connection, source.policies, catalog)
        assert connection.execute("SELECT to_regclass('pg_temp.g')").fetchone() == (None,)
        return found


def quoted(text: str) -> str:
    """A YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def test_a_zones_abbreviation(clinic: str, tmp_path: Path) -> None:
    """From PostgreSQL 18 on a session's own abbreviations count first, so that none is steady; before, they are."""
    with psycopg.connect(clinic) as connection:
        first = connection.info.server_version >= 180000
    for abbreviation in ("EST", "ist", "UTC"):
        found = check(clinic, tmp_path, VISITS + f"    rows: seen_at > '2024-01-01 10:00 {abbreviation}'\n")
        assert bool(found) is first
    assert check(clinic, tmp_path, VISITS + "    rows: seen_at > '2024-01-01 10:00-05'\n") == []


@pytest.mark.parametrize("name", PAIRS)
def test_what_settings_move_is_refused(clinic: str, tmp_path: Path, name: str) -> None:
    """The first of a pair is refused at its place; the second passes."""
    moved, steady = PAIRS[name]
    (problem,) = check(clinic, tmp_path, VISITS + f"    rows: {quoted(moved)}\n")
    assert (problem.source.line, problem.source.column) == (VISITS.count("\n") + 1, 11)
    assert any(word in problem.what for word in ("settings", "session", "unsupported XML feature"))
    assert check(clinic, tmp_path, VISITS + f"    rows: {quoted(steady)}\n") == []


MASKS = {
    "a day": ("seen_at", "seen_at::date", "date_trunc('day', seen_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"),
    "a constant": ("seen_at", "'2024-01-01'", "'2024-01-01 00:00+00'"),
    "text": ("ward", "ward || seen_at", "left(ward, 1) || '…'"),
    "a type of its own": ("ward", "weight", "price"),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_too(clinic: str, tmp_path: Path, name: str) -> None:
    """So is a steward's mask, what it becomes in the column's type included."""
    column, moved, steady = MASKS[name]
    (problem,) = check(clinic, tmp_path, VISITS + f"    masks: {{{column}: {{sql: {quoted(moved)}}}}}\n")
    assert problem.source.line == VISITS.count("\n") + 1
    assert check(clinic, tmp_path, VISITS + f"    masks: {{{column}: {{sql: {quoted(steady)}}}}}\n") == []


def test_scopes_too(clinic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are the rows of a scope."""
    assert check(clinic, tmp_path, VISITS) == []
    monkeypatch.setitem(globals(), "WORDS", WORDS.replace("seen_at > :mandate.since", "day > :mandate.since"))
    (problem,) = check(clinic, tmp_path, VISITS)
    assert problem.source.file.endswith("datagate.yaml")


def test_a_gate_does_not_open(clinic: str, tmp_path: Path) -> None:
    """Neither with files, nor with a set that was read before; nor where it cannot be found out."""
    (tmp_path / "datagate.yaml").write_text(WORDS)
    (tmp_path / "visits.yaml").write_text(VISITS + "    rows: seen_at > '2024-01-01'\n")
    policies = read_source(tmp_path, PostgresPredicates()).policies
    for given in (tmp_path, policies):
        with pytest.raises(PolicyError, match="reads differently"):
            Gate.open(clinic, policies=given)
    with pytest.raises(PolicyError, match="GRANT TEMPORARY"):
        Gate.open(make_conninfo(clinic, options="-c default_transaction_read_only=on"), policies=policies)


def test_what_the_server_does_not_take(clinic: str, tmp_path: Path) -> None:
    """An expression that is wrong for the columns is told at its place, in the server's words."""
    found = check(clinic, tmp_path, VISITS + "    rows: ward > 3\n    masks: {ward: {sql: ward + 1}}\n")
    assert [problem.source.line for problem in found] == [VISITS.count("\n") + 1, VISITS.count("\n") + 2]
    assert all("operator does not exist" in problem.what for problem in found)
