"""The driver through the real gate, on the bank: the road from a caller's text to his own rows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

from datagate import errors
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends import driver
from datagate.frontends.driver.dialect import DatagateDialect
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore
from fixtures.bank.generate import load
from tests.frontends.driver.test_dialect import PYPROJECT, url

POLICIES = PYPROJECT.parent / "policies"
ADVISER = Caller.of("ada", purpose="advice")
ANALYST = Caller.of("ana", purpose="analytics")


@dataclass(frozen=True)
class Bank:
    owner: str
    service: str
    store: StateStore
    gate: Gate
    eu: int

    def connect(self, caller: Caller, **more: Any) -> driver.Connection[Any]:
        return driver.connect(self.service, caller=caller, gate=self.gate, **more)


@pytest.fixture(scope="session")
def bank(server: EmbeddedPostgres) -> Iterator[Bank]:
    owner = server.create_database("bank")
    with psycopg.connect(owner) as connection:
        load(connection, customers=300)
        connection.execute("CREATE ROLE service LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA bank TO service")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA bank TO service")
        row = connection.execute("SELECT count(*) FROM bank.customers WHERE region = 'EU'").fetchone()
        connection.commit()
    assert row is not None
    engine = state_engine(owner)
    store = StateStore(engine)
    store.create()
    store.grant_service_role("service")
    for principal, role in (("ada", "adviser"), ("ana", "analyst")):
        store.grant_role(principal, role)
        store.grant_attribute(principal, "regions", ("EU",))
    service = make_conninfo(owner, user="service")
    gate = Gate.open(service, policies=POLICIES, state=store, keyring=Keyring.ephemeral(os.urandom))
    yield Bank(owner, service, store, gate, row[0])
    engine.dispose()


@pytest.fixture
def adviser(bank: Bank) -> Iterator[driver.Connection[Any]]:
    connection = bank.connect(ADVISER)
    yield connection
    connection.close()


@pytest.fixture
def engine(bank: Bank) -> Iterator[sa.Engine]:
    sa.dialects.registry.register("datagate.psycopg", DatagateDialect.__module__, "DatagateDialect")
    engine = sa.create_engine(url(bank.service), connect_args={"caller": ADVISER, "gate": bank.gate})
    yield engine
    engine.dispose()


def test_every_way_gives_the_callers_rows(bank: Bank, adviser: driver.Connection[Any]) -> None:
    """execute, executemany, stream, server-side cursor and pipeline agree with what the policy says."""
    query = "select customer_id, region from bank.customers where customer_id < %s order by customer_id"
    rows = adviser.execute(query, (1000,)).fetchall()
    assert len(rows) == bank.eu
    assert {region for _, region in rows} == {"EU"}
    assert list(adviser.cursor().stream(query, (1000,))) == rows
    with adviser.cursor("named") as cursor:
        assert cursor.execute(query, (1000,)).fetchall() == rows
    many = adviser.cursor()
    many.executemany(query, [(1000,), (0,)], returning=True)
    assert [result.fetchall() for result in many.results()] == [rows, []]
    with adviser.pipeline():
        piped = [adviser.execute(query, (1000,)) for _ in range(3)]
        assert [cursor.fetchall() for cursor in piped] == [rows] * 3
    for _ in range(7):
        assert adviser.execute(query, (1000,)).fetchall() == rows


def test_refusals_say_what(adviser: driver.Connection[Any]) -> None:
    """Hidden columns, denied and missing relations, several statements, writes, COPY: each has its class."""
    cases: list[tuple[str, type[errors.Error]]] = [
        ("select ssn from bank.customers", errors.UndefinedColumn),
        ("select * from bank.nowhere", errors.UndefinedRelation),
        ("select * from datagate.consents", errors.UndefinedRelation),
        ("selec 1", errors.StatementSyntaxError),
        ("set search_path = bank", errors.Refused),
        ("set standard_conforming_strings = off", errors.Refused),
        ("copy bank.customers to stdout", errors.NotSupportedError),
        ("copy bank.customers from stdin", errors.NotSupportedError),
        ("prepare transaction 'x'", errors.NotSupportedError),
        ("select pg_read_file('/etc/passwd')", errors.Error),
    ]
    for query, kind in cases:
        with pytest.raises(kind) as caught:
            adviser.execute(query)
        assert caught.value.__context__ is None or isinstance(caught.value.__context__, errors.DatagateError)
        adviser.rollback()


def test_consent_counts_at_the_moment_of_the_statement(bank: Bank) -> None:
    """A withdrawn consent takes its row away from the next statement, in the same transaction."""
    eu = "select customer_id from bank.customers where region = 'EU' order by 1 limit 2"
    with psycopg.connect(bank.owner) as owner:
        subjects = [str(row[0]) for row in owner.execute(eu)]
    bank.store.give_consents(subjects, "analytics")
    with bank.connect(ANALYST) as connection:
        assert connection.execute("select count(*) from bank.customers").fetchone() == (2,)
        bank.store.withdraw_consent(subjects[0], "analytics")
        assert connection.execute("select count(*) from bank.customers").fetchone() == (1,)


def test_changed_rights(bank: Bank) -> None:
    """A new right counts for the next transaction without notice; within one, RightsChanged says run it again."""
    caller = Caller.of("abe", purpose="advice")
    bank.store.grant_role("abe", "adviser")
    bank.store.grant_attribute("abe", "regions", ("EU",))
    query = "select distinct region from bank.customers order by 1"
    with bank.connect(caller) as connection:
        assert connection.execute(query).fetchall() == [("EU",)]
        connection.commit()
        bank.store.grant_attribute("abe", "regions", ("EU", "US"))
        assert connection.execute(query).fetchall() == [("EU",), ("US",)]
        bank.store.grant_attribute("abe", "regions", ("US",))
        with pytest.raises(errors.RightsChanged):
            connection.execute(query)
        connection.rollback()
        assert connection.execute(query).fetchall() == [("US",)]


def test_async(bank: Bank) -> None:
    """The asynchronous connection and engine give the same rows."""

    async def story() -> None:
        connection = await driver.connect_async(bank.service, caller=ADVISER, gate=bank.gate)
        async with connection:
            cursor = await connection.execute("select count(*) from bank.customers")
            assert await cursor.fetchone() == (bank.eu,)
        engine = create_async_engine(url(bank.service), connect_args={"caller": ADVISER, "gate": bank.gate})
        async with engine.connect() as connected:
            assert (await connected.execute(sa.text("select count(*) from bank.customers"))).scalar() == bank.eu
        await engine.dispose()

    asyncio.run(story())


def test_reflection_finds_tables(engine: sa.Engine) -> None:
    """Schemas and tables are those that exist for the caller."""
    inspector = sa.inspect(engine)
    assert "bank" in inspector.get_schema_names()
    assert "customers" in inspector.get_table_names(schema="bank")
    assert inspector.has_table("customers", schema="bank")
    assert not inspector.has_table("nowhere", schema="bank")
    assert "customers" not in inspector.get_view_names(schema="bank")


def test_reflection_finds_keys(engine: sa.Engine) -> None:
    """Primary and unique keys are those that exist for the caller."""
    inspector = sa.inspect(engine)
    assert inspector.get_pk_constraint("customers", schema="bank")["constrained_columns"] == ["customer_id"]
    assert inspector.get_unique_constraints("customers", schema="bank") == []
    assert inspector.get_table_comment("customers", schema="bank") == {"text": None}


def test_reflection_shows_columns_that_the_caller_may_see(engine: sa.Engine) -> None:
    """Columns, foreign keys, indexes and checks are those that exist for the caller, and no others."""
    inspector = sa.inspect(engine)
    columns = {column["name"] for column in inspector.get_columns("customers", schema="bank")}
    assert {"customer_id", "full_name", "region", "balance"} <= columns
    assert "ssn" not in columns
    assert inspector.get_foreign_keys("accounts", schema="bank")
    inspector.get_indexes("customers", schema="bank")
    inspector.get_check_constraints("customers", schema="bank")
    inspector.get_table_names()


def test_reflected_tables(engine: sa.Engine, bank: Bank) -> None:
    """A reflected table can be selected from, and pandas reads it by name."""
    customers = sa.Table("customers", sa.MetaData(schema="bank"), autoload_with=engine)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(customers)).scalar() == bank.eu
    assert len(pd.read_sql_table("customers", engine, schema="bank", columns=["region"])) == bank.eu


class Base(orm.DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    __table_args__ = {"schema": "bank"}  # noqa: RUF012 - SQLAlchemy's way
    customer_id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    full_name: orm.Mapped[str]
    region: orm.Mapped[str]


def test_sqlalchemy_and_pandas(engine: sa.Engine, bank: Bank) -> None:
    """Core, ORM, server-side cursors and pandas give the caller's rows."""
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(Customer)).scalar() == bank.eu
        streamed = connection.execution_options(stream_results=True).execute(sa.select(Customer.region))
        assert set(streamed.scalars()) == {"EU"}
    with orm.Session(engine) as session:
        query = sa.select(Customer).where(Customer.customer_id > 0).order_by(Customer.customer_id).limit(3)
        found = session.scalars(query).all()
        assert {customer.region for customer in found} == {"EU"}
        assert session.get(Customer, -1) is None
    frame = pd.read_sql("select * from bank.customers", engine)
    assert len(frame) == bank.eu
    assert "ssn" not in frame
    chunks = list(pd.read_sql(sa.text("select region from bank.customers where region = :r"), engine,
                              params={"r": "EU"}, chunksize=10))  # fmt: skip
    assert sum(map(len, chunks)) == bank.eu


def test_an_engine_opens_its_gate_once(bank: Bank) -> None:
    """With policies instead of a gate, all connections of the pool pass through one gate."""
    engine = sa.create_engine(
        url(bank.service),
        connect_args={"caller": ADVISER, "policies": POLICIES, "state": bank.store},
    )
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            assert connection.execute(sa.text("select count(*) from bank.customers")).scalar() == bank.eu
    assert isinstance(engine.dialect, DatagateDialect)
    assert len(engine.dialect._gates) == 1
    engine.dispose()
