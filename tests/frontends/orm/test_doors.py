"""There is no way from a gated session to an ungated connection."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

from datagate import errors
from datagate.frontends.orm import AsyncGatedSession, GatedSession, gate_engine, gated_sessionmaker
from fixtures.market.callers import BOSS, CLERK
from fixtures.market.models import Person
from tests.frontends.orm.conftest import Market, url

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


def _connection_options(session: Any) -> Any:
    options = {"isolation_level": "REPEATABLE READ", "logging_token": "x", "compiled_cache": None, "yield_per": 3}
    return session.connection(execution_options=options).scalar(sa.text(COUNT))


def _translated(session: Any) -> Any:
    elsewhere = sa.Table("people", sa.MetaData(), sa.Column("id", sa.Integer), schema="nowhere")
    query = sa.select(sa.func.count()).select_from(elsewhere)
    return session.scalar(query, execution_options={"schema_translate_map": {"nowhere": "market"}})


def _changed(session: Any) -> Any:
    engine = session.get_bind()
    change = lambda *_: (COUNT + " WHERE id < %s", (1000,))  # noqa: E731
    sa.event.listen(engine, "before_cursor_execute", change, retval=True)
    return session.scalar(sa.text("SELECT 1"))


def _executed(session: Any) -> Any:
    def execute(cursor: Any, *_: Any) -> bool:
        cursor.execute(COUNT)
        return True

    session.connection()
    sa.event.listen(session.get_bind(), "do_execute", execute)
    return session.scalar(sa.text("SELECT 1"))


def _opened(session: Any) -> Any:
    seen: list[Any] = []
    for name in ("connect", "checkout"):
        sa.event.listen(session.get_bind().pool, name, lambda opened, *_: seen.append(_cursor(opened)))
    assert session.scalar(sa.text(COUNT)) == 20
    assert len(set(seen)) == 1
    return seen[0]


def _reexecuted(session: Any) -> Any:
    sa.event.listen(
        session, "do_orm_execute", lambda state: state.invoke_statement(sa.text(COUNT)) if state.is_select else None
    )
    return session.execute(sa.select(Person.id)).scalar()


def _disposed(session: Any) -> Any:
    engine = session.get_bind()
    engine.dispose()
    seen = session.scalar(sa.text(COUNT))
    session.close()
    with pytest.raises(errors.InterfaceError):
        _cursor(engine.pool.connect())
    with pytest.raises(errors.InterfaceError):
        engine.pool.recreate().connect()
    with pytest.raises(errors.InterfaceError):
        engine.dialect.connect(engine.url.render_as_string())
    return seen


def _copied(session: Any) -> Any:
    for each in (session, session.get_bind(), session.connection()):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(each)
    return copy.copy(session).scalar(sa.text(COUNT))


def _reflected(session: Any) -> Any:
    people = sa.Table("people", sa.MetaData(), schema="market", autoload_with=session.get_bind())
    assert "ssn" not in people.c
    return session.scalar(sa.select(sa.func.count()).select_from(people))


def _scoped(session: Any) -> Any:
    scoped: Any = orm.scoped_session(lambda: type(session)(session.get_bind(), caller=CLERK))  # type: ignore[arg-type,unused-ignore]
    try:
        return scoped.registry().scalar(sa.text(COUNT))
    finally:
        scoped.remove()


def _in_two_phases(session: Any) -> Any:
    own = type(session)(session.get_bind(), caller=CLERK, twophase=True)
    seen = own.scalar(sa.text(COUNT))
    # What is prepared outlives the caller's session, and is refused.
    with pytest.raises(sa.exc.NotSupportedError):
        own.prepare()
    own.invalidate()
    return seen


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
    "connection's options": _connection_options,
    "schema_translate_map": _translated,
    "a changed statement": _changed,
    "a changed execution": _executed,
    "a connection just opened": _opened,
    "reexecution": _reexecuted,
    "engine.dispose": _disposed,
    "copies": _copied,
    "a copied engine": lambda s: copy.copy(s.get_bind()).connect().scalar(sa.text(COUNT)),
    "inspector": lambda s: sa.inspect(s.get_bind()).bind.connect().scalar(sa.text(COUNT)),
    "reflected": _reflected,
    "scoped_session": _scoped,
    "two phases": _in_two_phases,
    "result": lambda s: s.execute(sa.text(COUNT)).connection.scalar(sa.text(COUNT)),
    "context": lambda s: s.execute(sa.text(COUNT)).context.engine.connect().scalar(sa.text(COUNT)),
    "after reset": lambda s: (s.reset(), s.scalar(sa.text(COUNT)))[1],
    "after invalidate": lambda s: (s.connection(), s.invalidate(), s.scalar(sa.text(COUNT)))[2],
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


def _aimed_elsewhere(session: Any) -> None:
    sa.event.listen(session, "do_orm_execute", lambda state: state.bind_arguments.update(bind=PLAIN[0]))
    session.scalars(sa.select(Person)).all()


STRANGE: dict[str, Way] = {
    "bind argument": lambda s: s.execute(sa.text(COUNT), bind_arguments={"bind": PLAIN[0]}),
    "connection": lambda s: s.connection(bind_arguments={"bind": PLAIN[0]}),
    "bind_mapper": lambda s: (s.bind_mapper(Person, PLAIN[0]), s.scalars(sa.select(Person)).all()),
    "bind_table": lambda s: (s.bind_table(Person.__table__, PLAIN[0]), s.execute(sa.select(Person.__table__))),
    "bind": lambda s: (s.__setattr__("bind", PLAIN[0]), s.execute(sa.text(COUNT))),
    "connection of another": lambda s: s.connection(bind_arguments={"bind": PLAIN[0].connect()}),
    "transaction": lambda s: (s.__setattr__("bind", PLAIN[0]), s.begin().connection(None)),
    "get": lambda s: s.get(Person, 1, bind_arguments={"bind": PLAIN[0]}),
    "connection_callable": lambda s: s.__setattr__("connection_callable", lambda *_, **__: PLAIN[0].connect()),
    "do_orm_execute": _aimed_elsewhere,
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
    with pytest.raises(errors.InterfaceError):
        gated_sessionmaker(market.engine, class_=orm.Session)
    with pytest.raises(errors.InterfaceError):
        market.Session(caller=CLERK, bind=market.plain)
    configured = gated_sessionmaker(market.engine)
    configured.configure(bind=market.plain)
    with pytest.raises(errors.InterfaceError):
        configured(caller=CLERK)
    made = gate_engine(create_async_engine(url(market.dsn)), market.gate)
    with pytest.raises(errors.InterfaceError):
        AsyncGatedSession(made, caller=CLERK, sync_session_class=orm.Session)


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


@pytest.mark.parametrize("event", ["do_connect", "checkout"])
def test_connections_that_listeners_bring_are_refused(market: Market, event: str) -> None:
    """A connection of somebody else's, slipped in as a pool opens or gives out one, is not used."""
    foreign = psycopg.connect(market.dsn)
    plain = sa.create_engine(url(market.dsn))
    if event == "do_connect":
        sa.event.listen(plain, event, lambda *_: foreign)
    gated = gate_engine(plain, market.gate)
    engine = gated.as_caller(CLERK)
    own: list[Any] = []

    def exchange(opened: Any, _record: Any, pooled: Any) -> None:
        own.append(opened)
        pooled.dbapi_connection = foreign

    if event == "checkout":
        sa.event.listen(engine.pool, event, exchange)
    with pytest.raises((errors.InterfaceError, sa.exc.InterfaceError)):
        engine.connect().scalar(sa.text(COUNT))
    for each in (foreign, *own):
        each.close()
    gated.dispose()


def test_an_engine_with_a_creator_is_refused(market: Market) -> None:
    """Connections that somebody else opens do not become gated ones."""
    made = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(market.dsn))
    engine = gate_engine(made, market.gate)
    with pytest.raises(sa.exc.InterfaceError, match="creator of its own"):
        engine.connect(CLERK)
    with pytest.raises(errors.InterfaceError):
        gate_engine(sa.create_engine("sqlite://"), market.gate)
