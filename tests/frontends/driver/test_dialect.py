"""SQLAlchemy and pandas work on the dialect as they do on SQLAlchemy's own."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import orm
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import create_async_engine

from datagate import errors
from datagate.frontends import driver
from datagate.frontends.driver.dialect import DatagateAsyncDialect, DatagateDialect
from tests.frontends.driver.conftest import CALLER, CANARY
from tests.frontends.driver.standin import StandInGate

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


class Base(orm.DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    region: orm.Mapped[str]


def url(dsn: str) -> sa.URL:
    parts = conninfo_to_dict(dsn)
    return sa.URL.create(
        "datagate+psycopg",
        username=str(parts["user"]),
        database=str(parts["dbname"]),
        query={"host": str(parts["host"]), "port": str(parts["port"])},
    )


@pytest.fixture
def engine(dsn: str, gate: StandInGate) -> Iterator[sa.Engine]:
    registry.register("datagate.psycopg", "datagate.frontends.driver.dialect", "DatagateDialect")
    engine = sa.create_engine(url(dsn), connect_args={"caller": CALLER, "gate": gate})
    yield engine
    engine.dispose()


def test_entry_points_name_the_dialect() -> None:
    """An installed datagate registers the dialect under both of its names."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]["sqlalchemy.dialects"]
    assert set(declared) == {"datagate", "datagate.psycopg"}
    for name, value in declared.items():
        assert EntryPoint(name, value, "sqlalchemy.dialects").load() is DatagateDialect
    assert DatagateDialect.get_async_dialect_cls(sa.make_url("datagate+psycopg://")) is DatagateAsyncDialect


def test_connecting_asks_nothing_but_what_the_gate_admits(engine: sa.Engine, gate: StandInGate) -> None:
    """Also what SQLAlchemy asks by itself on the first connection goes through the gate."""
    with engine.connect() as connection:
        assert connection.dialect.server_version_info is not None
    assert "select pg_catalog.version()" in gate.seen
    assert any("pg_type" in text for text in gate.seen)


def test_core_and_types(engine: sa.Engine) -> None:
    """Core statements with parameters give guarded rows; stream_results uses a server-side cursor."""
    customers = sa.Table("customers", sa.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        query = sa.select(customers.c.id).where(customers.c.id < sa.bindparam("n")).order_by(customers.c.id)
        assert connection.execute(query, {"n": 5}).scalars().all() == [2, 4]
        assert connection.execute(query.where(customers.c.id.in_([1, 2])), {"n": 5}).scalars().all() == [2]
        streamed = connection.execution_options(stream_results=True, max_row_buffer=10).execute(query, {"n": 50})
        assert streamed.scalars().all() == list(range(2, 50, 2))
        assert connection.exec_driver_sql("select count(*) from customers where id %% 4 = %s", (0,)).scalar() == 251
        assert connection.execute(sa.text("select count(*) from customers where name = :n"), {"n": "x"}).scalar() == 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(customers)).scalar() == 501
        assert connection.get_isolation_level() == "READ COMMITTED"


def test_orm(engine: sa.Engine) -> None:
    """ORM queries see the caller's rows only."""
    with orm.Session(engine) as session:
        found = session.scalars(sa.select(Customer).where(Customer.id < 7).order_by(Customer.id)).all()
        assert [customer.name for customer in found] == ["name 2", "name 4", "name 6"]
        assert session.get(Customer, 2) is not None
        assert session.get(Customer, 3) is None


def test_reflection(engine: sa.Engine) -> None:
    """The inspector finds tables, columns, keys and indexes."""
    inspector = sa.inspect(engine)
    assert {"customers", "orders"} <= set(inspector.get_table_names())
    assert [column["name"] for column in inspector.get_columns("customers")] == ["id", "name", "region", "ssn"]
    assert inspector.get_pk_constraint("customers")["constrained_columns"] == ["id"]
    assert inspector.get_foreign_keys("orders")[0]["referred_table"] == "customers"
    assert {index["name"] for index in inspector.get_indexes("customers")} >= {"customers_region"}
    assert inspector.has_table("orders")
    assert not inspector.has_table("nowhere")


def test_errors(engine: sa.Engine) -> None:
    """SQLAlchemy wraps our errors in its own of the same name, and keeps them as orig."""
    with engine.connect() as connection:
        with pytest.raises(sa.exc.ProgrammingError) as refused:
            connection.execute(sa.text("select * from secrets"))
        assert isinstance(refused.value.orig, errors.Refused)
        with pytest.raises(sa.exc.DataError) as leaking:
            connection.execute(sa.text("select ssn::int from customers where id = 5000"))
        assert CANARY not in str(leaking.value)
        assert not leaking.value.connection_invalidated


def test_a_dead_connection_is_replaced(engine: sa.Engine) -> None:
    """The pool notices a lost connection: by pre-ping, and by the error's own class."""
    with engine.connect() as connection:
        driver_connection = connection.connection.driver_connection
        assert isinstance(driver_connection, driver.Connection)
        assert connection.dialect.do_ping(connection.connection.dbapi_connection)  # type: ignore[arg-type]
        driver_connection.close()
        with pytest.raises(sa.exc.OperationalError) as lost:
            connection.execute(sa.text("select 1"))
        assert lost.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.execute(sa.text("select 1")).scalar() == 1


def test_pandas(engine: sa.Engine) -> None:
    """pandas.read_sql, read_sql_table and chunks read guarded rows."""
    frame = pd.read_sql("select id, region from customers where id < 10 order by id", engine)
    assert frame["id"].tolist() == [2, 4, 6, 8]
    frame = pd.read_sql(sa.text("select id from customers where id < :n"), engine, params={"n": 7}, index_col="id")
    assert sorted(frame.index) == [2, 4, 6]
    assert len(pd.read_sql_table("orders", engine)) == 100
    with engine.connect().execution_options(stream_results=True) as connection:
        chunks = list(pd.read_sql("select id from customers", connection, chunksize=100))
    assert [len(chunk) for chunk in chunks] == [100, 100, 100, 100, 100, 1]


def test_connect_args(dsn: str, gate: StandInGate) -> None:
    """Without caller, without policies, or with both gate and policies, the engine says what it needs."""
    wrong: list[dict[str, Any]] = [
        {"gate": gate},
        {"caller": CALLER},
        {"caller": CALLER, "gate": gate, "policies": "policies"},
    ]
    registry.register("datagate.psycopg", "datagate.frontends.driver.dialect", "DatagateDialect")
    for connect_args in wrong:
        with pytest.raises(sa.exc.InterfaceError):
            sa.create_engine(url(dsn), connect_args=connect_args).connect()


def test_async_engine(dsn: str, gate: StandInGate) -> None:
    """create_async_engine takes the same URL."""
    registry.register("datagate.psycopg", "datagate.frontends.driver.dialect", "DatagateDialect")

    async def story() -> None:
        engine = create_async_engine(url(dsn), connect_args={"caller": CALLER, "gate": gate})
        async with engine.connect() as connection:
            found = await connection.execute(sa.text("select id from customers where id < :n"), {"n": 5})
            assert sorted(found.scalars()) == [2, 4]
            names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
            assert "customers" in names
            streamed = await connection.stream(sa.text("select id from customers order by id"))
            assert await streamed.first() == (2,)
            with pytest.raises(sa.exc.ProgrammingError):
                await connection.execute(sa.text("select * from secrets"))
        await engine.dispose()

    asyncio.run(story())
