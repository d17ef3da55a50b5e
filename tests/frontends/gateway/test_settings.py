"""Settings that drivers and their pools set, take back and ask for."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import pytest

from tests.frontends.gateway.running import Running


@pytest.mark.parametrize("again", ["reset all", "reset timezone", "discard all"])
def test_resetting_goes_back_to_what_the_client_asked_for(gateway: Running, again: str) -> None:
    """A setting of the start-up packet is the session's default, as on a server."""
    with gateway.connect(options="-c timezone=Europe/Rome") as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        connection.execute("set work_mem = '8MB'")
        connection.execute(again)
        assert connection.execute("show timezone").fetchone() == ("Europe/Rome",)
        kept = "8MB" if again == "reset timezone" else "4MB"
        assert connection.execute("show work_mem").fetchone() == (kept,)


def test_a_zone_by_its_offset(gateway: Running) -> None:
    """As Sequelize begins each session; and what others begin theirs with, which stays as it is."""
    with gateway.connect() as connection:
        connection.execute("SET client_min_messages TO warning;SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE")
        told = connection.execute("SELECT '2026-01-01 00:00+00'::timestamptz::text").fetchone()
        assert told == ("2026-01-01 05:30:00+05:30",)
        connection.execute("SET standard_conforming_strings = on")
        for refused in (
            "SET TIME ZONE INTERVAL '1 day' HOUR TO MINUTE",
            "SET TIME ZONE INTERVAL '+05:30'",
            "SET standard_conforming_strings = off",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
                connection.execute(refused)


def test_set_config_stays_with_its_session(gateway: Running) -> None:
    """set_config is SET: of settings that may be set, and nobody else meets it."""
    with gateway.connect() as connection:
        assert connection.execute("select set_config('TimeZone', 'Asia/Tokyo', false)").fetchone() == ("Asia/Tokyo",)
        with gateway.connect() as other:
            assert other.execute("show timezone").fetchone() == ("UTC",)
        assert connection.execute("show timezone").fetchone() == ("Asia/Tokyo",)
        for refused in (
            "select set_config('search_path', 'bank', false)",
            "select set_config('time' || 'zone', 'UTC', false)",
            "select set_config('timezone', '<UTC>+3', false)",
            "select set_config(region, 'UTC', false) from bank.customers",
            "select set_config('client_encoding', 'LATIN1', false)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused)


def test_set_config_that_comes_again_changes_how_literals_are_read(gateway: Running) -> None:
    """What was prepared when literals were read in another way is prepared anew."""
    german, first = "select set_config('datestyle', 'German', false)", "select extract(month from date '01/02/2026')"
    with gateway.connect() as connection:
        # What the client prepares itself keeps its reading, as on a server.
        connection.prepare_threshold = None
        for _ in range(4):
            connection.execute(german)
            connection.execute("set datestyle = 'ISO, MDY'")
            for _ in range(3):
                assert connection.execute(first).fetchone() == (1,)
            connection.execute(german)
            for _ in range(3):
                assert connection.execute(first).fetchone() == (2,)


def test_asyncpg_pool_and_introspection(gateway: Running) -> None:
    """The driver turns jit off while it asks for types, and cleans connections that go back to its pool."""

    async def twice() -> list[str]:
        found = []
        async with asyncpg.create_pool(**gateway.asyncpg("ana"), min_size=1, max_size=1) as pool:
            for _ in range(2):
                async with pool.acquire() as connection:
                    await connection.execute("set timezone = 'Asia/Tokyo'")
                    await connection.set_type_codec(
                        "json", encoder=str, decoder=str, schema="pg_catalog", format="text"
                    )
                    assert await connection.fetchval("select typtype from pg_type where typname = 'json'") == b"b"
                    found.append(await connection.fetchval("show timezone"))
                async with pool.acquire() as connection:
                    found.append(await connection.fetchval("show timezone"))
        return found

    assert asyncio.run(twice()) == ["Asia/Tokyo", "UTC"] * 2
