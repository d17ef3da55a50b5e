"""Real clients through a real gateway: two callers, each of whom sees his own rows and columns."""

from __future__ import annotations

import asyncio
import os
import subprocess

import asyncpg
import pg8000.dbapi
import psycopg2
import pytest

from tests.frontends.gateway.running import PASSWORD, Running

COUNTS = "select region, count(*) from bank.customers group by region order by region"


def expected(gateway: Running, user: str) -> list[tuple[object, ...]]:
    """What psycopg 3 gets."""
    with gateway.connect(user) as connection:
        return connection.execute(COUNTS).fetchall()


@pytest.mark.parametrize("user", ["ana", "ada"])
def test_drivers_agree(gateway: Running, user: str) -> None:
    """psycopg2, pg8000 and asyncpg get the same rows; the two callers do not."""
    rows = expected(gateway, user)
    with psycopg2.connect(gateway.dsn(user)) as second, second.cursor() as cursor:
        cursor.execute(COUNTS)
        assert cursor.fetchall() == rows
    second.close()
    eight = pg8000.dbapi.connect(user, "127.0.0.1", gateway.database, gateway.port, PASSWORD)
    found = eight.cursor()
    found.execute(COUNTS)
    assert [tuple(row) for row in found.fetchall()] == rows
    eight.close()

    async def fetched() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(**gateway.asyncpg(user))
        async with connection.transaction():
            cursor = [tuple(row) async for row in connection.cursor(COUNTS, prefetch=1)]
        await connection.close()
        return cursor

    assert asyncio.run(fetched()) == rows
    assert expected(gateway, "ana") != expected(gateway, "ada")


@pytest.mark.parametrize("user", ["ana", "ada"])
def test_psql(gateway: Running, user: str) -> None:
    """The server's own client runs statements, refusals, FETCH_COUNT and copies out."""
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    command = ["psql", gateway.dsn(user), "-XAt", "-F", ",", "-v", "FETCH_COUNT=2", "-c", COUNTS]
    command += ["-c", "select ssn from bank.customers", "-c", f"\\copy ({COUNTS}) to stdout with (format csv)"]
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    lines = [f"{region},{count}" for region, count in expected(gateway, user)]
    assert out.stdout.splitlines() == lines * 2
    assert 'column "ssn" does not exist' in out.stderr
