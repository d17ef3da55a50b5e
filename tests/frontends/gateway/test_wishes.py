"""SET of who is calling is SET: by transaction and savepoint, and what is read is decided by what counts then."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.frontends.gateway.running import Running

MARKETING, ANALYTICS = "marketing.email", "analytics"
EMAILS = "SELECT count(*) FILTER (WHERE full_name <> '***') FROM bank.customers"
"""Something else for each purpose: names are told for marketing alone."""


def purpose(connection: psycopg.Connection[Any]) -> str:
    """The purpose that the gateway tells, which is the one that counts for what is read."""
    told = connection.execute("SHOW datagate.purpose").fetchone()
    again = connection.execute("SELECT current_setting('datagate.purpose')").fetchone()
    assert told is not None
    assert told == again
    names = connection.execute(EMAILS).fetchone()
    assert names is not None
    assert (names[0] > 0) == (told[0] == MARKETING)
    return str(told[0])


def set_to(value: str) -> str:
    """SET."""
    return f"SET datagate.purpose = '{value}'"


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([set_to(MARKETING), "COMMIT"], MARKETING),
        ([set_to(MARKETING), "ROLLBACK"], ANALYTICS),
        ([f"SET LOCAL datagate.purpose TO '{MARKETING}'", "COMMIT"], ANALYTICS),
        (["SAVEPOINT a", set_to(MARKETING), "ROLLBACK TO a", "COMMIT"], ANALYTICS),
        (["SAVEPOINT a", set_to(MARKETING), "RELEASE a", "COMMIT"], MARKETING),
        ([set_to(MARKETING), "SAVEPOINT a", set_to(ANALYTICS), "ROLLBACK TO SAVEPOINT a", "COMMIT"], MARKETING),
        ([set_to(MARKETING), "SAVEPOINT a", set_to(ANALYTICS), "RELEASE SAVEPOINT a", "COMMIT"], ANALYTICS),
        ([set_to(MARKETING), f"SET LOCAL datagate.purpose = '{ANALYTICS}'", "COMMIT"], MARKETING),
        ([set_to(MARKETING), "COMMIT AND CHAIN", set_to(ANALYTICS), "ROLLBACK"], MARKETING),
        ([set_to(MARKETING), "RESET datagate.purpose", "COMMIT"], ANALYTICS),
        ([set_to(MARKETING), "SET datagate.purpose TO DEFAULT", "COMMIT"], ANALYTICS),
        ([set_to(MARKETING), "RESET ALL", "COMMIT"], ANALYTICS),
        (["SAVEPOINT a", set_to(MARKETING), "SAVEPOINT b", "ROLLBACK TO a", "COMMIT"], ANALYTICS),
        ([f"SELECT set_config('datagate.purpose', '{MARKETING}', true)", "COMMIT"], ANALYTICS),
        ([f"SELECT set_config('datagate.purpose', '{MARKETING}', false)", "COMMIT"], MARKETING),
    ],
)
@pytest.mark.parametrize("pipelined", [False, True])
def test_a_transaction_takes_with_it_what_was_set_in_it(
    gateway: Running, steps: list[str], left: str, pipelined: bool
) -> None:
    """As PostgreSQL does with all settings (manual, SET)."""
    with gateway.connect() as connection:
        if pipelined:
            with connection.pipeline():
                for step in ("BEGIN", *steps):
                    connection.execute(step)
        else:
            for step in ("BEGIN", *steps):
                connection.execute(step)
                if step.startswith(("SET LOCAL", set_to(MARKETING))):
                    assert purpose(connection) in (MARKETING, ANALYTICS)
        assert purpose(connection) == left


def test_a_transaction_that_fails_takes_it_along(gateway: Running) -> None:
    """Whether the client says so, or the transaction ends by itself; in a failed one nothing is set or shown."""
    with gateway.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(set_to(MARKETING))
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        for statement in (set_to(ANALYTICS), "SHOW datagate.purpose"):
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute(statement)
        assert connection.execute("COMMIT").statusmessage == "ROLLBACK"
        assert purpose(connection) == ANALYTICS

        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():  # noqa: PT012 - both in one series
            connection.execute(set_to(MARKETING))
            connection.execute("SELECT 1/0")
        assert purpose(connection) == ANALYTICS


def test_what_follows_in_a_pipeline_is_decided_by_how_the_transaction_ended(gateway: Running) -> None:
    """Though it was sent before that was known."""
    with gateway.connect() as connection:
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(set_to(MARKETING))
            within = connection.execute(EMAILS)
            connection.execute("ROLLBACK")
            after = connection.execute(EMAILS)
            shown = connection.execute("SHOW datagate.purpose")
        assert (within.fetchone() or (0,))[0] > 0
        assert after.fetchone() == (0,)
        assert shown.fetchone() == (ANALYTICS,)


def test_several_statements_in_one_text(gateway: Running) -> None:
    """All take effect, or none; what cannot be known beforehand is refused."""
    with psycopg.ClientCursor(gateway.connect()) as cursor, cursor.connection as connection:
        cursor.execute(f"BEGIN; SET LOCAL datagate.purpose = '{MARKETING}'; {EMAILS}; COMMIT")
        found = [cursor.fetchone() for _ in iter(cursor.nextset, None) if cursor.description]
        assert found
        assert (found[0] or (0,))[0] > 0
        assert purpose(connection) == ANALYTICS
        for refused, sqlstate in (
            (f"{set_to(MARKETING)}; SELECT * FROM nowhere", "42P01"),
            (f"{set_to(MARKETING)}; SELECT 1/0", "22012"),
            (f"{set_to(MARKETING)}; SET datagate.purpose = 'compliance'", "42501"),
            (f"BEGIN; {set_to(MARKETING)}; ROLLBACK; {EMAILS}", "0A000"),
            (f"BEGIN; SAVEPOINT a; {set_to(MARKETING)}; COMMIT", "0A000"),
        ):
            with pytest.raises(psycopg.Error) as caught:
                cursor.execute(refused)
            assert caught.value.sqlstate == sqlstate
            assert purpose(connection) == ANALYTICS
        cursor.execute(f"{set_to(MARKETING)}; SELECT 1")
        assert purpose(connection) == MARKETING
        cursor.execute("SELECT 1; RESET ALL")
        assert purpose(connection) == ANALYTICS


def test_discard_all_and_a_pool_that_cleans_take_it_back(gateway: Running) -> None:
    """Who takes the connection next has not the purpose of who had it before."""
    with gateway.connect(options=f"-c datagate.purpose={MARKETING}") as connection:
        connection.execute(set_to(ANALYTICS))
        connection.execute("DISCARD ALL")
        assert purpose(connection) == MARKETING
        connection.execute(set_to(ANALYTICS))
        connection.execute("RESET datagate.purpose")
        assert purpose(connection) == MARKETING
        connection.execute("BEGIN")
        connection.execute(set_to(ANALYTICS))
        with pytest.raises(psycopg.errors.ActiveSqlTransaction):
            connection.execute("DISCARD ALL")
        connection.execute("ROLLBACK")
        assert purpose(connection) == MARKETING

    async def lend() -> list[str]:
        found = []
        async with asyncpg.create_pool(**gateway.asyncpg("ana"), min_size=1, max_size=1) as pool:
            for value in (MARKETING, ANALYTICS):
                async with pool.acquire() as lent:
                    found.append(await lent.fetchval("SHOW datagate.purpose"))
                    await lent.execute(set_to(value))
        return found

    assert asyncio.run(lend()) == [ANALYTICS, ANALYTICS]


def test_set_local_outside_of_a_transaction_warns(gateway: Running) -> None:
    """And does nothing, as on a server."""
    with gateway.connect() as connection:
        heard: list[str | None] = []
        connection.add_notice_handler(lambda notice: heard.append(notice.sqlstate))
        connection.execute(f"SET LOCAL datagate.purpose = '{MARKETING}'")
        assert heard == ["25P01"]
        assert purpose(connection) == ANALYTICS


def test_principal_and_mandate_are_set_one_after_the_other(gateway: Running) -> None:
    """Between the two nothing is permitted; at the start both are needed."""
    with gateway.connect("tom") as connection:
        for setting in ("on_behalf_of = 'cora'", "mandate = 'tax-1'"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
                connection.execute("SELECT * FROM bank.customers")
            connection.execute(f"SET datagate.{setting}")
        assert connection.execute("SELECT count(*) FROM bank.customers").fetchone() == (1,)
        connection.execute("RESET ALL")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM bank.customers")
    with pytest.raises(psycopg.OperationalError, match="go together"):
        gateway.connect("tom", options="-c datagate.mandate=tax-1")


def test_other_purposes_keep_what_was_prepared_and_close_temporary_tables(gateway: Running) -> None:
    """A name that was prepared is decided on anew; a table holds what was seen for the purpose that it was made for."""
    with gateway.connect() as connection:
        connection.execute(f"PREPARE names AS {EMAILS}")
        connection.execute("CREATE TEMPORARY TABLE kept AS SELECT region FROM bank.customers")
        seen = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert connection.execute("EXECUTE names").fetchone() == (0,)
        connection.execute(set_to(MARKETING))
        assert (connection.execute("EXECUTE names").fetchone() or (0,))[0] > 0
        for name in ("kept", "pg_temp.kept"):
            with pytest.raises(psycopg.errors.UndefinedTable, match="holds what was seen for another purpose"):
                connection.execute(f"SELECT * FROM {name}")
        connection.execute(set_to(ANALYTICS))
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == seen
        connection.execute(set_to(MARKETING))
        connection.execute("DROP TABLE kept")
        with pytest.raises(psycopg.errors.UndefinedTable, match='relation "kept" does not exist'):
            connection.execute("SELECT * FROM kept")


def test_execute_runs_what_the_protocol_prepared(gateway: Running) -> None:
    """One namespace for both, as far as that goes; what PREPARE made is run by EXECUTE alone."""
    with gateway.connect() as connection:
        wire = connection.pgconn
        wire.prepare(
            b"counted", b"SELECT count(*) FROM bank.customers WHERE region = $1 AND customer_id <> $2", [25, 0]
        )
        wire.prepare(b"named", b"SELECT $1, $2", [25, 1007])
        count = connection.execute("SELECT count(*) FROM bank.customers WHERE region = 'EU'").fetchone()
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute("EXECUTE counted('EU', 5)")
        wire.prepare(b"plain", b"SELECT count(*) FROM bank.customers WHERE region = $1")
        assert connection.execute("EXECUTE plain('EU')").fetchone() == count
        assert connection.execute("EXECUTE named('a''b', '{1,2}')").fetchone() == ("a'b", [1, 2])
        with pytest.raises(psycopg.errors.SyntaxError, match="wrong number of parameters"):
            connection.execute("EXECUTE plain")
        connection.execute("DEALLOCATE plain")
        with pytest.raises(psycopg.errors.InvalidSqlStatementName, match="does not exist"):
            connection.execute("EXECUTE plain('EU')")
        connection.execute("PREPARE other AS SELECT 1")
        assert b"run it by EXECUTE" in wire.exec_prepared(b"other", []).error_message


def test_a_transaction_can_be_given_up_without_any_rights(gateway: Running) -> None:
    """Or a session whose mandate was revoked amid a transaction could never leave it; what was done is not kept."""
    gateway.store.issue_mandate(
        "cora", "tom", "tax-accountant", purposes=["tax"], parameters={"customer_id": 7}, mandate_id="brief"
    )
    with gateway.connect("tom", options="-c datagate.on_behalf_of=cora -c datagate.mandate=brief") as tom:
        tom.execute("BEGIN")
        tom.execute("SAVEPOINT a")
        gateway.store.revoke_mandate("brief")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.SerializationFailure)):
            tom.execute("SELECT * FROM bank.accounts")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            tom.execute("SELECT * FROM bank.accounts")
        tom.execute("ROLLBACK TO a")
        tom.execute("ROLLBACK")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tom.execute("BEGIN")
