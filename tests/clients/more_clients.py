"""Python clients that are not installed for development: each says what it was told, as in ``python_clients``.

``python -m tests.clients.more_clients NAME`` runs one, at the place that libpq's variables name: some keep the
interpreter to themselves while they wait, and the gateway of the tests would wait for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.clients.places import Place
from tests.clients.python_clients import CUSTOMERS, HIDDEN, JOINED, run

_ODBC_DRIVER = "PostgreSQL Unicode"


def _sqlstate(ask: Callable[[], object], raised: type[Exception]) -> str:
    """What is in an error's words of a SQLSTATE or of what does not exist; ``none`` where there is no error."""
    try:
        ask()
    except raised as error:
        text = str(error)
        return "does not exist" if "does not exist" in text else text
    return "none"


def adbc(place: Place) -> Iterator[object]:
    """ADBC: everything is COPY BINARY; polars on top of it."""
    import polars as pl
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(place.url) as connection, connection.cursor() as cursor:
        cursor.execute(f"{CUSTOMERS} where c_nationkey = $1 order by 1", (3,))
        yield cursor.fetch_arrow_table().to_pylist()
        for query in HIDDEN:
            yield query, _sqlstate(partial(cursor.execute, query), dbapi.Error)
            connection.rollback()
        tables = connection.adbc_get_objects(depth="columns", db_schema_filter="public").read_all().to_pylist()
        yield [
            (table["table_name"], table["table_type"], [column["column_name"] for column in table["table_columns"]])
            for catalog in tables
            for schema in catalog["catalog_db_schemas"] or ()
            for table in sorted(schema["db_schema_tables"], key=lambda table: str(table["table_name"]))
        ]
        yield connection.adbc_get_table_schema("customer", db_schema_filter="public")
    yield pl.read_database_uri(f"{CUSTOMERS} order by 1", place.url, engine="adbc").to_dicts()
    yield pl.read_database_uri(JOINED + " order by 1", place.url, engine="adbc").schema


def connectorx(place: Place) -> Iterator[object]:
    """The loader connectorx, by each of its protocols, in partitions too; polars on top of it."""
    import connectorx as cx
    import polars as pl

    for protocol in ("binary", "cursor", "csv", "simple"):
        table: Any = cx.read_sql(place.url, f"{CUSTOMERS} order by 1", return_type="arrow", protocol=protocol)
        yield protocol, table.to_pylist()
    parts: Any = cx.read_sql(
        place.url, CUSTOMERS, return_type="arrow", partition_on="c_custkey", partition_num=3, protocol="binary"
    )
    yield sorted(map(repr, parts.to_pylist()))
    yield pl.read_database_uri("select * from nation order by 1", place.url).to_dicts()
    for query in HIDDEN[1:]:
        yield query, _sqlstate(partial(cx.read_sql, place.url, query, return_type="arrow"), RuntimeError)


def odbc(place: Place) -> Iterator[object]:
    """The driver psqlODBC: with and without server-side prepare, cursors, catalog functions."""
    import pyodbc

    for extra in ("UseServerSidePrepare=1", "UseServerSidePrepare=0", "UseDeclareFetch=1;Fetch=5"):
        where = (
            f"DRIVER={{{_ODBC_DRIVER}}};SERVER={place.host};PORT={place.port};DATABASE={place.database};"
            f"UID={place.user};PWD={place.password};{extra}"
        )
        connection = pyodbc.connect(where)
        cursor = connection.cursor()
        yield extra, [tuple(row) for row in cursor.execute(f"{CUSTOMERS} where c_nationkey = ? order by 1", 3)]
        yield [tuple(row) for row in cursor.execute(f"{CUSTOMERS} order by 1").fetchall()]
        for query in HIDDEN:
            yield query, _sqlstate(partial(cursor.execute, query), pyodbc.Error)
            connection.rollback()
        yield [tuple(row)[2:4] for row in cursor.tables(schema="public")]
        yield [(row.column_name, row.type_name, row.nullable) for row in cursor.columns(table="customer")]
        yield [tuple(row)[3:6] for row in cursor.primaryKeys(table="customer")]
        yield [(*tuple(row)[2:4], *tuple(row)[6:9]) for row in cursor.foreignKeys(foreignTable="customer")]
        yield [(row.index_name, row.column_name) for row in cursor.statistics(table="customer")]
        yield [row.type_name for row in cursor.getTypeInfo()]
        yield connection.getinfo(pyodbc.SQL_DBMS_NAME)
        connection.close()


def duckdb(place: Place) -> Iterator[object]:
    """DuckDB's scanner, where its extension can be had."""
    import duckdb as duck

    connection = duck.connect()
    connection.execute("LOAD postgres")
    connection.execute("SET pg_use_ctid_scan = false")
    connection.execute(f"ATTACH '{place.dsn}' AS shop (TYPE postgres, READ_ONLY)")
    yield connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    yield connection.execute("SELECT c_custkey, c_name FROM shop.customer ORDER BY 1").fetchall()
    yield connection.execute("SELECT * FROM postgres_query('shop', 'select * from nation order by 1')").fetchall()


def pgcli(place: Place) -> Iterator[object]:
    """The shell pgcli, which reads the catalogs for what it completes."""
    program = str(Path(sys.executable).parent / "pgcli")
    asked = (f"{CUSTOMERS} where c_nationkey = 3 order by 1", "\\dt", "\\d customer", "\\dv")
    commands = [part for each in asked for part in ("-c", each)]
    done = subprocess.run(
        [program, "--warn", "off", *commands],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**place.environment, "PAGER": "cat", "TERM": "dumb"},
    )
    assert "Customer#3" in done.stdout, done.stderr
    yield from (line for line in done.stdout.splitlines() if line.strip() and not line.startswith("Time:"))


def installed(*modules: str) -> bool:
    """Whether all of these are there."""
    return all(find_spec(module) is not None for module in modules)


def main() -> None:
    """Run the client that is named."""
    where = os.environ
    place = Place(where["PGHOST"], int(where["PGPORT"]), where["PGUSER"], where["PGPASSWORD"], where["PGDATABASE"])
    print(run(CLIENTS[sys.argv[1]], place))


CLIENTS: dict[str, Callable[[Place], Iterator[object]]] = {
    "adbc": adbc, "connectorx": connectorx, "odbc": odbc, "duckdb": duckdb, "pgcli": pgcli,
}  # fmt: skip

if __name__ == "__main__":
    main()
