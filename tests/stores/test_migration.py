"""A state of version 1 becomes one of this version, and loses nothing."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, inspect

from datagate.errors import OperationalError, StateError
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.tables import SCHEMA_VERSION
from tests.stores.conftest import NOW
from tests.stores.test_blocks import assert_bits_are_right

HERE = Path(__file__).parent
T = datetime(2026, 1, 1, tzinfo=UTC)
U = datetime(2027, 1, 1, tzinfo=UTC)


def _holds_all(store: StateStore) -> None:
    """What was recorded under version 1 is there, in the tables and as the beginning of the history."""
    entitled = [(each.principal, each.name, each.value, each.valid_until) for each in store.list_entitlements()]
    assert entitled == [
        ("ann", "regions", ("EU", "US"), U),
        ("ann", "analyst", None, None),
        ("cora", "customer_id", 7, None),
    ]
    answers = [(each.data_subject, each.purpose, each.granted, each.valid_until) for each in store.list_consents()]
    assert answers == [("1", "analytics", True, U), ("1", "marketing", False, None), ("ab", "analytics", True, U)]
    assert all(each.categories is None and each.recipients is None for each in store.list_consents())
    first, second = store.list_mandates()
    assert (first.id, first.parameters, first.sub_delegable, first.max_uses) == ("m1", {"customer_id": 7}, 1, None)
    assert (second.parent, second.revoked_at) == ("m1", datetime(2026, 2, 1, tzinfo=UTC))
    assert [fact.what for fact in store.mandate_history()] == [first, second]
    assert {fact.why for fact in store.consent_history()} == {"found at migration"}
    assert store.facts(Caller.of("ann"), NOW).principal.roles == {"analyst"}


def test_postgresql(empty_dsn: str) -> None:
    """Tables, histories, checks and roles: who could read what statements read can do so afterwards."""
    script = (HERE / "state_v1_postgresql.sql").read_bytes()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(script)
        connection.execute("DROP ROLE IF EXISTS migrated_service; CREATE ROLE migrated_service")
        connection.execute(
            "GRANT USAGE ON SCHEMA datagate TO migrated_service;"
            "GRANT SELECT ON datagate.epochs, datagate.consents TO migrated_service;"
            "GRANT EXECUTE ON FUNCTION datagate.still_current(text[], bigint, timestamptz) TO migrated_service"
        )
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
    store = StateStore(engine, clock=lambda: NOW)
    with pytest.raises(StateError, match=r"version 1; .* migrate it with: datagate init"):
        store.list_mandates()
    store.create()
    _holds_all(store)
    epoch = store.facts(Caller.of("cora"), NOW).epoch
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("SET ROLE migrated_service")
        check = "SELECT datagate.still_current(%s, %s, NULL, '{tax}', pg_current_snapshot())"
        assert connection.execute(check, (list(epoch.parties), epoch.value)).fetchall() == [(True,)]
        found = connection.execute("SELECT purpose, block FROM datagate.consent_blocks ORDER BY 1").fetchall()
        assert found == [("analytics", 0), ("marketing", 0)]
        assert connection.execute("SELECT block FROM datagate.consent_numbers").fetchall() == [(0,)]
        connection.execute("RESET ROLE; DROP OWNED BY migrated_service; DROP ROLE migrated_service")
    store.suspend_mandate("m1", by="eve", why="asked to")
    assert [(fact.recorded_by, fact.why) for fact in store.mandate_history("m1")][1:] == [("eve", "asked to")]
    store.create()
    engine.dispose()


def test_answers_of_an_earlier_version_get_their_bits(empty_dsn: str) -> None:
    """A state of version 3 has answers and no bits; afterwards each answer has its bit, and changes are followed."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
    store = StateStore(engine)
    store.create()
    store.give_consents([str(number) for number in range(-2000, 3000, 7)], "analytics")
    store.give_consents(["1", "2", "ab"], "marketing", categories=["plain"])
    store.withdraw_consent("5", "analytics")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE datagate.consent_blocks, datagate.consent_numbers")
        connection.execute("UPDATE datagate.schema_version SET version = 3")
        store.create()
        assert_bits_are_right(connection)
        store.withdraw_consent("-2000", "analytics")
        assert_bits_are_right(connection)
    engine.dispose()


def test_sqlite(tmp_path: Path) -> None:
    """The same in a file."""
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((HERE / "state_v1_sqlite.sql").read_text(encoding="utf-8"))
    engine = create_engine(f"sqlite:///{path}")
    store = StateStore(engine, clock=lambda: NOW)
    store.create()
    _holds_all(store)
    store.suspend_mandate("m1", by="eve", why="asked to")
    assert [(fact.recorded_by, fact.why) for fact in store.mandate_history("m1")][1:] == [("eve", "asked to")]
    engine.dispose()


def test_what_is_migrated_is_what_is_created(empty_dsn: str) -> None:
    """Tables and columns, triggers and functions are those of a new state."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))

    def layout() -> list[tuple[object, ...]]:
        with psycopg.connect(empty_dsn) as connection:
            return connection.execute(
                "SELECT 'column', table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'datagate' UNION ALL"
                " SELECT 'function', proname, pg_get_function_arguments(oid), prosrc FROM pg_proc"
                " WHERE pronamespace = 'datagate'::regnamespace UNION ALL"
                " SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger"
                " WHERE NOT tgisinternal UNION ALL SELECT 'index', tablename, indexdef, '' FROM pg_indexes"
                " WHERE schemaname = 'datagate' UNION ALL SELECT 'check', conrelid::regclass::text,"
                " pg_get_constraintdef(oid), conname FROM pg_constraint"
                " WHERE conname IN ('consents_limits', 'mandates_uses') ORDER BY 1, 2, 3, 4"
            ).fetchall()

    StateStore(engine).create()
    created = layout()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA datagate CASCADE")
        connection.execute((HERE / "state_v1_postgresql.sql").read_bytes())
    StateStore(engine).create()
    assert layout() == created
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION datagate.consents_changed() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'"
        )
        connection.execute("UPDATE datagate.schema_version SET version = 2")
    StateStore(engine).create()
    assert layout() == created
    assert inspect(engine).has_table("mandate_uses", schema="datagate")
    engine.dispose()


def test_a_migration_is_whole_or_not_at_all(empty_dsn: str) -> None:
    """What cannot be migrated stays as it was, of its old version."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn), poolclass=NullPool)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute((HERE / "state_v1_postgresql.sql").read_bytes())
        connection.execute("CREATE TABLE datagate.mandate_uses (of_somebody_else int)")
    with pytest.raises(OperationalError, match="mandate_uses"):
        StateStore(engine).create()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        assert connection.execute("SELECT version FROM datagate.schema_version").fetchall() == [(1,)]
        columns = connection.execute(
            "SELECT FROM information_schema.columns WHERE table_name = 'consents' AND column_name = 'categories'"
        ).fetchall()
        assert columns == []
        connection.execute("DROP TABLE datagate.mandate_uses")
    StateStore(engine).create()
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("SELECT version FROM datagate.schema_version").fetchall() == [(SCHEMA_VERSION,)]
    engine.dispose()
