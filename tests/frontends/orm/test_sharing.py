"""Callers share engine, pool and compiled cache, never rows."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from datagate import errors
from datagate.frontends.orm import gate_engine
from datagate.model.caller import Caller
from fixtures.market.callers import BOSS, CALLERS, CLERK, OTHER_CLERK, STRANGER
from fixtures.market.models import Order, Person
from tests.frontends.orm.conftest import Market, url

NAMES = sa.select(Person.name).order_by(Person.id)


def _backend(connection: Any) -> int:
    return int(connection.connection.driver_connection.info.backend_pid)


def test_one_connection_serves_them_by_turns(market: Market) -> None:
    """The same server session serves one caller after another, each with his own rows."""
    pids = set()
    for _ in range(2):
        for caller, rows in ((BOSS, 40), (CLERK, 20), (OTHER_CLERK, 20)):
            with market.Session(caller=caller) as session:
                pids.add(_backend(session.connection()))
                assert len(session.scalars(NAMES).all()) == rows
    assert len(pids) == 1


def test_what_a_caller_left_is_put_away(market: Market) -> None:
    """A cursor held beyond its transaction is gone when the next caller comes, and so is his own session's setting."""
    with market.engine.connect(BOSS) as connection:
        raw: Any = connection.connection.driver_connection
        held = raw.cursor("held", withhold=True)
        held.execute("SELECT ssn FROM market.people")
        connection.commit()
        # Left behind, as by a program that forgets it.
        held._closed = True
    with market.engine.connect(CLERK) as connection:
        raw = connection.connection.driver_connection
        with raw.cursor("held") as taken, pytest.raises(errors.Error):
            taken.fetchone()
        raw.rollback()
        assert raw.pgconn.exec_(b"SELECT count(*) FROM pg_cursors").get_value(0, 0) == b"0"


def test_many_at_once(market: Market) -> None:
    """Threads of different callers over a pool of a few connections get their own rows, every time."""
    wrong: list[object] = []

    def ask(caller: Caller, rows: int) -> None:
        for _ in range(20):
            with market.Session(caller=caller) as session:
                found = len(session.scalars(sa.select(Person)).all())
                if found != rows:
                    wrong.append((caller, found))

    expected = [(BOSS, 40), (CLERK, 20), (OTHER_CLERK, 20), (CLERK, 20), (BOSS, 40), (CALLERS["seller"], 10)]
    threads = [threading.Thread(target=ask, args=each) for each in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_compiled_forms_are_shared(market: Market) -> None:
    """Callers who see the same columns share a compiled statement; one who sees others has a SELECT of his own."""
    cache: Any = market.engine.as_caller(CLERK)._compiled_cache
    with market.Session(caller=CLERK) as session:
        session.scalars(sa.select(Person)).all()
    known = len(cache)
    with market.Session(caller=OTHER_CLERK) as session:
        assert {each.region for each in session.scalars(sa.select(Person))} == {"US"}
    assert len(cache) == known
    with market.Session(caller=BOSS) as session:
        assert session.scalars(sa.select(Person)).first().ssn is not None  # type: ignore[union-attr]
    assert len(cache) == known + 1


def test_a_caller_without_rights_has_no_tables(market: Market) -> None:
    """For who has no permit, the mapped tables do not exist."""
    with market.Session(caller=STRANGER) as session:
        with pytest.raises(sa.exc.ProgrammingError) as refused:
            session.scalars(sa.select(Person)).all()
        assert isinstance(refused.value.orig, errors.UndefinedRelation)


def test_core(market: Market) -> None:
    """gate_engine serves Core: tables, text, inspection, executemany, transactions."""
    people = Person.__table__
    with market.engine.connect(CLERK) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(people)) == 20
        assert connection.execute(sa.select(people.c.email).where(people.c.id == 2)).scalar() == "***@shop.example"
        with pytest.raises(sa.exc.ProgrammingError):
            connection.execute(sa.select(people.c.ssn))
    with market.engine.as_caller(CLERK).begin() as connection:
        connection.execute(sa.update(Order).where(Order.id == 4), [{"amount": 7}])
    assert market.sql("SELECT amount FROM market.orders WHERE id = 4") == [(7,)]
    names = {column["name"] for column in sa.inspect(market.engine.as_caller(CLERK)).get_columns("people", "market")}
    assert names == {"id", "kind", "name", "email", "region", "about", "version"}


def test_what_the_engine_was_told_is_taken_over(market: Market) -> None:
    """Pool, isolation level, pre-ping, JSON functions, connection arguments and do_connect listeners are as before."""
    plain = sa.create_engine(
        url(market.dsn), pool_size=1, max_overflow=0, pool_pre_ping=True, isolation_level="REPEATABLE READ",
        connect_args={"application_name": "counter"}, execution_options={"schema_translate_map": {"a": "b"}},
    )  # fmt: skip
    asked: list[str] = []
    sa.event.listen(plain, "do_connect", lambda _d, _r, _a, parameters: asked.append(parameters["application_name"]))
    engine = gate_engine(plain, market.gate)
    for caller in (BOSS, CLERK, BOSS):
        with engine.connect(caller) as connection:
            assert connection.get_isolation_level() == "REPEATABLE READ"
            raw: Any = connection.connection.driver_connection
            assert raw.info.get_parameters()["application_name"] == "counter"
            assert connection.get_execution_options()["schema_translate_map"] == {"a": "b"}
    assert asked == ["counter"]
    engine.dispose()
    assert engine.as_caller(BOSS).pool.size() == 1  # type: ignore[attr-defined]


def test_a_lost_connection_is_replaced(market: Market) -> None:
    """Pre-ping notices that the server ended a connection, in the name of who comes next."""
    plain = sa.create_engine(url(market.dsn), pool_pre_ping=True)
    engine = gate_engine(plain, market.gate)
    with engine.connect(BOSS) as connection:
        lost = _backend(connection)
    market.sql("SELECT pg_terminate_backend(%s)", lost)
    with engine.connect(CLERK) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM market.people")) == 20
        assert _backend(connection) != lost
    engine.dispose()


def test_acting_for(market: Market) -> None:
    """A holder's session opens a narrower one under his mandate: other rows, other columns, the same pool."""
    with market.Session(caller=Caller.of("hal", purpose="work")) as session:
        with session.acting_for("errand-2") as acting:
            assert acting.caller == CALLERS["errand"]
            (person,) = acting.scalars(sa.select(Person)).all()
            assert (person.id, person.name) == (2, "name 2")
            with pytest.raises(errors.UndefinedColumn):
                _ = person.email
            with pytest.raises(errors.Refused):
                acting.acting_for("errand-4")
        for wrong in ("errand-2-on", "nothing"):
            with pytest.raises(errors.Refused):
                session.acting_for(wrong)
