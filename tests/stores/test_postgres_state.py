"""What only PostgreSQL does: the check inside a statement, the service role, and writers at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, text

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import StateError
from datagate.model.caller import Caller
from datagate.model.facts import Facts
from datagate.stores import StateStore
from datagate.stores.postgres import STALE_SQLSTATE
from datagate.stores.tables import SCHEMA_VERSION

Connection = psycopg.Connection[tuple[object, ...]]
CHECK = "SELECT datagate.still_current(%s, %s, %s)"
ROLE = "service_of_test_postgres_state"


@pytest.fixture
def dsn(empty_dsn: str) -> str:
    return empty_dsn


@pytest.fixture
def store(dsn: str) -> Iterator[StateStore]:
    """A new state in a database of its own, with the database's clock."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    store = StateStore(engine)
    store.create()
    yield store
    engine.dispose()


@pytest.fixture
def session(store: StateStore, dsn: str) -> Iterator[Connection]:  # noqa: ARG001 - the state must be there
    """A superuser's session beside the store."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def service(store: StateStore, session: Connection, postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A session of the role that runs rewritten statements."""
    session.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(ROLE)))
    store.grant_service_role(ROLE)
    with psycopg.connect(postgres.dsn_for(session.info.dbname, user=ROLE), autocommit=True) as connection:
        yield connection
    session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(ROLE)))


def _check(session: Connection, facts: Facts) -> None:
    """Run the check as a statement would; it is true or an error."""
    epoch = facts.epoch
    assert session.execute(CHECK, (list(epoch.parties), epoch.value, facts.valid_until)).fetchone() == (True,)


def _is_stale(session: Connection, facts: Facts) -> bool:
    try:
        _check(session, facts)
    except psycopg.Error as error:
        if error.sqlstate != STALE_SQLSTATE or error.diag.message_primary != "the rights of this caller changed":
            raise
        return True
    return False


def test_the_check_passes_until_a_right_changes(store: StateStore, session: Connection) -> None:
    """True while nothing changed for the parties, DG001 from then on; others' changes do not count."""
    store.grant_role("ann", "analyst")
    mandate = store.issue_mandate("ann", "bot", "s", purposes=["tax"])
    facts = store.facts(Caller.of("ann", actor="bot", mandate=mandate.id))
    stranger = store.facts(Caller.of("stranger"))
    store.grant_role("carl", "analyst")
    assert not _is_stale(session, facts)
    store.revoke_mandate(mandate.id)
    assert _is_stale(session, facts)
    assert not _is_stale(session, stranger)
    store.grant_role("stranger", "analyst")
    assert _is_stale(session, stranger)


def test_the_check_ends_with_the_facts(store: StateStore, session: Connection) -> None:
    """What starts or ends by itself ends the facts at that instant, by the statement's own clock."""
    store.grant_role("ann", "analyst", valid_until=datetime.now(UTC) + timedelta(days=1))
    facts = store.facts(Caller.of("ann"))
    assert not _is_stale(session, facts)
    for valid_until, stale in (("statement_timestamp()", True), ("statement_timestamp() + interval '1 us'", False)):
        query = sql.SQL("SELECT datagate.still_current(%s, %s, {})").format(sql.SQL(valid_until))
        if stale:
            with pytest.raises(psycopg.Error) as caught:
                session.execute(query, (list(facts.epoch.parties), facts.epoch.value))
            assert caught.value.sqlstate == STALE_SQLSTATE
        else:
            session.execute(query, (list(facts.epoch.parties), facts.epoch.value))


@pytest.mark.parametrize("arguments", [(None, 0, None), (["ann"], None, None), (["ann"], 1, None), ([None], 1, None)])
def test_the_check_never_answers_null_or_false(session: Connection, arguments: tuple[object, ...]) -> None:
    """Whatever is missing is an error: a filter that is NULL would hide rows without a word."""
    with pytest.raises(psycopg.Error):
        session.execute("SELECT datagate.still_current(%s::text[], %s::bigint, %s::timestamptz)", arguments)


def test_a_change_counts_when_it_is_committed(store: StateStore, session: Connection, dsn: str) -> None:
    """A statement sees the rights of its own snapshot, as it sees its rows."""
    store.grant_role("ann", "analyst")
    facts = store.facts(Caller.of("ann"))
    with psycopg.connect(dsn) as other:
        other.execute("DELETE FROM datagate.entitlements WHERE principal = 'ann'")
        assert not _is_stale(session, facts)
        assert store.facts(Caller.of("ann")) == facts
        other.commit()
    assert _is_stale(session, facts)
    assert store.facts(Caller.of("ann")).principal.roles == frozenset()


def test_facts_are_one_snapshot(store: StateStore, session: Connection) -> None:
    """Entitlements, chain and epoch are read in one repeatable-read, read-only transaction."""
    with store._database.reading() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
        assert connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"
        before = connection.execute(text("SELECT count(*) FROM datagate.entitlements")).scalar_one()
        session.execute("INSERT INTO datagate.entitlements VALUES ('ann', 'role', 'r', NULL, now(), NULL)")
        assert connection.execute(text("SELECT count(*) FROM datagate.entitlements")).scalar_one() == before


def test_the_check_is_a_one_time_filter(store: StateStore, session: Connection) -> None:
    """It runs once for a statement, not once for a row, and does not keep the statement from running in parallel."""
    facts = store.facts(Caller.of("ann"))
    session.execute("CREATE TABLE rows AS SELECT generate_series(1, 1000) AS a")
    plan = session.execute(
        "EXPLAIN SELECT a FROM rows WHERE a > 5 AND datagate.still_current(%s, %s, %s)",
        (list(facts.epoch.parties), facts.epoch.value, None),
    ).fetchall()
    assert [line for (line,) in plan if "One-Time Filter: datagate.still_current" in str(line)]
    properties = session.execute(
        "SELECT provolatile::text, proparallel::text, proconfig FROM pg_proc WHERE proname = 'still_current'"
    ).fetchone()
    assert properties == ("s", "s", None)


def test_truncate_ends_all_facts(store: StateStore, session: Connection) -> None:
    """TRUNCATE runs no row trigger, and still takes away everybody's rights."""
    store.grant_role("ann", "analyst")
    store.issue_mandate("carl", "bot", "s", purposes=["tax"])
    ann, carl = store.facts(Caller.of("ann")), store.facts(Caller.of("carl"))
    session.execute("TRUNCATE datagate.entitlements")
    assert _is_stale(session, ann)
    assert _is_stale(session, carl)
    carl = store.facts(Caller.of("carl"))
    session.execute("TRUNCATE datagate.mandates")
    assert _is_stale(session, carl)
    with pytest.raises(psycopg.errors.RaiseException, match="epochs only grow"):
        session.execute("TRUNCATE datagate.epochs")


def test_copy_and_replication_advance_epochs_too(store: StateStore, session: Connection) -> None:
    """COPY runs the triggers, and so does a session that applies replicated rows."""
    facts = store.facts(Caller.of("ann"))
    with session.cursor().copy("COPY datagate.entitlements FROM STDIN") as copy:
        copy.write_row(("ann", "role", "analyst", None, datetime.now(UTC), None))
    assert _is_stale(session, facts)
    facts = store.facts(Caller.of("ann"))
    session.execute("SET session_replication_role = replica")
    session.execute("DELETE FROM datagate.entitlements")
    assert _is_stale(session, facts)


def test_a_writer_needs_no_rights_on_epochs(store: StateStore, session: Connection) -> None:
    """Whoever may change entitlements advances epochs by doing so, and cannot do it otherwise."""
    facts = store.facts(Caller.of("ann"))
    session.execute("CREATE ROLE steward_of_test; GRANT USAGE ON SCHEMA datagate TO steward_of_test")
    session.execute("GRANT INSERT ON datagate.entitlements TO steward_of_test; SET ROLE steward_of_test")
    try:
        session.execute("INSERT INTO datagate.entitlements VALUES ('ann', 'role', 'r', NULL, now(), NULL)")
        for statement in ("SELECT datagate.advance_epochs('{ann}')", "SELECT FROM datagate.epochs", CHECK):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement, (["ann"], 0, None) if statement == CHECK else None)
    finally:
        session.execute("RESET ROLE")
        session.execute("DROP OWNED BY steward_of_test; DROP ROLE steward_of_test")
    assert _is_stale(session, facts)


def test_the_service_role_reads_what_statements_need_and_no_more(store: StateStore, service: Connection) -> None:
    """Epochs, consents and the check; neither entitlements nor mandates, and it writes nothing."""
    store.give_consent("1", "marketing")
    assert service.execute("SELECT data_subject FROM datagate.consents WHERE granted").fetchall() == [("1",)]
    _check(service, store.facts(Caller.of("ann")))
    for statement in (
        "SELECT FROM datagate.entitlements",
        "SELECT FROM datagate.mandates",
        "INSERT INTO datagate.consents (data_subject, purpose) SELECT data_subject, purpose FROM datagate.consents",
        "UPDATE datagate.epochs SET value = value + 1",
        "DELETE FROM datagate.consents",
        "SELECT datagate.advance_epochs('{ann}')",
        "CREATE TABLE datagate.mine ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute(statement)


def test_a_role_that_does_not_exist_gets_nothing(store: StateStore) -> None:
    """The name is quoted, whatever is in it."""
    for role in ("nobody_here", 'x"; DROP SCHEMA datagate CASCADE; --'):
        with pytest.raises(StateError, match="there is no role"):
            store.grant_service_role(role)


def test_the_callers_own_objects_do_not_capture_the_check(
    store: StateStore, session: Connection, service: Connection
) -> None:
    """Operators, functions, tables and temporary tables that the caller made stay outside of it."""
    # A row that stands before ann's, for a look-up that takes whichever comes first.
    store.grant_role("aaron", "analyst")
    store.grant_role("ann", "analyst")
    facts = store.facts(Caller.of("ann"))
    session.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(ROLE)))
    for statement in (
        "CREATE FUNCTION public.yes(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'",
        "CREATE FUNCTION public.yes(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'",
        "CREATE FUNCTION public.none(bigint, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 0::bigint'",
        "CREATE OPERATOR public.+ (FUNCTION = public.none, LEFTARG = bigint, RIGHTARG = bigint)",
        "CREATE OPERATOR public.= (FUNCTION = public.yes, LEFTARG = bigint, RIGHTARG = bigint)",
        "CREATE OPERATOR public.= (FUNCTION = public.yes, LEFTARG = text, RIGHTARG = text)",
        "CREATE FUNCTION public.statement_timestamp() RETURNS timestamptz LANGUAGE sql RETURN '-infinity'::timestamptz",
        "CREATE TEMP TABLE epochs (party text, value bigint)",
        "SET search_path = public, pg_temp, pg_catalog",
    ):
        service.execute(statement)
    _check(service, facts)
    assert _is_stale(service, replace(facts, valid_until=datetime.now(UTC) - timedelta(days=1)))
    store.grant_role("ann", "other")
    assert _is_stale(service, facts)


def test_two_who_create_at_once_create_one_state(dsn: str) -> None:
    """The second waits for the first, finds the state, and changes nothing."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    stores = [StateStore(engine), StateStore(engine)]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(StateStore.create, stores))
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT version FROM datagate.schema_version").fetchall() == [(SCHEMA_VERSION,)]
    finally:
        engine.dispose()


def test_infinities_are_no_instants(session: Connection) -> None:
    """PostgreSQL has them and Python has not: facts could not be read, so they are not taken."""
    for start, end in (("-infinity", None), ("2026-01-01", "infinity"), ("4000-01-01 BC", None)):
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute("INSERT INTO datagate.entitlements VALUES ('ann', 'role', 'r', NULL, %s, %s)", (start, end))
