"""Python's own clients, run in this process: each says, line by line, what it was told at a place."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pandas as pd
import pg8000.dbapi
import pg8000.native
import psycopg
import psycopg2
import psycopg2.extras
import sqlalchemy as sa
from psycopg.types.enum import EnumInfo
from sqlalchemy.ext.asyncio import create_async_engine

from tests.clients.places import Place

CUSTOMERS = "select c_custkey, c_name, c_nationkey, c_acctbal from customer"
TYPES = "select id, b, e, n, ts, tz, iv, u, j, a, bt, ip, ch from types_t order by id"
JOINED = "select n_name, count(*), sum(c_acctbal) from customer join nation on n_nationkey = c_nationkey group by 1"
HIDDEN = ("select c_phone from customer", "select * from vault", "select o_secret from orders")


def failure(ask: Callable[[], object]) -> str:
    """The SQLSTATE of what a driver raises; ``none`` where it raises nothing."""
    error: Any
    try:
        ask()
    except sa.exc.DBAPIError as raised:
        error = raised.orig
    except (psycopg.Error, psycopg2.Error, asyncpg.PostgresError, pg8000.dbapi.DatabaseError) as raised:
        error = raised
    else:
        return "none"
    if isinstance(error.args[0], dict):
        return str(error.args[0]["C"])
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None))


def psycopg_sync(place: Place) -> Iterator[object]:
    """Psycopg 3: parameters, binary results, server-side cursors, pipelines, types, COPY, nested transactions."""
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        yield connection.info.parameter_status("standard_conforming_strings"), connection.info.encoding
        yield connection.execute(f"{CUSTOMERS} where c_nationkey = any(%s) order by 1", ([3, 4, 11],)).fetchall()
        for _ in range(3):
            yield connection.execute(f"{CUSTOMERS} where c_custkey = %s", (7,), prepare=True, binary=True).fetchone()
        yield sorted(connection.execute(JOINED).fetchall())
        yield EnumInfo.fetch(connection, "risk"), psycopg.types.TypeInfo.fetch(connection, "hstore")
        with connection.transaction(), connection.cursor("srv", scrollable=True) as cursor:
            cursor.itersize = 3
            cursor.execute(f"{CUSTOMERS} order by 1")
            yield cursor.fetchone(), cursor.fetchmany(4)
            cursor.scroll(2)
            yield list(cursor)
        with connection.pipeline(), connection.cursor() as one, connection.cursor() as other:
            one.execute("select count(*) from customer")
            other.execute("select count(*) from nation where n_nationkey > %s", (5,))
            yield one.fetchone(), other.fetchone()
        for way in ("text", "binary", "csv"):
            with connection.cursor().copy(f"copy ({CUSTOMERS} order by 1) to stdout (format {way})") as copy:
                yield way, b"".join(bytes(part) for part in copy)
        with connection.transaction():
            for query in HIDDEN:
                yield failure(lambda query=query: _nested(connection, query))  # type: ignore[misc]
            yield connection.execute("select 1").fetchone()
        yield failure(lambda: connection.execute(TYPES).fetchall())
        with psycopg.ClientCursor(connection) as client, psycopg.RawCursor(connection) as raw:
            yield client.execute(f"{CUSTOMERS} where c_name = %s", ("Customer#3",)).fetchall()
            yield raw.execute(f"{CUSTOMERS} where c_custkey between $1 and $2", (2, 4)).fetchall()
        yield [column.type_display for column in connection.execute(CUSTOMERS).description or ()]


def _nested(connection: psycopg.Connection[Any], query: str) -> None:
    with connection.transaction():
        connection.execute(query.encode())


def psycopg_async(place: Place) -> Iterator[object]:
    """Psycopg 3 under asyncio: server-side cursors, pipelines."""

    async def told() -> list[object]:
        out: list[object] = []
        async with await psycopg.AsyncConnection.connect(place.dsn) as connection:
            out.append(await (await connection.execute(JOINED + " order by 1")).fetchall())
            async with connection.cursor("srv") as cursor:
                await cursor.execute(f"{CUSTOMERS} order by 1")
                out.append(await cursor.fetchmany(7))
            async with connection.pipeline():
                one = await connection.execute("select max(c_acctbal) from customer")
                other = await connection.execute("select count(*) from nation")
                out += [await one.fetchone(), await other.fetchone()]
        return out

    yield from asyncio.run(told())


def psycopg2_client(place: Place) -> Iterator[object]:
    """Psycopg2: client-side parameters, named cursors, COPY, look-up of hstore, isolation levels."""
    connection = psycopg2.connect(place.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"{CUSTOMERS} where c_nationkey in %s order by 1", ((3, 4, 11),))
        yield cursor.fetchall()
        cursor.execute("select current_setting('server_encoding'), %s::json, %s", ('{"a": 1}', [1, 2]))
        yield cursor.fetchall()
        yield psycopg2.extras.HstoreAdapter.get_oids(connection)
    with connection, connection.cursor("srv") as cursor:
        cursor.itersize = 5
        cursor.execute(f"{CUSTOMERS} order by 1")
        yield cursor.fetchmany(3), list(cursor)
    with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        out = io.StringIO()
        cursor.copy_expert("copy nation to stdout csv header", out)
        cursor.execute(JOINED + " order by 1")
        yield out.getvalue(), cursor.fetchall()
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, deferrable=True)
    with connection, connection.cursor() as cursor:
        yield [failure(lambda query=query: cursor.execute(query)) for query in HIDDEN]  # type: ignore[misc]
    connection.close()


def asyncpg_client(place: Place) -> Iterator[object]:
    """Asyncpg: binary protocol, introspection of types, cursors, COPY, a pool that cleans connections."""

    async def told() -> list[object]:
        out: list[object] = []
        where = {"host": place.host, "port": place.port, "user": place.user, "password": place.password}
        async with asyncpg.create_pool(**where, database=place.database, min_size=1, max_size=1) as pool:
            async with pool.acquire() as connection:
                out.append(list(map(tuple, await connection.fetch(f"{CUSTOMERS} where c_custkey < $1 order by 1", 9))))
                for query in (TYPES, *HIDDEN):
                    try:
                        out.append(list(map(tuple, await connection.fetch(query))))
                    except asyncpg.PostgresError as error:
                        out.append(error.sqlstate)
                prepared = await connection.prepare(f"{CUSTOMERS} where c_name = $1")
                out.append([str(column.type.name) for column in prepared.get_attributes()])
                out.append(list(map(tuple, await prepared.fetch("Customer#4"))))
            async with pool.acquire() as connection, connection.transaction():
                cursor = await connection.cursor(f"{CUSTOMERS} order by 1")
                out.append([tuple(row) for row in await cursor.fetch(4)])
                copied = io.BytesIO()
                await connection.copy_from_query(f"{CUSTOMERS} order by 1", output=copied, format="binary")
                out.append(copied.getvalue())
                out.append(await connection.fetch("select n_name from nation where n_nationkey = any($1::int[])", [1]))
        return out

    yield from asyncio.run(told())


def pg8000_client(place: Place) -> Iterator[object]:
    """The client pg8000: by DB-API and natively, prepared statements, COPY out."""
    where = (place.user, place.host, place.database, place.port, place.password)
    connection = pg8000.dbapi.connect(*where)
    cursor = connection.cursor()
    cursor.execute(f"{CUSTOMERS} where c_custkey between %s and %s order by 1", (3, 12))
    yield cursor.fetchall(), cursor.description
    yield failure(lambda: cursor.execute(HIDDEN[0]))
    connection.rollback()
    copied = io.BytesIO()
    cursor.execute("copy nation to stdout", stream=copied)
    yield copied.getvalue()
    connection.close()
    native = pg8000.native.Connection(place.user, place.host, place.database, place.port, place.password)
    yield native.run(JOINED + " order by 1"), native.columns
    prepared = native.prepare("select c_name from customer where c_nationkey = :key order by 1")
    yield prepared.run(key=3), prepared.run(key=11)
    native.close()


def _reflected(connection: sa.Connection) -> list[object]:
    """All that an inspector tells, table by table, and what MetaData makes of it."""
    inspector = sa.inspect(connection)
    out: list[object] = [
        inspector.get_schema_names(),
        sorted(inspector.get_table_names()),
        sorted(inspector.get_view_names()),
        inspector.get_sequence_names(),
        inspector.get_enums() if hasattr(inspector, "get_enums") else None,
        inspector.get_domains() if hasattr(inspector, "get_domains") else None,
    ]
    kinds = (
        "columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints",
        "table_comment",
    )  # fmt: skip
    for kind in kinds:
        many = getattr(inspector, f"get_multi_{kind}")()
        out.append((kind, sorted(((name, repr(found)) for name, found in many.items()), key=repr)))
    out += [inspector.has_table("customer"), inspector.has_table("vault"), inspector.get_view_definition("rich")]
    metadata = sa.MetaData()
    metadata.reflect(connection, views=True)
    out.append(sorted(metadata.tables))
    table = metadata.tables["customer"]
    query = sa.select(table).where(table.c.c_custkey.in_([1, 2, 3])).order_by(table.c.c_custkey)
    out.append([tuple(row) for row in connection.execute(query)])
    streamed = connection.execution_options(stream_results=True, max_row_buffer=5).execute(sa.select(table))
    return [*out, len(streamed.fetchall())]


def _sqlalchemy(driver: str) -> Callable[[Place], Iterator[object]]:
    def told(place: Place) -> Iterator[object]:
        engine = sa.create_engine(place.url.replace("postgresql", f"postgresql+{driver}", 1))
        with engine.connect() as connection:
            yield from _reflected(connection)
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection.execute(sa.text("show transaction_isolation")).scalar()
            yield [failure(lambda query=query: connection.execute(sa.text(query))) for query in HIDDEN]  # type: ignore[misc]
        engine.dispose()

    return told


def sqlalchemy_asyncpg(place: Place) -> Iterator[object]:
    """SQLAlchemy under asyncio: reflection of all, streams."""

    async def told() -> list[object]:
        engine = create_async_engine(place.url.replace("postgresql", "postgresql+asyncpg", 1))
        async with engine.connect() as connection:
            out: list[object] = await connection.run_sync(_reflected)
        await engine.dispose()
        return out

    yield from asyncio.run(told())


def pandas_client(place: Place) -> Iterator[object]:
    """Pandas: queries, whole tables, chunks."""
    engine = sa.create_engine(place.url.replace("postgresql", "postgresql+psycopg", 1))
    with engine.connect() as connection:
        yield pd.read_sql(sa.text(JOINED + " order by 1"), connection).to_csv()
        yield pd.read_sql_table("customer", connection).sort_values("c_custkey").to_csv()
        streaming = connection.execution_options(stream_results=True)
        yield [len(chunk) for chunk in pd.read_sql(sa.text("select * from nation"), streaming, chunksize=10)]
    engine.dispose()


PYTHON: dict[str, Callable[[Place], Iterator[object]]] = {
    "psycopg 3": psycopg_sync,
    "psycopg 3, asyncio": psycopg_async,
    "psycopg2": psycopg2_client,
    "asyncpg": asyncpg_client,
    "pg8000": pg8000_client,
    "SQLAlchemy, psycopg": _sqlalchemy("psycopg"),
    "SQLAlchemy, psycopg2": _sqlalchemy("psycopg2"),
    "SQLAlchemy, pg8000": _sqlalchemy("pg8000"),
    "SQLAlchemy, asyncpg": sqlalchemy_asyncpg,
    "pandas": pandas_client,
}


def run(client: Callable[[Place], Iterator[Any]], place: Place) -> str:
    """All that a client was told, one thing a line."""
    return "\n".join(map(repr, client(place)))
