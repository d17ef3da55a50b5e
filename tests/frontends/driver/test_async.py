"""The asynchronous connection does what the synchronous one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from datagate import errors
from datagate.frontends import driver
from tests.frontends.driver.conftest import CALLER, CANARY
from tests.frontends.driver.standin import StandInGate

Story = Callable[[driver.AsyncConnection[Any]], Awaitable[None]]
QUERY = "select id from customers where id <= %s order by id"


def run(dsn: str, gate: StandInGate, story: Story) -> None:
    async def main() -> None:
        async with opened(dsn, gate) as connection:
            await story(connection)

    asyncio.run(main())


@asynccontextmanager
async def opened(dsn: str, gate: StandInGate) -> AsyncIterator[driver.AsyncConnection[Any]]:
    connection = await driver.connect_async(dsn, caller=CALLER, gate=gate)
    try:
        yield connection
    finally:
        await connection.close()


def test_fetching(dsn: str, gate: StandInGate) -> None:
    """All ways to send and fetch give the guarded rows."""

    async def story(conn: driver.AsyncConnection[Any]) -> None:
        cursor = await conn.execute(QUERY, (9,))
        assert await cursor.fetchone() == (2,)
        assert await cursor.fetchmany(1) == [(4,)]
        assert [row async for row in cursor] == [(6,), (8,)]
        assert await cursor.fetchone() is None
        await cursor.scroll(0, "absolute")
        assert len(await cursor.fetchall()) == 4
        assert [row async for row in conn.cursor().stream(QUERY, (5,))] == [(2,), (4,)]
        await cursor.executemany(QUERY, [(1,), (2,)], returning=True)
        assert await cursor.fetchall() == []
        assert cursor.nextset()
        assert await cursor.fetchall() == [(2,)]
        async with conn.cursor("named", scrollable=True) as named:
            await named.execute(QUERY, (9,))
            assert await named.fetchmany(2) == [(2,), (4,)]
            await named.scroll(0, "absolute")
            assert [row async for row in named] == [(2,), (4,), (6,), (8,)]
        async with conn.pipeline():
            results = [await conn.execute(QUERY, (n,)) for n in (2, 4)]
            assert [await result.fetchall() for result in results] == [[(2,)], [(2,), (4,)]]
        await conn.rollback()
        async with conn.transaction(), conn.transaction():
            await conn.execute("select 1")

    run(dsn, gate, story)
    assert set(gate.seen) == {QUERY.replace("%s", "$1"), "select 1"}


def test_refusals(dsn: str, gate: StandInGate) -> None:
    """Refusals, foreign cursors and COPY behave as in the synchronous driver."""

    async def story(conn: driver.AsyncConnection[Any]) -> None:
        with pytest.raises(errors.Refused):
            await conn.execute("select * from secrets")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with pytest.raises(errors.NotSupportedError):
            conn.cursor().copy("copy customers to stdout")
        for foreign in (psycopg.AsyncCursor, psycopg.AsyncRawCursor, psycopg.AsyncClientCursor):
            with pytest.raises(errors.NotSupportedError):
                await foreign(conn).execute("select * from secrets")
        async with conn.cursor("c") as named:
            with pytest.raises(errors.NotSupportedError):
                await named.execute("show timezone")
            with pytest.raises(errors.NotSupportedError):
                await named.executemany("select 1", [])
        with pytest.raises(errors.InternalError):
            await conn.wait(conn._exec_command("select 1"))

    run(dsn, gate, story)
    with pytest.raises(errors.InterfaceError):
        asyncio.run(driver.connect_async(dsn, caller=CALLER, gate=gate, cursor_factory=psycopg.AsyncClientCursor))


def test_faults(dsn: str, gate: StandInGate) -> None:
    """Errors are ours, neutral, and have nothing of psycopg's on them."""

    async def story(conn: driver.AsyncConnection[Any]) -> None:
        cursor = conn.cursor()
        leaks: list[Callable[[], Awaitable[object]]] = [
            lambda: conn.execute("select ssn::int from customers where id = 5000"),
            lambda: cursor.executemany("select ssn::int from customers where id = %s", [(5000,)]),
            lambda: drain(conn.cursor().stream("select ssn::int from customers where id = 5000")),
        ]
        for leak in leaks:
            with pytest.raises(errors.DataError) as caught:
                await leak()
            assert CANARY not in str(caught.value)
            assert caught.value.__context__ is None
            await conn.rollback()
        fresh = conn.cursor()
        misuses: list[Callable[[], Awaitable[object]]] = [
            fresh.fetchone, fresh.fetchall, fresh.fetchmany, lambda: anext(fresh), lambda: fresh.scroll(1)
        ]  # fmt: skip
        for misuse in misuses:
            with pytest.raises(errors.ProgrammingError) as caught_misuse:
                await misuse()
            assert caught_misuse.value.__context__ is None
        await conn.close()
        with pytest.raises(errors.OperationalError):
            await conn.execute("select 1")

    run(dsn, gate, story)
    with pytest.raises(errors.OperationalError):
        asyncio.run(driver.connect_async("host=127.0.0.1 port=1", caller=CALLER, gate=gate))


async def drain(rows: AsyncIterator[object]) -> None:
    async for _ in rows:
        pass


def test_changed_rights(dsn: str, gate: StandInGate, conn: driver.Connection[Any]) -> None:
    """The first statement of a transaction runs again; a later one raises RightsChanged."""
    del conn  # its fixture sets the counter back

    async def story(conn: driver.AsyncConnection[Any]) -> None:
        cursor = await conn.execute("select stale(1)")
        assert await cursor.fetchone() == (2,)
        with pytest.raises(errors.RightsChanged):
            await conn.execute("select stale(3)")
        await conn.rollback()
        assert [row async for row in conn.cursor().stream("select stale(4)")] == [(5,)]
        await conn.rollback()
        await conn.cursor().executemany("select stale(%s)", [(6,)])

    run(dsn, gate, story)
