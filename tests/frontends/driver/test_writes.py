"""Writes through the driver: what a caller gets back, what is in the tables then, and what others may do meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import orm

from datagate import errors
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends import driver
from datagate.gate import Gate, state_engine
from datagate.stores import EntitlementKind, StateStore
from datagate.stores.keyring import Keyring
from fixtures import shop

CANARY = "canary"


class Base(orm.DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = ({"schema": "shop"},)
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    region: orm.Mapped[str] = orm.mapped_column(server_default="EU")
    note: orm.Mapped[str | None]


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop behind a gate; the role that statements run under may write to its tables, and no more."""

    owner: str
    service: str
    store: StateStore
    gate: Gate

    def connect(self, who: str, **more: Any) -> driver.Connection[Any]:
        return driver.connect(self.service, caller=shop.CALLERS[who], gate=self.gate, **more)

    def behind(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.owner, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def place(postgres: EmbeddedPostgres) -> Iterator[Shop]:
    """A shop of this test's own."""
    owner = postgres.create_database("shop")
    with psycopg.connect(owner) as connection:
        shop.load(connection)
        connection.execute("DROP ROLE IF EXISTS shop_service")
        connection.execute("CREATE ROLE shop_service LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA shop TO shop_service")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO shop_service")
    engine = state_engine(owner)
    store = StateStore(engine)
    store.create()
    store.grant_service_role("shop_service")
    shop.WORLD.record(store)
    gate = Gate.open(owner, policies=shop.POLICIES, state=store, keyring=Keyring({}))
    yield Shop(owner, make_conninfo(owner, user="shop_service"), store, gate)
    engine.dispose()
    postgres.drop_database("shop")
    with psycopg.connect(make_conninfo(owner, dbname="postgres"), autocommit=True) as connection:
        connection.execute("DROP ROLE shop_service")


def test_a_write_without_returning_gives_no_rows(place: Shop) -> None:
    """Count and status are the server's; that rows came back for the gate's own check is not seen."""
    with place.connect("clerk") as connection:
        cursor = connection.execute("INSERT INTO shop.orders (region, note) VALUES (%s, %s), ('US', 'b')", ("EU", "a"))
        assert cursor.rowcount == 2
        assert cursor.statusmessage == "INSERT 0 2"
        assert cursor.description is None
        with pytest.raises(errors.ProgrammingError):
            cursor.fetchone()
        cursor = connection.execute("UPDATE shop.orders SET note = 'x' WHERE id <= %s", (6,))
        assert (cursor.rowcount, cursor.statusmessage, cursor.description) == (4, "UPDATE 4", None)
        cursor = connection.execute("DELETE FROM shop.lines WHERE order_id = 3")
        assert (cursor.statusmessage or "").startswith("DELETE")
    assert place.behind("SELECT count(*) FROM shop.orders WHERE note = 'x'") == [(4,)]


def test_only_rows_that_are_seen_are_touched(place: Shop) -> None:
    """An UPDATE of everything leaves other regions, and what a restrict hides, as they were."""
    with place.connect("clerk") as connection:
        changed = connection.execute("UPDATE shop.orders SET note = 'mine'").rowcount
        shown = connection.execute("SELECT count(*) FROM shop.orders").fetchone()
    assert shown == (changed,)
    assert place.behind("SELECT DISTINCT region FROM shop.orders WHERE note = 'mine' ORDER BY 1") == [("EU",), ("US",)]
    assert place.behind("SELECT note FROM shop.orders WHERE amount = 13.5") != [("mine",)]


def test_a_row_that_would_not_satisfy_the_policy_fails_whole(place: Shop) -> None:
    """SQLSTATE 44000, and nothing has changed, not even the rows that would have been right."""
    before = place.behind("SELECT * FROM shop.orders ORDER BY id")
    with place.connect("clerk", autocommit=True) as connection:
        for statement in (
            "UPDATE shop.orders SET region = CASE WHEN id = 4 THEN 'APAC' ELSE region END",
            "INSERT INTO shop.orders (region, note) VALUES ('EU', 'right'), ('APAC', 'wrong')",
            "INSERT INTO shop.orders (region, amount) VALUES ('EU', 13.5)",
            "INSERT INTO shop.lines SELECT 4, 'x', 1 UNION ALL SELECT 5, 'x', 1",
        ):
            with pytest.raises(errors.DatabaseError) as caught:
                connection.execute(statement)
            assert caught.value.sqlstate == "44000", statement
            assert CANARY not in str(caught.value)
    assert place.behind("SELECT * FROM shop.orders ORDER BY id") == before
    assert place.behind("SELECT * FROM shop.lines WHERE sku = 'x'") == []


def test_returning_shows_what_a_select_would(place: Shop) -> None:
    """Masked columns masked, hidden ones not there, in `*` and by name."""
    with place.connect("clerk") as connection:
        cursor = connection.execute("UPDATE shop.orders SET note = 'r' WHERE id = 3 RETURNING *, upper(owner) AS loud")
        names = [column.name for column in cursor.description or ()]
        assert names == ["id", "region", "owner", "note", "amount", "stars", "doubled", "loud"]
        row = cursor.fetchone()
        assert row is not None
        assert (row[2], row[5], row[7]) == ("ow**", 0, "OW**")
        seen = connection.execute("SELECT *, upper(owner) AS loud FROM shop.orders WHERE id = 3").fetchone()
        assert row == seen
        for hidden in ("secret", "orders.secret", "touched", "ctid", "tableoid", "nothing"):
            with connection.transaction(force_rollback=True), pytest.raises(errors.UndefinedColumn):
                connection.execute(f"DELETE FROM shop.orders WHERE id = 3 RETURNING {hidden}")


def test_defaults_identity_generated_columns_triggers_and_keys_work(place: Shop) -> None:
    """What the table does by itself, also to columns that the caller does not see."""
    with place.connect("clerk") as connection:
        row = connection.execute(
            "INSERT INTO shop.orders (amount) VALUES (21) RETURNING id, region, note, doubled"
        ).fetchone()
        assert row == (1000, "EU", None, 42)
        connection.execute("UPDATE shop.orders SET amount = amount + 1 WHERE id = 1000")
        connection.execute("INSERT INTO shop.lines VALUES (1000, 'a', 1)")
    assert place.behind("SELECT secret, touched, doubled FROM shop.orders WHERE id = 1000") == [
        ("canary-default", 1, 44)
    ]
    with place.connect("boss", autocommit=True) as connection:
        for statement, sqlstate in (
            ("INSERT INTO shop.orders (id) VALUES (1000)", "23505"),
            ("INSERT INTO shop.orders (region) VALUES (NULL)", "23502"),
            ("INSERT INTO shop.orders (amount) VALUES (1000001)", "23514"),
            ("DELETE FROM shop.orders WHERE id = 1000", "23503"),
            ("INSERT INTO shop.orders (doubled) VALUES (1)", "428C9"),
        ):
            with pytest.raises(errors.DatabaseError) as caught:
                connection.execute(statement)
            assert caught.value.sqlstate == sqlstate, statement
            assert CANARY not in str(caught.value)


def test_a_mask_never_reaches_the_table(place: Shop) -> None:
    """Neither set, nor read into a value, by any way round; reading it in a condition is fine."""
    with place.connect("clerk", autocommit=True) as connection:
        for statement in (
            "UPDATE shop.orders SET stars = 1",
            "UPDATE shop.orders SET note = owner",
            "UPDATE shop.orders SET note = (SELECT max(o.owner) FROM shop.orders AS o)",
            "UPDATE shop.orders SET note = o.owner FROM shop.orders AS o WHERE o.id = orders.id",
            "UPDATE shop.orders SET note = s.x FROM (SELECT id, upper(owner) AS x FROM shop.orders) AS s (id, x)",
            "UPDATE shop.orders SET (note, amount) = (SELECT owner, 1 FROM shop.orders AS o WHERE o.id = orders.id)",
            "INSERT INTO shop.orders (note) SELECT owner FROM shop.orders",
            "INSERT INTO shop.orders (note) SELECT * FROM (SELECT max(owner) FROM shop.orders) AS s",
            "WITH w AS (SELECT owner AS x FROM shop.orders) INSERT INTO shop.orders (note) SELECT x FROM w",
            "WITH w AS (DELETE FROM shop.orders WHERE id = 3 RETURNING owner) INSERT INTO shop.orders (note) TABLE w",
            "INSERT INTO shop.orders (id, note) VALUES (3, 'x') ON CONFLICT (id) DO UPDATE SET note = orders.owner",
            "INSERT INTO shop.orders (note) SELECT x FROM shop.orders, LATERAL (SELECT owner) AS l (x)",
            "INSERT INTO shop.orders (note) SELECT unnest(array_agg(owner)) FROM shop.orders",
            "INSERT INTO shop.lines (order_id, qty) SELECT id, stars FROM shop.orders",
        ):
            with pytest.raises(errors.Refused):
                connection.execute(statement)
        assert connection.execute("UPDATE shop.orders SET note = 'c' WHERE owner = 'ow**' AND id < 4").rowcount == 2
    assert place.behind("SELECT count(*) FROM shop.orders WHERE note LIKE 'ow%*'") == [(0,)]


def test_a_cell_may_be_written_where_it_is_seen_raw(place: Shop) -> None:
    """One's own orders show their owner, others mask it: one UPDATE of the owner touches one's own alone."""
    with place.connect("own", autocommit=True) as connection:
        seen = connection.execute("SELECT count(*) FROM shop.orders WHERE owner = 'own3'").fetchone()
        given = connection.execute("UPDATE shop.orders SET owner = 'own3', note = 'kept'")
        assert seen == (given.rowcount,)
        with pytest.raises(errors.DatabaseError) as caught:
            connection.execute("UPDATE shop.orders SET owner = 'given away'")
        assert caught.value.sqlstate == "44000"
    assert place.behind("SELECT DISTINCT owner FROM shop.orders WHERE note = 'kept'") == [("own3",)]


def test_a_row_that_somebody_else_changed_meanwhile_is_not_lost(place: Shop) -> None:
    """READ COMMITTED: an UPDATE that waited for another sees what that one left, and judges its rights by it."""
    with place.connect("clerk") as first, place.connect("clerk") as second, place.connect("clerk") as third:
        first.execute("UPDATE shop.orders SET amount = 100 WHERE id = 3")
        first.execute("UPDATE shop.orders SET region = 'US' WHERE id = 6")
        done: dict[str, int] = {}

        def wait(connection: driver.Connection[Any], name: str, statement: str) -> None:
            done[name] = connection.execute(statement).rowcount
            connection.commit()

        threads = [
            threading.Thread(
                target=wait, args=(second, "add", "UPDATE shop.orders SET amount = amount + 1 WHERE id = 3")
            ),
            threading.Thread(target=wait, args=(third, "eu", "DELETE FROM shop.lines WHERE order_id = 6 AND qty < 0")),
        ]
        for thread in threads:
            thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while place.behind(waiting) != [(1,)]:
            pass
        first.commit()
        for thread in threads:
            thread.join()
        assert done["add"] == 1
    assert place.behind("SELECT amount FROM shop.orders WHERE id = 3") == [(101,)]


def test_a_row_that_left_ones_sight_meanwhile_is_left_alone(place: Shop) -> None:
    """Who waited for a row that then went to another region does not touch it."""
    with place.connect("boss") as boss, place.connect("clerk") as clerk:
        boss.execute("UPDATE shop.orders SET region = 'APAC' WHERE id = 3")
        done: list[int] = []
        thread = threading.Thread(
            target=lambda: done.append(clerk.execute("UPDATE shop.orders SET note = 'mine' WHERE id = 3").rowcount)
        )
        thread.start()
        while place.behind("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(1,)]:
            pass
        boss.commit()
        thread.join()
        assert done == [0]
    assert place.behind("SELECT note FROM shop.orders WHERE id = 3") == [("note 3",)]


def test_rights_that_ended_end_writes_too(place: Shop) -> None:
    """The next write after a revocation is refused, also where it would touch nothing."""
    with place.connect("helper", autocommit=True) as connection:
        assert connection.execute("UPDATE shop.orders SET note = 'h' WHERE id = 1").rowcount == 1
        place.store.revoke_mandate("help-1")
        for statement in (
            "UPDATE shop.orders SET note = 'h' WHERE id = 1",
            "UPDATE shop.orders SET note = 'h' WHERE false",
        ):
            with pytest.raises(errors.Refused, match="mandate"):
                connection.execute(statement)
    with place.connect("clerk") as connection:
        connection.execute("SELECT 1 FROM shop.orders")
        place.store.withdraw_entitlement("cleo", EntitlementKind.ROLE, "clerk")
        with pytest.raises((errors.RightsChanged, errors.UndefinedRelation, errors.Refused)):
            connection.execute("INSERT INTO shop.orders (note) VALUES ('late')")
    assert place.behind("SELECT count(*) FROM shop.orders WHERE note = 'late'") == [(0,)]


def test_executemany_pipelines_and_async_count_what_they_wrote(place: Shop) -> None:
    """In all of psycopg's ways to send."""
    with place.connect("clerk") as connection:
        cursor = connection.cursor()
        cursor.executemany("INSERT INTO shop.orders (note) VALUES (%s)", [("m1",), ("m2",), ("m3",)])
        assert cursor.rowcount == 3
        cursor.executemany(
            "INSERT INTO shop.orders (note) VALUES (%s) RETURNING note", [("n",), ("o",)], returning=True
        )
        assert [result.fetchall() for result in cursor.results()] == [[("n",)], [("o",)]]
        with connection.pipeline():
            one = connection.execute("INSERT INTO shop.orders (note) VALUES ('p')")
            two = connection.execute("SELECT count(*) FROM shop.orders WHERE note = 'p'")
        assert (one.rowcount, one.description, two.fetchone()) == (1, None, (1,))

    async def write() -> tuple[int, Any]:
        connected = await driver.connect_async(place.service, caller=shop.CALLERS["clerk"], gate=place.gate)
        async with connected as connection:
            cursor = await connection.execute("UPDATE shop.orders SET note = 'a' WHERE id = 3")
            return cursor.rowcount, cursor.description

    assert asyncio.run(write()) == (1, None)


def test_a_sqlalchemy_engine_writes(place: Shop) -> None:
    """Core and ORM: RETURNING of generated keys, batches, rowcount checks."""
    engine = sa.create_engine(
        "datagate+psycopg://",
        creator=lambda: place.connect("clerk"),
        execution_options={"isolation_level": "READ COMMITTED"},
    )
    with orm.Session(engine) as session:
        session.add_all([Order(note=f"s{number}", region="EU") for number in range(50)])
        session.flush()
        order = session.scalars(sa.select(Order).where(Order.note == "s7")).one()
        order.note = "changed"
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).where(Order.note == "changed")) == 1
        gone = session.execute(sa.delete(Order).where(Order.note.like("s%"), Order.id >= 1000))
        assert isinstance(gone, sa.CursorResult)
        assert gone.rowcount == 49
        session.commit()
    engine.dispose()
    assert place.behind("SELECT note FROM shop.orders WHERE id >= 1000") == [("changed",)]


def test_stream_refuses_what_gives_no_rows(place: Shop) -> None:
    """As psycopg does for a statement without a result."""
    with place.connect("clerk") as connection, pytest.raises(errors.ProgrammingError, match="RETURNING"):
        list(connection.cursor().stream("INSERT INTO shop.orders (note) VALUES ('x')"))
