"""There is no way from a gated session to an ungated connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from datagate import errors
from datagate.frontends.orm import GatedSession, gate_engine, gated_sessionmaker
from fixtures.market.callers import BOSS, CLERK
from fixtures.market.models import Person
from tests.frontends.orm.conftest import Market

COUNT = "SELECT count(*) FROM market.people"
Way = Callable[[Any], Any]


def _cursor(connection: Any) -> Any:
    cursor = connection.cursor()
    cursor.execute(COUNT)
    return cursor.fetchone()[0]


def _raw(session: Any) -> Any:
    pooled = session.get_bind().raw_connection()
    try:
        return _cursor(pooled)
    finally:
        pooled.close()


def _begun(session: Any) -> Any:
    with session.get_bind().begin() as connection:
        return connection.scalar(sa.text(COUNT))


def _options(session: Any) -> Any:
    engine: Any = session.get_bind()
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        return connection.scalar(sa.text(COUNT))


def _detached(session: Any) -> Any:
    connection = session.connection()
    connection.detach()
    return connection.scalar(sa.text(COUNT))


def _event(session: Any) -> Any:
    seen: list[Any] = []
    sa.event.listen(session, "after_begin", lambda _s, _t, connection: seen.append(connection.scalar(sa.text(COUNT))))
    session.rollback()
    session.connection()
    return seen[0]


def _loaded(session: Any) -> Any:
    found = session.scalars(sa.select(Person)).first()
    own: Any = orm.object_session(found)
    return own.scalar(sa.text(COUNT))


def _streamed(session: Any) -> Any:
    options = {"stream_results": True, "max_row_buffer": 5}
    return len(session.execute(sa.text("SELECT id FROM market.people"), execution_options=options).all())


WAYS: dict[str, Way] = {
    "execute": lambda s: s.execute(sa.text(COUNT)).scalar(),
    "scalar": lambda s: s.scalar(sa.text(COUNT)),
    "scalars": lambda s: s.scalars(sa.text(COUNT)).one(),
    "query": lambda s: s.query(Person).count(),
    "select": lambda s: len(s.scalars(sa.select(Person)).all()),
    "core": lambda s: s.scalar(sa.select(sa.func.count()).select_from(Person.__table__)),
    "from_statement": lambda s: len(s.scalars(sa.select(Person).from_statement(sa.select(Person))).all()),
    "connection": lambda s: s.connection().scalar(sa.text(COUNT)),
    "exec_driver_sql": lambda s: s.connection().exec_driver_sql(COUNT).scalar(),
    "connection.connection": lambda s: _cursor(s.connection().connection),
    "dbapi_connection": lambda s: _cursor(s.connection().connection.dbapi_connection),
    "driver_connection": lambda s: _cursor(s.connection().connection.driver_connection),
    "connection.engine": lambda s: s.connection().engine.connect().scalar(sa.text(COUNT)),
    "begin_nested": lambda s: s.begin_nested().session.scalar(sa.text(COUNT)),
    "transaction.connection": lambda s: s.get_transaction() or s.connection().get_transaction(),
    "get_bind": lambda s: s.get_bind().connect().scalar(sa.text(COUNT)),
    "bind": lambda s: s.bind.connect().scalar(sa.text(COUNT)),
    "engine.begin": _begun,
    "engine.raw_connection": _raw,
    "engine.execution_options": _options,
    "connection.detach": _detached,
    "after_begin": _event,
    "object_session": _loaded,
    "stream": _streamed,
}


@pytest.mark.parametrize("name", [name for name in WAYS if name != "transaction.connection"])
def test_every_way_is_gated(market: Market, name: str) -> None:
    """Each public way from a session to the database counts the caller's 20 people, not the 40 that there are."""
    with market.Session(caller=CLERK) as session:
        assert WAYS[name](session) == 20


def test_the_plain_engine_sees_all(market: Market) -> None:
    """What the ways are told apart by: ungated, there are 40 people."""
    with market.plain.connect() as connection:
        assert connection.scalar(sa.text(COUNT)) == 40


STRANGE: dict[str, Way] = {
    "bind argument": lambda s: s.execute(sa.text(COUNT), bind_arguments={"bind": PLAIN[0]}),
    "connection": lambda s: s.connection(bind_arguments={"bind": PLAIN[0]}),
    "bind_mapper": lambda s: (s.bind_mapper(Person, PLAIN[0]), s.scalars(sa.select(Person)).all()),
    "bind_table": lambda s: (s.bind_table(Person.__table__, PLAIN[0]), s.execute(sa.select(Person.__table__))),
    "bind": lambda s: (s.__setattr__("bind", PLAIN[0]), s.execute(sa.text(COUNT))),
    "connection of another": lambda s: s.connection(bind_arguments={"bind": PLAIN[0].connect()}),
    "transaction": lambda s: (s.__setattr__("bind", PLAIN[0]), s.begin().connection(None)),
}
PLAIN: list[sa.Engine] = []


@pytest.mark.parametrize("name", list(STRANGE))
def test_no_other_bind_is_taken(market: Market, name: str) -> None:
    """A session takes no engine or connection that does not pass the gate, however it is offered."""
    PLAIN[:] = [market.plain]
    with market.Session(caller=CLERK) as session, pytest.raises(errors.InterfaceError):
        STRANGE[name](session)


def test_no_session_is_made_over_what_is_ungated(market: Market) -> None:
    """Making a session over a plain engine, over another caller's, or over several, is refused."""
    other = market.engine.as_caller(BOSS)
    for wrong in (market.plain, None, other):
        with pytest.raises(errors.InterfaceError):
            GatedSession(wrong, caller=CLERK)
    with pytest.raises(errors.InterfaceError):
        GatedSession(market.engine, caller=CLERK, binds={Person: market.plain})
    with pytest.raises(errors.InterfaceError):
        gated_sessionmaker(market.plain, gate=None)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        market.Session()


def test_the_caller_is_fixed(market: Market) -> None:
    """A session's caller cannot be set."""
    with market.Session(caller=CLERK) as session, pytest.raises(AttributeError):
        session.caller = BOSS  # type: ignore[misc]


def test_the_pool_itself_gives_nothing(market: Market) -> None:
    """A connection taken out of the pool past the engine refuses every statement, used before or new."""
    engine: Any = market.engine.as_caller(CLERK)
    with engine.connect() as connection:
        assert connection.scalar(sa.text(COUNT)) == 20
    pooled = engine.pool.connect()
    with pytest.raises(errors.InterfaceError):
        _cursor(pooled)
    with pytest.raises(errors.InterfaceError):
        engine.pool.connect()
    pooled.close()


def test_psycopgs_own_cursors_are_refused(market: Market) -> None:
    """Psycopg's cursor classes on a session's connection send nothing."""
    with market.Session(caller=CLERK) as session:
        raw: Any = session.connection().connection.driver_connection
        for kind in (psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor):
            with pytest.raises(errors.Error):
                kind(raw).execute(COUNT)


def test_an_engine_with_a_creator_is_refused(market: Market) -> None:
    """Connections that somebody else opens do not become gated ones."""
    made = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(market.dsn))
    engine = gate_engine(made, market.gate)
    with pytest.raises(sa.exc.InterfaceError, match="creator of its own"):
        engine.connect(CLERK)
    with pytest.raises(errors.InterfaceError):
        gate_engine(sa.create_engine("sqlite://"), market.gate)
