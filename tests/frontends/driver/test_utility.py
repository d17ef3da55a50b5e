"""Statements that are no plain queries, through the driver: what carries a query, sessions, several in one text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from datagate import errors
from datagate.frontends import driver
from datagate.stores import EntitlementKind
from fixtures import shop
from tests.frontends.driver.test_writes import Shop, place

__all__ = ["place"]

SEEN = "SELECT * FROM shop.orders ORDER BY id"


def copied(connection: driver.Connection[Any], statement: str) -> bytes:
    """All that a COPY gives."""
    with connection.cursor().copy(statement) as copying:
        return b"".join(bytes(block) for block in copying)


def fails(connection: driver.Connection[Any], statement: str) -> str:
    """The SQLSTATE of a statement that fails."""
    with pytest.raises(errors.DatagateError) as caught:
        connection.execute(statement)
    assert "canary" not in str(caught.value)
    return caught.value.sqlstate


def test_copy_out_gives_what_a_select_gives(place: Shop) -> None:
    """As text, csv and binary; a table is its visible columns but for generated ones, of its own rows."""
    with place.connect("clerk", autocommit=True) as connection:
        rows = connection.execute("SELECT id, region, owner, note, amount, stars FROM shop.orders").fetchall()
        text = copied(connection, "COPY shop.orders TO STDOUT").decode().splitlines()
        assert sorted(text) == sorted("\t".join("\\N" if v is None else str(v) for v in row) for row in rows)
        csv = copied(connection, "COPY (SELECT id, owner FROM shop.orders WHERE id < 5) TO STDOUT (FORMAT csv, HEADER)")
        assert csv == b"id,owner\n1,ow**\n3,ow**\n4,ow**\n"
        with connection.cursor().copy("COPY shop.orders (id, owner) TO STDOUT (FORMAT binary)") as copying:
            copying.set_types(["int4", "text"])
            assert sorted(copying.rows()) == sorted((row[0], row[2]) for row in rows)


def test_what_copy_may_not_do(place: Shop) -> None:
    """Hidden columns and relations as in SELECT; no files, no programs, no way in; by its own method alone."""
    with place.connect("clerk", autocommit=True) as connection:
        for statement, sqlstate in (
            ("COPY shop.orders (secret) TO STDOUT", "42703"),
            ("COPY (SELECT secret FROM shop.orders) TO STDOUT", "42703"),
            ("COPY shop.nothing TO STDOUT", "42P01"),
            ("COPY pg_catalog.pg_authid TO STDOUT", "42P01"),
            ("COPY shop.orders TO '/tmp/orders'", "42501"),
            ("COPY shop.orders TO PROGRAM 'cat'", "42501"),
            ("COPY (SELECT 1) TO PROGRAM 'cat'", "42501"),
            ("COPY shop.orders FROM STDIN", "0A000"),
            ("COPY shop.orders TO STDOUT (ENCODING 'latin1')", "0A000"),
        ):
            with pytest.raises(errors.DatagateError) as caught, connection.cursor().copy(statement):
                pass
            assert caught.value.sqlstate == sqlstate, statement
        assert fails(connection, "COPY shop.orders TO STDOUT") == "0A000"
        with pytest.raises(errors.NotSupportedError), connection.cursor().copy("SELECT 1"):
            pass
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_copy_out_works_asynchronously(place: Shop) -> None:
    """The same of an asynchronous connection."""

    async def read() -> bytes:
        connected = await driver.connect_async(place.service, caller=shop.CALLERS["clerk"], gate=place.gate)
        async with connected as connection, connection.cursor().copy("COPY (SELECT 1) TO STDOUT") as copying:
            return b"".join([bytes(block) async for block in copying])

    assert asyncio.run(read()) == b"1\n"


def test_explain_shows_a_plan_and_nothing_of_the_policy(place: Shop) -> None:
    """Kinds of node and the relations that were named; no condition, no count, no cost, nothing of the state."""
    with place.connect("clerk", autocommit=True) as connection:
        query = "SELECT count(*) FROM shop.orders WHERE note LIKE 'n%'"
        lines = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {query}").fetchall())
        assert "Seq Scan on shop.orders" in lines
        (told,) = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchone() or ("",)
        assert json.loads(told)[0]["Plan"]["Node Type"]
        for word in ("rows", "cost", "EU", "regions", "epoch", "datagate", "13.5", "Filter", "cleo", "note"):
            assert word not in lines + told, word
        assert fails(connection, f"EXPLAIN ANALYZE {query}") == "0A000"
        assert fails(connection, "EXPLAIN (FORMAT yaml) SELECT 1") == "0A000"
        assert fails(connection, "EXPLAIN SELECT secret FROM shop.orders") == "42703"


def test_prepared_statements_are_decided_at_each_execution(place: Shop) -> None:
    """PREPARE, EXECUTE with constants, DEALLOCATE; what was revoked since is not there any more."""
    with place.connect("clerk", autocommit=True) as connection:
        connection.execute("PREPARE p (int, text) AS SELECT id FROM shop.orders WHERE id < $1 AND region <> $2")
        assert connection.execute("EXECUTE p(5, 'US')").fetchall() == [(3,)]
        assert connection.execute("EXECUTE p(5, NULL)").fetchall() == []
        connection.execute("PREPARE w AS INSERT INTO shop.orders (note) VALUES ($1) RETURNING note")
        assert connection.execute("EXECUTE w('it''s')").fetchall() == [("it's",)]
        assert fails(connection, "EXECUTE p(5)") == "42601"
        assert fails(connection, "PREPARE p AS SELECT 1") == "42P05"
        assert fails(connection, "EXECUTE p((SELECT 1), 'x')") == "0A000"
        connection.execute("DEALLOCATE p")
        assert fails(connection, "EXECUTE p(5, 'US')") == "26000"
        place.store.withdraw_entitlement("cleo", EntitlementKind.ROLE, "clerk")
        assert fails(connection, "EXECUTE w('x')") == "42P01"


def test_cursors_are_read_and_closed(place: Shop) -> None:
    """DECLARE, FETCH, MOVE, CLOSE as text."""
    with place.connect("clerk") as connection:
        connection.execute(f"DECLARE c SCROLL CURSOR FOR {SEEN}")
        assert connection.execute("FETCH 2 FROM c").fetchall() == connection.execute(f"{SEEN} LIMIT 2").fetchall()
        assert connection.execute("MOVE 2 IN c").statusmessage == "MOVE 2"
        assert len(connection.execute("FETCH BACKWARD 1 FROM c").fetchall()) == 1
        connection.execute("CLOSE c")
        assert fails(connection, "FETCH 1 FROM c") == "34000"


def test_a_cursor_ends_with_the_rights_that_it_was_opened_under(place: Shop) -> None:
    """By FETCH as text, WITH HOLD too, and by the driver's named cursors; a cursor opened anew is fine."""
    with place.connect("clerk") as connection, place.connect("clerk") as other:
        connection.execute(f"DECLARE held CURSOR WITH HOLD FOR {SEEN}")
        connection.commit()
        named = other.cursor("named")
        named.execute(SEEN)
        assert named.fetchmany(1)
        assert connection.execute("FETCH 1 FROM held").fetchall()
        place.store.grant_attribute("cleo", "regions", ("US",))
        with pytest.raises(errors.RightsChanged):
            named.fetchmany(1)
        other.rollback()
        named.close()
        assert fails(connection, "FETCH 1 FROM held") == "40001"
        connection.rollback()
        connection.execute("CLOSE held")
        connection.execute("DECLARE held CURSOR FOR SELECT DISTINCT region FROM shop.orders")
        assert connection.execute("FETCH ALL FROM held").fetchall() == [("US",)]


@pytest.mark.parametrize("closing", ["CLOSE held", "CLOSE ALL", "DISCARD ALL"])
def test_a_cursor_that_was_not_closed_stays_refused(place: Shop, closing: str) -> None:
    """A CLOSE that fails at the server, and a DECLARE of the same name, do not renew the rights of the old cursor."""
    with place.connect("clerk") as connection:
        connection.execute(f"DECLARE held CURSOR WITH HOLD FOR {SEEN}")
        connection.commit()
        place.store.grant_attribute("cleo", "regions", ("US",))
        for statement in (closing, "DECLARE held CURSOR WITH HOLD FOR SELECT 1"):
            fails(connection, "SELECT 1/0")
            fails(connection, statement)
            connection.rollback()
            assert fails(connection, "FETCH ALL FROM held") == "40001", statement
            connection.rollback()
        fails(connection, "DECLARE held CURSOR WITH HOLD FOR SELECT 1")
        connection.rollback()
        assert fails(connection, "FETCH ALL FROM held") == "40001"


def test_a_temporary_table_is_the_sessions_own(place: Shop) -> None:
    """Made from a guarded query, read beside guarded tables, hiding no guard, dropped; others do not see it."""
    with place.connect("clerk", autocommit=True) as connection, place.connect("boss", autocommit=True) as boss:
        connection.execute("CREATE TEMP TABLE mine AS SELECT id, owner FROM shop.orders WHERE id < 5")
        assert connection.execute("SELECT * FROM mine ORDER BY id").fetchall() == [
            (1, "ow**"),
            (3, "ow**"),
            (4, "ow**"),
        ]
        joined = "SELECT count(*) FROM pg_temp.mine AS m JOIN shop.orders AS o USING (id) WHERE o.owner = m.owner"
        assert connection.execute(joined).fetchone() == (3,)
        assert fails(boss, "SELECT * FROM mine") == "42P01"
        connection.execute("CREATE TEMP TABLE epochs AS SELECT 1 AS x")
        connection.execute("CREATE TEMP TABLE orders AS SELECT 2 AS id, 'x' AS secret")
        assert connection.execute("SELECT secret FROM orders").fetchone() == ("x",)
        assert fails(connection, "SELECT secret FROM shop.orders") == "42703"
        connection.execute("DROP TABLE mine, pg_temp.orders")
        assert fails(connection, "SELECT * FROM mine") == "42P01"
        assert fails(connection, "DROP TABLE shop.orders") == "0A000"
        assert fails(connection, "CREATE TABLE shop.kept AS SELECT * FROM shop.orders") == "0A000"
        connection.execute("DISCARD ALL")
        assert fails(connection, "SELECT * FROM epochs") == "42P01"


def test_several_statements_of_one_text_are_one(place: Shop) -> None:
    """All are admitted before the first is sent; a failure leaves nothing; results come one after another."""
    with place.connect("clerk", autocommit=True) as connection:
        cursor = connection.execute("SELECT 1; INSERT INTO shop.orders (note) VALUES ('m1'); SELECT 'b', ';'")
        assert cursor.fetchall() == [(1,)]
        assert cursor.nextset()
        assert (cursor.statusmessage, cursor.rowcount, cursor.description) == ("INSERT 0 1", 1, None)
        assert cursor.nextset()
        assert cursor.fetchall() == [("b", ";")]
        assert not cursor.nextset()
        assert (
            fails(connection, "INSERT INTO shop.orders (note) VALUES ('m2'); SELECT secret FROM shop.orders") == "42703"
        )
        assert fails(connection, "INSERT INTO shop.orders (note) VALUES ('m3'); SELECT 1 / 0") == "22012"
        connection.execute("BEGIN; INSERT INTO shop.orders (note) VALUES ('m4'); COMMIT")
        with pytest.raises(errors.SeveralStatements):
            connection.execute("SELECT 1; SELECT %s", (1,))
    assert place.behind("SELECT note FROM shop.orders WHERE note LIKE 'm_' ORDER BY 1") == [("m1",), ("m4",)]


@pytest.mark.parametrize(
    "statement",
    [
        "LISTEN x", "NOTIFY x", "LOCK TABLE shop.orders", "DO 'begin end'", "CALL shop.touch()", "VACUUM", "ANALYZE",
        "CREATE TABLE t (a int)", "ALTER TABLE shop.orders ADD x int", "GRANT SELECT ON shop.orders TO PUBLIC",
        "TRUNCATE shop.orders", "LOAD 'x'", "REFRESH MATERIALIZED VIEW x", "COMMENT ON TABLE shop.orders IS 'x'",
        "CREATE VIEW v AS SELECT 1", "CHECKPOINT", "REINDEX TABLE shop.orders", "ALTER SYSTEM SET work_mem = '1GB'",
    ],
)  # fmt: skip
def test_what_is_not_passed_on(place: Shop, statement: str) -> None:
    """A plain sentence, and the session goes on."""
    with place.connect("boss", autocommit=True) as connection:
        with pytest.raises(errors.UnsupportedConstruct, match=r"not passed on|not carried"):
            connection.execute(statement)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_transactions_in_all_their_words(place: Shop) -> None:
    """Chains, savepoints, modes, an exported snapshot's number, DISCARD."""
    with place.connect("clerk", autocommit=True) as connection:
        for statement in (
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a",
            "COMMIT AND CHAIN", "ROLLBACK AND NO CHAIN", "DISCARD PLANS", "DISCARD SEQUENCES", "DISCARD TEMP",
            "SET TIME ZONE 'UTC'", "RESET TIME ZONE", "SHOW TIME ZONE", "SET LOCAL work_mem = '1MB'",
        ):  # fmt: skip
            connection.execute(statement)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert fails(connection, "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'") in ("22023", "42704", "0A000")
