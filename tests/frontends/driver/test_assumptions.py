"""Casts of parameters: the gate's assumptions are checked against what is really sent."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from psycopg.adapt import Dumper

from datagate import errors
from datagate.frontends import driver
from tests.frontends.driver.conftest import CALLER
from tests.frontends.driver.standin import Admitted, Assumption, StandInGate, StandInSession

DAY = dt.date(2024, 2, 29)
AWARE = dt.datetime(2024, 2, 29, 12, 0, tzinfo=dt.UTC)
NAIVE = AWARE.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("type_", "value", "fits"),
    [
        ("int2", 1, True),
        ("int2", 40_000, False),
        ("int4", 40_000, True),
        ("int4", 2**31, False),
        ("int4", None, True),
        ("int4", "1", False),
        ("int4", True, False),
        ("int8", 2**31, True),
        ("int8", 2**63, False),
        ("numeric", 2**63, True),
        ("numeric", Decimal("1.5"), True),
        ("numeric", 1.5, False),
        ("float8", 1.5, True),
        ("float8", Decimal("1.5"), False),
        ("text", "x", True),
        ("varchar", "x", True),
        ("text", b"x", False),
        ("date", DAY, True),
        ("date", NAIVE, False),
        ("date", "2024-02-29", False),
        ("timestamp", NAIVE, True),
        ("timestamptz", AWARE, True),
        ("timestamptz", NAIVE, False),
        ("uuid", UUID(int=1), True),
        ("bool", True, True),
        ("inet", "127.0.0.1", False),
    ],
)
def test_fits(conn: driver.Connection[Any], gate: StandInGate, type_: str, value: Any, fits: bool) -> None:
    """A value of the type, or one that widens to it, is sent as admitted; any other has the statement admitted anew."""
    query = f"select %s::{type_} is null from customers limit 1"
    try:
        conn.execute(query, (value,))
    except errors.DatabaseError:
        assert not fits
    assert len(gate.seen) == (1 if fits else 2)


def test_what_is_sent_counts(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """A dumper of the application's own may send an int as text; then the cast can fail, and nothing is assumed."""

    class AsText(Dumper):
        oid = 25

        def dump(self, obj: int) -> bytes | None:
            return b"no number" if obj else None

    conn.adapters.register_dumper(int, AsText)
    with pytest.raises(errors.DataError):
        conn.execute("select %s::int4 from customers", (1,))
    assert len(gate.seen) == 2


def test_every_way_to_send(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """executemany, stream and server-side cursors admit anew as well; each set of parameters is looked at."""
    query = "select %s::int4 from customers limit 1"
    cursor = conn.cursor()
    cursor.executemany(query, [(1,), ("2",), (3,)], returning=True)
    assert [result.fetchone() for result in cursor.results()] == [(1,), (2,), (3,)]
    assert list(conn.cursor().stream(query, ("4",))) == [(4,)]
    with conn.cursor("named") as named:
        assert named.execute(query, ("5",)).fetchall() == [(5,)]
    assert len(gate.seen) == 6
    assert conn.execute("select %s::int4, %s from customers limit 1", ("6", "x")).fetchone() == (6, "x")


def test_a_gate_that_goes_on_assuming_is_not_believed(
    conn: driver.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told not to assume, the gate must not; else nothing is sent."""
    admit = StandInSession.admit

    def stubborn(self: StandInSession, text: str, *, assuming: bool = True, ahead: bool = False) -> Admitted:
        admitted = admit(self, text, assuming=assuming, ahead=ahead)
        return Admitted(admitted.kind, admitted.text, (), 1, frozenset({Assumption(1, "int4")}))

    monkeypatch.setattr(StandInSession, "admit", stubborn)
    with pytest.raises(errors.InternalError):
        conn.execute("select %s::int4", ("1",))


def test_settings_of_the_gate_prevail(conn: driver.Connection[Any], dsn: str, gate: StandInGate) -> None:
    """What names mean on the connection is what the gate says, whatever the connection string says."""
    assert conn.execute("show search_path").fetchone() == ('"public", "with \\ and space"',)
    own = "-c search_path=pg_temp -c statement_timeout=12345 -c transform_null_equals=on"
    with driver.connect(dsn, caller=CALLER, gate=gate, options=own) as connection:
        assert connection.execute("show search_path").fetchone() == ('"public", "with \\ and space"',)
        assert connection.execute("show transform_null_equals").fetchone() == ("off",)
        assert connection.execute("show statement_timeout").fetchone() == ("12345ms",)
