"""Which statements take which road, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from datagate.backends.postgres.statements import StatementKind, check_zone, read_statement
from datagate.errors import Refused, UnsupportedConstruct
from datagate.frontends.gateway.client import profile_of


@pytest.mark.parametrize("text", ["select 1", "values (1)", "table t", "with a as (select 1) table a", "(select 1)"])
def test_queries(text: str) -> None:
    """Whatever reads goes down the road of a query."""
    assert read_statement(text).kind is StatementKind.QUERY


@pytest.mark.parametrize(
    "text",
    ["begin", "commit", "rollback", "savepoint a", "rollback to a", "release a", "start transaction read only",
     "set timezone = 'UTC'", "show timezone", "reset statement_timeout", "set transaction isolation level serializable",
     "set client_encoding = 'utf8'", "show search_path"],
)  # fmt: skip
def test_session_statements(text: str) -> None:
    """Transactions and listed settings pass."""
    assert read_statement(text).kind is StatementKind.SESSION


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("create table t (a int)", UnsupportedConstruct, "CREATE TABLE"),
        ("do 'begin end'", UnsupportedConstruct, "DO"),
        ("select 1 into t", UnsupportedConstruct, "SELECT INTO"),
        ("(select 1 into t) union select 2", UnsupportedConstruct, "SELECT INTO"),
        ("select 1; select 2", UnsupportedConstruct, "2 statements"),
        ("set search_path = evil", Refused, "search_path"),
        ("set role postgres", Refused, "role"),
        ("set session authorization postgres", Refused, "session_authorization"),
        ("set row_security = off", Refused, "row_security"),
        ("set client_encoding = 'sjis'", Refused, "client_encoding"),
        ("show data_directory", Refused, "data_directory"),
        ("prepare transaction 'a'", UnsupportedConstruct, "transaction"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, error: type[Exception], word: str) -> None:
    """A refusal names what was not carried."""
    with pytest.raises(error, match=word):
        read_statement(text)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/Port-au-Prince", "utc", "Etc/GMT-14", "etc/gmt+5", "UTC-5:13", "EST5EDT", "3"]
)
def test_zones(zone: str) -> None:
    """A session may have any zone that has a name, and any offset."""
    assert read_statement(f"set timezone = '{zone}'").kind is StatementKind.SESSION
    check_zone(zone)


@pytest.mark.parametrize(
    "zone", ["<UTC>+5", "<EUROPE/BERLIN>-3", "Europe/Berlin+5", "a/b-1:00", "X<Y>3", "Etc/GMT+5x3"]
)
def test_zones_of_ones_own(zone: str) -> None:
    """It may not give another meaning to what policies may name."""
    with pytest.raises(Refused, match="TimeZone"):
        read_statement(f"set time zone '{zone}'")
    with pytest.raises(Refused, match="TimeZone"):
        profile_of({"TimeZone": zone})


def test_parameters_are_counted() -> None:
    """The highest number counts, wherever it stands."""
    assert read_statement("select $2, (select $5 from t where a = $1)").parameters == 5
    assert read_statement("select '$9'").parameters == 0
