"""A statement that a client had described once, and runs when the caller's rights give it other columns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from tests.frontends.gateway.running import Running

OTHER_COLUMNS = "select * from bank.customers order by region, email limit 2"
SAME_COLUMNS = "select full_name, email from bank.customers order by region, email limit 2"
Work = Callable[[asyncpg.Connection], Awaitable[None]]


async def choose(connection: asyncpg.Connection, purpose: str) -> None:
    """Go on for another purpose."""
    await connection.execute(f"set datagate.purpose = '{purpose}'")


def run(gateway: Running, work: Work) -> None:
    """Do some work as the analyst; asyncpg describes what it prepares, and not what it runs."""

    async def connected() -> None:
        connection = await asyncpg.connect(**gateway.asyncpg("ana"))
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(connected())


@pytest.mark.parametrize("runs", [1, 4])
def test_other_columns_are_told_as_those_of_an_altered_table(gateway: Running, runs: int) -> None:
    """No row of other columns comes; the client prepares anew, and the connection serves on."""

    async def work(connection: asyncpg.Connection) -> None:
        statement = await connection.prepare(OTHER_COLUMNS)
        for _ in range(runs):
            assert {len(row) for row in await statement.fetch()} == {9}
        await choose(connection, "marketing.email")
        for _ in range(runs):
            with pytest.raises(asyncpg.InvalidCachedStatementError):
                await statement.fetch()
        assert {len(row) for row in await connection.fetch(OTHER_COLUMNS)} == {4}
        await choose(connection, "analytics")
        for _ in range(runs):
            assert {len(row) for row in await statement.fetch()} == {9}

    run(gateway, work)


def test_other_columns_within_a_transaction_fail_it(gateway: Running) -> None:
    """As any error of a statement does."""

    async def work(connection: asyncpg.Connection) -> None:
        statement = await connection.prepare(OTHER_COLUMNS)
        await choose(connection, "marketing.email")
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            await statement.fetch()
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.fetch(SAME_COLUMNS)
        await transaction.rollback()
        assert len(await connection.fetch(SAME_COLUMNS)) == 2

    run(gateway, work)


@pytest.mark.parametrize("runs", [1, 4])
def test_the_same_columns_show_what_is_shown_by_now(gateway: Running, runs: int) -> None:
    """What a cell shows is others' to say, and needs no other statement."""

    async def work(connection: asyncpg.Connection) -> None:
        statement = await connection.prepare(SAME_COLUMNS)
        for _ in range(2):
            for _ in range(runs):
                assert {row["full_name"] for row in await statement.fetch()} == {"***"}
            await choose(connection, "marketing.email")
            for _ in range(runs):
                assert "***" not in {row["full_name"] for row in await statement.fetch()}
            await choose(connection, "analytics")

    run(gateway, work)
