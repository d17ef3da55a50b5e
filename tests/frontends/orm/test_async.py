"""The asynchronous session is the same session."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from datagate import errors
from datagate.frontends.orm import AsyncGatedSession, gate_engine, gated_sessionmaker, masked_columns
from datagate.model.caller import Caller
from fixtures.market.callers import BOSS, CALLERS, CLERK, OTHER_CLERK, SELLER
from fixtures.market.models import Order, Person
from tests.frontends.orm.conftest import Market, url

Maker = async_sessionmaker[AsyncGatedSession]


DRIVERS = ("postgresql+psycopg", "postgresql+asyncpg")


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """The library by which SQLAlchemy talks to the server."""
    return str(request.param)


def run(market: Market, story: Any, driver: str) -> None:
    """Tell a story to a fresh engine, in a loop of its own."""

    async def told() -> None:
        engine = create_async_engine(url(market.dsn, driver), pool_size=2, max_overflow=2)
        gated = gate_engine(engine, market.gate)
        try:
            telling: Coroutine[Any, Any, None] = story(gated_sessionmaker(gated))
            await telling
        finally:
            await gated.dispose_async()
            await engine.dispose()

    asyncio.run(told())


def test_reading_and_writing(market: Market, driver: str) -> None:
    """Queries, eager loads, streams, flushes and refreshes."""

    async def story(maker: Maker) -> None:
        async with maker(caller=CLERK) as session:
            query = sa.select(Person).options(orm.selectinload(Person.orders)).order_by(Person.id)
            people = (await session.scalars(query)).all()
            assert len(people) == 20
            assert [order.id for order in people[0].orders] == [4, 6]
            assert masked_columns(people[0]) == {"email"}
            with pytest.raises(errors.UndefinedColumn):
                _ = people[0].ssn
            people[0].name = "changed"
            session.add(Order(person_id=2, amount=3, secrecy=0))
            await session.commit()
            await session.refresh(people[0])
            assert people[0].name == "changed"
            rows = await session.stream_scalars(sa.select(Order).execution_options(yield_per=10))
            assert len([order async for order in rows]) == 81
            assert await session.get(Person, 3) is None
            connection = await session.connection()
            assert await connection.scalar(sa.text("SELECT count(*) FROM market.people")) == 20
            raw = await connection.get_raw_connection()
            own: Any = raw.driver_connection
            if driver == "postgresql+asyncpg":
                assert await own.fetchval("SELECT count(*) FROM market.people") == 20
            else:
                cursor = await own.execute("SELECT count(*) FROM market.people")
                assert await cursor.fetchone() == (20,)

    run(market, story, driver)


def test_sharing(market: Market, driver: str) -> None:
    """Tasks of different callers over one small pool get their own rows."""

    async def ask(maker: Maker, caller: Caller, rows: int) -> None:
        for _ in range(10):
            async with maker(caller=caller) as session:
                assert len((await session.scalars(sa.select(Person))).all()) == rows

    async def story(maker: Maker) -> None:
        expected = [(BOSS, 40), (CLERK, 20), (OTHER_CLERK, 20), (BOSS, 40), (SELLER, 10), (CLERK, 20)]
        await asyncio.gather(*(ask(maker, *each) for each in expected))

    run(market, story, driver)


def test_changes(market: Market, driver: str) -> None:
    """After a change an access says that the object has to be read again; refresh does, or says that it is gone."""

    async def story(maker: Maker) -> None:
        async with maker(caller=CLERK) as session:
            person = await session.get_one(Person, 2)
            assert person.email == "***@shop.example"
            await asyncio.to_thread(market.store.grant_role, "carl", "boss")
            with pytest.raises(errors.RightsChanged, match="refresh"):
                _ = person.email
            await session.refresh(person)
            assert person.email == "mail2@shop.example"
            await asyncio.to_thread(market.store.grant_attribute, "carl", "regions", ("US",))

    run(market, story, driver)


def test_acting_for(market: Market, driver: str) -> None:
    """A narrower session, over the same engine."""

    async def story(maker: Maker) -> None:
        async with maker(caller=Caller.of("hal", purpose="work")) as session:
            async with session.acting_for("errand-2") as acting:
                assert acting.caller == CALLERS["errand"]
                assert [each.id for each in await acting.scalars(sa.select(Person))] == [2]
            with pytest.raises(errors.Refused):
                session.acting_for("nothing")

    run(market, story, driver)


def test_what_is_no_gated_engine(market: Market) -> None:
    """An asynchronous session takes nothing but what gate_engine made."""
    engine = create_async_engine(url(market.dsn))
    with pytest.raises(errors.InterfaceError):
        AsyncGatedSession(engine, caller=CLERK)  # type: ignore[arg-type]
    with pytest.raises(errors.InterfaceError):
        market.engine.async_engine(CLERK)
