"""asyncpg below a gated session: its own ways of sending, each of which passes the gate."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from datagate import errors
from datagate.frontends.orm import GatedEngine, gate_engine
from datagate.model.caller import Caller
from fixtures.market.callers import BOSS, CALLERS, CLERK, OTHER_CLERK, STRANGER
from tests.frontends.orm.conftest import Market, url
from tests.frontends.orm.test_parity import STATEMENTS, Outcome, by_driver, recorded

COUNT = "SELECT count(*) FROM market.people"
Story = Callable[[Any], Awaitable[None]]


def with_engine(market: Market, story: Callable[[GatedEngine], Awaitable[None]], **options: Any) -> None:
    """Tell a story to an engine over asyncpg, in a loop of its own."""

    async def told() -> None:
        engine = create_async_engine(url(market.dsn, "postgresql+asyncpg"), **options)
        gated = gate_engine(engine, market.gate)
        try:
            await story(gated)
        finally:
            await gated.dispose_async()
            await engine.dispose()

    asyncio.run(told())


def with_raw(market: Market, caller: Caller, story: Story) -> None:
    """Tell a story to the asyncpg connection of one caller."""

    async def told(gated: GatedEngine) -> None:
        async with gated.async_engine(caller).connect() as connection:
            pooled = await connection.get_raw_connection()
            await story(pooled.driver_connection)

    with_engine(market, told)


async def _iterated(raw: asyncpg.Connection) -> int:
    async with raw.transaction():
        return len([row async for row in raw.cursor("SELECT id FROM market.people", prefetch=3)])


async def _portal(raw: asyncpg.Connection) -> int:
    async with raw.transaction():
        cursor = await raw.cursor("SELECT id FROM market.people")
        await cursor.forward(5)
        return 5 + len(await cursor.fetch(100))


async def _copied(raw: asyncpg.Connection) -> int:
    out = io.BytesIO()
    await raw.copy_from_table("people", schema_name="market", columns=["id"], output=out)
    return len(out.getvalue().splitlines())


async def _copied_query(raw: asyncpg.Connection) -> int:
    out = io.BytesIO()
    await raw.copy_from_query("SELECT id FROM market.people", output=out)
    return len(out.getvalue().splitlines())


async def _prepared(raw: asyncpg.Connection) -> int:
    statement = await raw.prepare(COUNT + " WHERE id > $1")
    assert [each.name for each in statement.get_parameters()] == ["int4"]
    return int(await statement.fetchval(0))


async def _executed(raw: asyncpg.Connection) -> int:
    return int((await raw.execute("SELECT id FROM market.people")).split()[1])


async def _many(raw: asyncpg.Connection) -> int:
    statement = await raw.prepare("SELECT id FROM market.people WHERE id = $1")
    return len(await statement.fetchmany([(number,) for number in range(1, 41)]))


WAYS: dict[str, Callable[[Any], Awaitable[int]]] = {
    "fetchval": lambda raw: raw.fetchval(COUNT),
    "fetch": lambda raw: _length(raw.fetch("SELECT id FROM market.people")),
    "execute": _executed,
    "prepare": _prepared,
    "fetchmany": _many,
    "iterated": _iterated,
    "portal": _portal,
    "copy_from_table": _copied,
    "copy_from_query": _copied_query,
}


async def _length(rows: Awaitable[list[object]]) -> int:
    return len(await rows)


def test_each_way_of_reading(market: Market) -> None:
    """All that reads counts the caller's 20 people, not the 40 that there are."""

    async def story(raw: Any) -> None:
        for way, ask in WAYS.items():
            assert await ask(raw) == 20, way

    with_raw(market, CLERK, story)


REFUSED: dict[str, Callable[[Any], Awaitable[object]]] = {
    "hidden column": lambda raw: raw.fetch("SELECT ssn FROM market.people"),
    "prepared": lambda raw: raw.prepare("SELECT ssn FROM market.people"),
    "copy in": lambda raw: raw.copy_records_to_table("tags", schema_name="market", records=[(7, "x")]),
    "copy to table": lambda raw: raw.copy_to_table("tags", schema_name="market", source=io.BytesIO(b"7\tx\n")),
    "copy of a hidden column": lambda raw: raw.copy_from_query("SELECT ssn FROM market.people", output=io.BytesIO()),
    "several": lambda raw: raw.execute("SELECT 1; SELECT ssn FROM market.people"),
    "role": lambda raw: raw.execute("SET ROLE postgres"),
    "listen": lambda raw: raw.add_listener("anything", print),
    "state": lambda raw: raw.fetch("SELECT * FROM datagate.mandates"),
    "statistics": lambda raw: raw.fetch("SELECT * FROM pg_stats"),
    "a codec that sees policy values": lambda raw: raw.set_type_codec(
        "text", schema="pg_catalog", encoder=str, decoder=str
    ),
    "a codec for keys": lambda raw: raw.set_builtin_type_codec(
        "bytea", schema="pg_catalog", codec_name="pg_contrib.hstore"
    ),
    "a portal of no cursor's": lambda raw: raw.execute("MOVE FORWARD 1 nothing"),
}


def test_what_is_refused(market: Market) -> None:
    """What the gate does not admit is never sent, whichever method asks for it; the next statement runs."""

    async def story(raw: Any) -> None:
        for way, ask in REFUSED.items():
            with pytest.raises(errors.Error) as refused:
                await ask(raw)
            assert refused.value.__context__ is None, way
            assert "ssn-" not in str(refused.value)
            assert await raw.fetchval(COUNT) == 20

    with_raw(market, CLERK, story)


def test_settings_cannot_be_changed_behind(market: Market) -> None:
    """What get_settings gives is for reading: no codec can be put under policy values by it."""

    async def story(raw: Any) -> None:
        settings = raw.get_settings()
        assert settings.server_encoding == "UTF8"
        assert not [name for name in vars(settings) if callable(getattr(settings, name))]

    with_raw(market, CLERK, story)


def test_a_prepared_statement_obeys_a_change_of_rights(market: Market) -> None:
    """Prepared long ago, it shows what the caller may see when it runs."""

    async def story(raw: Any) -> None:
        kept = await raw.prepare("SELECT min(id), max(email) FROM market.people WHERE id < $1")
        assert tuple(await kept.fetchrow(4)) == (2, "***@shop.example")
        await asyncio.to_thread(market.store.grant_attribute, "carl", "regions", ("US",))
        assert tuple(await kept.fetchrow(4)) == (1, "***@shop.example")
        await asyncio.to_thread(market.store.grant_role, "carl", "boss")
        assert tuple(await kept.fetchrow(4)) == (1, "mail3@shop.example")
        everything = await raw.prepare("SELECT * FROM market.people WHERE id = 1")
        assert "ssn" in {each.name for each in everything.get_attributes()}
        market.sql("DELETE FROM datagate.entitlements WHERE principal = 'carl' AND name = 'boss'")
        with pytest.raises(errors.RightsChanged):
            await everything.fetch()
        assert "ssn" not in dict(await raw.fetchrow("SELECT * FROM market.people WHERE id = 1"))

    with_raw(market, CLERK, story)


def test_an_open_portal_obeys_a_change_of_rights(market: Market) -> None:
    """No row is read from a cursor that was opened under rights that ended."""

    async def story(raw: Any) -> None:
        transaction = raw.transaction()
        await transaction.start()
        cursor = await raw.cursor("SELECT id FROM market.people")
        assert len(await cursor.fetch(3)) == 3
        await asyncio.to_thread(market.store.grant_attribute, "carl", "regions", ("US",))
        with pytest.raises(errors.RightsChanged):
            await cursor.fetch(3)
        await transaction.rollback()

    with_raw(market, CLERK, story)


def test_what_runs_is_cancelled(market: Market) -> None:
    """A statement that is under way when the caller's rights end is ended on the server."""

    async def story(raw: Any) -> None:
        slow = asyncio.create_task(raw.fetchval("SELECT count(*) FROM generate_series(1, 2000000000), market.tags"))
        running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%2000000000%' AND state = 'active' AND pid <> {}"
        while not await asyncio.to_thread(market.sql, running.format("pg_backend_pid()")):
            pass
        await asyncio.to_thread(market.store.revoke_mandate, "errand-2")
        with pytest.raises((errors.RightsChanged, errors.Refused)):
            await slow

    with_raw(market, CALLERS["errand"], story)


def test_errors_and_notices_tell_nothing_hidden(market: Market) -> None:
    """The server's words about hidden rows are replaced; those about the caller's own text are not."""

    async def story(raw: Any) -> None:
        with pytest.raises(errors.IntegrityError) as duplicate:
            await raw.execute("INSERT INTO market.tags (id, word) VALUES (1, 'x')")
        assert duplicate.value.sqlstate == "23505"
        assert "Key (id)" not in str(duplicate.value)
        with pytest.raises(errors.DataError) as divided:
            await raw.fetch("SELECT 1 / (id - 2) FROM market.people")
        assert divided.value.sqlstate == "22012"
        with pytest.raises(errors.ProgrammingError, match="nothing"):
            await raw.fetch("SELECT nothing FROM market.people")
        with pytest.raises(errors.DataError, match=r"\$1"):
            await raw.fetch("SELECT id FROM market.people WHERE id = $1", "no number")
        with pytest.raises(errors.InterfaceError, match="1 parameters, and 2"):
            await raw.fetch("SELECT id FROM market.people WHERE id = $1", 1, 2)

    with_raw(market, CLERK, story)


def test_callers_take_turns(market: Market) -> None:
    """One connection serves callers who see different columns, statements stay prepared, rows stay apart."""

    async def story(gated: GatedEngine) -> None:
        everything = sa.text("SELECT * FROM market.people WHERE id < 5 ORDER BY id")
        pids = set()
        for caller, rows, columns in ((CLERK, 2, 7), (BOSS, 4, 8), (OTHER_CLERK, 2, 7)) * 2:
            async with gated.async_engine(caller).connect() as connection:
                found = await connection.execute(everything)
                assert (len(list(found.keys())), len(found.all())) == (columns, rows)
                pids.add(await connection.scalar(sa.text("SELECT pg_backend_pid()")))
        assert len(pids) == 1
        async with gated.async_engine(STRANGER).connect() as connection:
            with pytest.raises(sa.exc.ProgrammingError) as refused:
                await connection.execute(everything)
            assert isinstance(refused.value.orig, errors.UndefinedRelation)

    with_engine(market, story, pool_size=1, max_overflow=0)


def test_a_connection_that_is_lent_to_nobody(market: Market) -> None:
    """Back in the pool, a connection answers nobody."""

    async def story(gated: GatedEngine) -> None:
        async with gated.async_engine(CLERK).connect() as connection:
            pooled = await connection.get_raw_connection()
            kept: Any = pooled.driver_connection
            statement = await kept.prepare(COUNT)
            assert await statement.fetchval() == 20
        for ask in (lambda: kept.fetchval(COUNT), statement.fetchval):
            with pytest.raises(errors.InterfaceError):
                await ask()

    with_engine(market, story)


def test_reflection(market: Market) -> None:
    """Inspection shows the tables and columns that exist for the caller."""

    async def story(gated: GatedEngine) -> None:
        async with gated.async_engine(CLERK).connect() as connection:
            names = await connection.run_sync(
                lambda own: {column["name"] for column in sa.inspect(own).get_columns("people", "market")}
            )
        assert names == {"id", "kind", "name", "email", "region", "about", "version"}

    with_engine(market, story)


def test_options_that_would_take_the_gate_away(market: Market) -> None:
    """A class of connections of one's own is refused, as are engines of other libraries and databases."""

    async def story(gated: GatedEngine) -> None:
        with pytest.raises(sa.exc.InterfaceError, match="connection_class"):
            async with gated.async_engine(CLERK).connect():
                pass

    with_engine(market, story, connect_args={"connection_class": asyncpg.Connection})
    made = sa.create_engine("postgresql+psycopg2://")
    with pytest.raises(errors.InterfaceError, match="psycopg2"):
        gate_engine(made, market.gate)


@pytest.mark.parametrize("database", ["sqlite", "duckdb"])
def test_databases_without_a_backend(market: Market, database: str) -> None:
    """What datagate has no backend for is refused in plain words, before anything is opened."""
    if database == "sqlite":
        engine: sa.Engine | AsyncEngine = sa.create_engine("sqlite://")
    else:
        # Its dialect is one of PostgreSQL's kind, by a name of its own.
        engine = sa.create_engine("postgresql+psycopg://")
        engine.dialect.name = database
    with pytest.raises(errors.InterfaceError, match=f"no backend for {database}"):
        gate_engine(engine, market.gate)


@pytest.mark.parametrize("caller", list(CALLERS))
def test_parity(market: Market, caller: str) -> None:
    """The same statement gives what it gives by the driver: rows, names, refusals, records."""

    async def by_asyncpg(engine: AsyncEngine, statement: str) -> Outcome:
        async with engine.connect() as connection:
            market.sink.records.clear()
            try:
                found: Any = await connection.execute(sa.text(statement), execution_options={"preserve_rowcount": True})
            except sa.exc.DBAPIError as error:
                own: Any = error.orig
                return (type(own), own.sqlstate, str(own))
            rows = sorted(repr(tuple(row)) for row in found.all()) if found.returns_rows else []
            return ("rows", tuple(found.keys()) if found.returns_rows else (), rows, found.rowcount)

    async def story(gated: GatedEngine) -> None:
        engine = gated.async_engine(CALLERS[caller])
        async with engine.connect():
            pass
        for statement in STATEMENTS:
            driven = by_driver(market, caller, statement)
            audited = recorded(market)
            held = await by_asyncpg(engine, statement)
            assert held == driven, statement
            assert recorded(market) == audited, statement

    with_engine(market, story)
