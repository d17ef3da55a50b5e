"""Every public name between a gated session and the wire: each is judged, and what it leads to is tried.

A new version of SQLAlchemy, psycopg or asyncpg that brings a new name fails the first test until somebody has judged
it. The second walks from a session over all public attributes, by reflection, and tries whatever it meets that could
run a statement.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection

from datagate import errors
from datagate.frontends.orm import AsyncGatedSession, gate_engine, gated_sessionmaker
from fixtures.market.callers import CLERK
from fixtures.market.models import Person
from tests.frontends.orm.conftest import Market, url

COUNT = "SELECT count(*) FROM market.people"

# What runs statements, or leads to what does: tried below, in test_doors.py, test_asyncpg.py or the driver's tests.
TRIED = """
    begin begin_nested begin_twophase bind bind_mapper bind_table binds bulk_insert_mappings bulk_save_objects
    bulk_update_mappings connect connection connection_callable connections copy_from_query copy_from_table
    copy_records_to_table copy_to_table cursor dbapi_connection detach dialect dispatch driver_connection engine
    exec_driver_sql execute executemany execution_options fetch fetchmany fetchrow fetchval flush get get_async_bind
    get_bind get_nested_transaction get_one get_raw_connection get_transaction kw lane merge merge_all object_session
    origin parent pool prepare query raw_connection recreate refresh run_sync scalar scalars session stream
    stream_scalars sync_connection sync_engine sync_session sync_session_class as_caller async_engine gate url
    add_listener bound_connection class_ configure acting_for context invalidate dispose dispose_async reset
""".split()

# What looks at objects, options and counts, closes, or ends a transaction; commit flushes by the same connection.
NO_SQL = """
    add add_all aclose autobegin autoflush caller checkedin checkedout clear_compiled_cache close close_all closed
    commit commit_prepared recover_twophase rollback rollback_prepared declare_states default_isolation_level delete
    delete_all deleted dirty driver echo enable_baked_queries enable_relationship_loading expire expire_all
    expire_on_commit expunge expunge_all get_execution_options get_isolation_level hash_key hide_parameters
    identity_key identity_map in_nested_transaction in_transaction info invalidated is_active is_async is_detached
    is_modified is_valid join_transaction_mode logger logging_name name nested new no_autoflush overflow record_info
    schema_for_object should_close_with_result size start status timeout twophase update_execution_options
    add_log_listener add_query_logger add_termination_listener get_reset_query get_server_pid get_server_version
    get_settings is_closed is_in_transaction query_logger reload_schema_state remove_listener remove_log_listener
    remove_query_logger remove_termination_listener reset_type_codec set_builtin_type_codec set_type_codec terminate
    transaction
""".split()

# Our own, between the parts of datagate: they let go of what is held, and answer what the caller sees.
OURS = """
    clock expect_current give held holder load masked_keys masks outlook quiet_until receive stamp
    admission begins enter_gate fault left_something lend revoke revoked shut_gate turn under_way withhold
""".split()


def names(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_every_public_name_is_judged(market: Market) -> None:
    """Sessions, engines, connections, pools and transactions have no public name that nobody has looked at."""
    found: dict[str, set[str]] = {}
    with market.Session(caller=CLERK) as session:
        connection = session.connection()
        engine = session.get_bind()
        for thing in (
            session, session.get_transaction(), connection, engine, connection.connection, market.Session,
            market.engine,
        ):  # fmt: skip
            found[type(thing).__name__] = names(thing)
        found["pool"] = names(engine.engine.pool)

    async def asynchronous() -> None:
        gated = gate_engine(create_async_engine(url(market.dsn, "postgresql+asyncpg")), market.gate)
        async with AsyncGatedSession(gated, caller=CLERK) as session:
            connection = await session.connection()
            raw = (await connection.get_raw_connection()).driver_connection
            for thing in (session, connection, connection.engine, raw):
                found[type(thing).__name__] = names(thing)
        await gated.dispose_async()

    asyncio.run(asynchronous())
    judged = {*TRIED, *NO_SQL, *OURS}
    assert {kind: unknown for kind, those in found.items() if (unknown := those - judged)} == {}
    assert judged - set().union(*found.values()) <= {"context", "is_async"}


_DEPTH = 4
# Each makes more of its kind; what holds for three of them, and two steps on, holds for the next.
_OF_A_KIND = 3
# Makes or ends what the others need, or asks for what nothing is known of.
_NOT_CALLED = {"close", "reset", "invalidate", "dispose", "dispose_async", "detach", "terminate", "commit", "rollback"}


def reached(start: object, met: list[Any]) -> Iterator[tuple[str, object]]:
    """All that public attributes lead to, and methods that need no argument, each once; ``met``: whatever came."""
    seen: dict[int, object] = {}
    kinds: Counter[type] = Counter()
    waiting: list[tuple[str, object, int]] = [("session", start, 0)]
    while waiting:
        path, thing, depth = waiting.pop(0)
        if id(thing) in seen or isinstance(thing, type | str | bytes | int | float | bool | None):
            continue
        seen[id(thing)] = thing
        kinds[type(thing)] += 1
        if kinds[type(thing)] > _OF_A_KIND:
            continue
        yield path, thing
        if depth < _DEPTH and type(thing).__module__.startswith(("sqlalchemy", "datagate.frontends", "psycopg")):
            for name in sorted(names(thing) & {*TRIED, "info", "kw"}):
                found = _values(thing, name)
                met += found
                waiting += [(f"{path}.{name}", each, depth + 1) for each in found]


def _values(thing: object, name: str) -> list[object]:
    """The attribute; what a method gives that takes no argument."""
    try:
        value = getattr(thing, name)
        if callable(value) and not isinstance(value, type) and name not in _NOT_CALLED:
            value = value()
    except (errors.Error, sa.exc.SQLAlchemyError, psycopg.Error, TypeError, AttributeError, NotImplementedError):
        return []
    except AssertionError:
        return []  # a pooled connection that was closed
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, tuple | list | set | frozenset) else [value]


def counted(thing: Any) -> int | None:
    """How many people a thing sees; None: it runs nothing."""
    if isinstance(thing, sa.Pool):
        thing = thing.connect()
    if isinstance(thing, Session):
        return int(thing.scalar(sa.text(COUNT)) or 0)
    if isinstance(thing, sa.Connection):
        return int(thing.scalar(sa.text(COUNT)))
    if isinstance(thing, sa.Engine):
        with thing.connect() as connection:
            return int(connection.scalar(sa.text(COUNT)))
    if isinstance(thing, PoolProxiedConnection) and thing.dbapi_connection is None:
        return None
    return int(_by_cursor(thing)) if isinstance(thing, psycopg.Connection | PoolProxiedConnection) else None


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_whatever_is_reached_is_gated(market: Market) -> None:
    """From a session and its connection, no public attribute leads to anything that counts more than 20 people."""
    seen: dict[str, object] = {}
    met: list[Any] = []
    plain = sa.create_engine(url(market.dsn), poolclass=sa.NullPool)
    maker = gated_sessionmaker(plain, gate=market.gate)
    with maker(caller=CLERK) as session:
        session.scalars(sa.select(Person)).first()
        for start in (session, session.connection(), maker, session.connection().connection):
            for path, thing in reached(start, met):
                try:
                    found = counted(thing)
                except (errors.Error, sa.exc.SQLAlchemyError) as refused:
                    own = refused.orig if isinstance(refused, sa.exc.DBAPIError) else refused
                    seen[path] = type(own).__name__
                else:
                    if found is not None:
                        seen[path] = found
                session.rollback()
                session.connection()
    for thing in met:
        if isinstance(thing, sa.Connection | PoolProxiedConnection | psycopg.Connection):
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                thing.close()
    assert 20 in seen.values()
    allowed = {
        20,
        "InterfaceError",
        "ResourceClosedError",
        "PendingRollbackError",
        "InvalidRequestError",
        "TimeoutError",
    }
    assert {path: found for path, found in seen.items() if found not in allowed} == {}
    assert len([path for path, found in seen.items() if found == 20]) > 10


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+asyncpg"])
def test_asynchronous_ways(market: Market, driver: str) -> None:
    """The asynchronous faces of the same things, down to the library's own connection."""

    async def told() -> dict[str, object]:
        plain = create_async_engine(url(market.dsn, driver))
        gated = gate_engine(plain, market.gate)
        seen: dict[str, object] = {}
        text = sa.text(COUNT)
        async with AsyncGatedSession(gated, caller=CLERK) as session:
            connection = await session.connection()
            pooled = await connection.get_raw_connection()
            raw: Any = pooled.driver_connection
            seen["session"] = await session.scalar(text)
            seen["run_sync"] = await session.run_sync(lambda own: own.scalar(text))
            seen["sync_session"] = await session.run_sync(lambda _: session.sync_session.scalar(text))
            seen["connection.run_sync"] = await connection.run_sync(lambda own: own.scalar(text))
            seen["sync_connection"] = await connection.run_sync(lambda _: connection.sync_connection.scalar(text))  # type: ignore[union-attr]
            seen["stream"] = await (await session.stream(text)).scalar_one()
            seen["exec_driver_sql"] = (await connection.exec_driver_sql(COUNT)).scalar()
            own: Any = session.bind
            async with own.connect() as other:
                seen["bind"] = await other.scalar(text)
            async with connection.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as other:
                seen["engine"] = await other.scalar(text)
            seen["adapted"] = await connection.run_sync(lambda _: _by_cursor(pooled))
            if isinstance(raw, asyncpg.Connection):
                seen["driver_connection"] = await raw.fetchval(COUNT)
            else:
                seen["driver_connection"] = (await (await raw.execute(COUNT)).fetchone())[0]
            strange: Any = plain
            with pytest.raises(errors.InterfaceError):
                await session.execute(text, bind_arguments={"bind": strange.sync_engine})
        await gated.dispose_async()
        await plain.dispose()
        return seen

    found = asyncio.run(told())
    assert set(found.values()) == {20}, found


def _by_cursor(pooled: Any) -> Any:
    cursor = pooled.cursor()
    cursor.execute(COUNT)
    return cursor.fetchone()[0]
