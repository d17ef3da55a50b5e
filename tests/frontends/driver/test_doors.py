"""There is no way around the gate: each public name of psycopg's is accounted for, and the wire shows nothing else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Transformer
from psycopg.types import TypeInfo

from datagate import errors
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends import driver
from datagate.frontends.driver.admission import GatedQuery
from tests.frontends.driver.conftest import CALLER
from tests.frontends.driver.standin import StandInGate

# Every public attribute of psycopg's classes, and why it is safe. A new one fails the test until it has been judged.
NO_SQL = """adapters add_notice_handler add_notify_handler broken cancel cancel_safe close closed connection deferrable
    fileno info isolation_level notifies prepare_threshold prepared_max read_only remove_notice_handler autocommit
    remove_notify_handler set_autocommit set_deferrable set_isolation_level set_read_only xid DataError DatabaseError
    Error IntegrityError InterfaceError InternalError NotSupportedError OperationalError ProgrammingError Warning
    arraysize description fetchall fetchmany fetchone format nextset pgresult results row_factory rowcount rownumber
    scroll set_result setinputsizes setoutputsize statusmessage name itersize withhold scrollable""".split()
GATED = ["execute", "executemany", "stream", "cursor", "connect", "tpc_prepare", "tpc_commit", "tpc_rollback"]
GATED += ["tpc_recover"]
FIXED_COMMANDS = ["commit", "rollback", "transaction", "tpc_begin", "pipeline", "close", "fetchone", "scroll"]
REFUSED = ["copy"]
# Consumes a generator that the program brings along; one that sends needs pgconn, which is out of the boundary.
IN_PROCESS = ["wait"]


@pytest.mark.parametrize(
    "theirs",
    [
        psycopg.Connection,
        psycopg.AsyncConnection,
        psycopg.Cursor,
        psycopg.AsyncCursor,
        psycopg.ServerCursor,
        psycopg.AsyncServerCursor,
    ],
)
def test_every_public_name_is_accounted_for(theirs: type) -> None:
    """A method that a new psycopg brings is judged before it is let through."""
    judged = {*NO_SQL, *GATED, *FIXED_COMMANDS, *REFUSED, *IN_PROCESS}
    assert {name for name in dir(theirs) if not name.startswith("_")} - judged == set()


def _declare(conn: Any) -> None:
    with psycopg.ServerCursor(conn, "c") as cursor:
        cursor.execute("select * from secrets")


def _steal(conn: Any) -> None:
    with conn.cursor("c") as own:
        own.execute("select 1")
        foreign = psycopg.ServerCursor(conn, "c")
        try:
            foreign.fetchone()
        finally:
            foreign._close()


FOREIGN: list[Callable[[Any], object]] = [
    lambda conn: psycopg.Cursor(conn).execute("select * from secrets"),
    lambda conn: psycopg.RawCursor(conn).execute("select * from secrets"),
    lambda conn: psycopg.ClientCursor(conn).execute("select * from secrets"),
    lambda conn: psycopg.Cursor(conn).executemany("select %s", [(1,)]),
    lambda conn: list(psycopg.Cursor(conn).stream("select * from secrets")),
    _declare,
    _steal,
    lambda conn: psycopg.Cursor(conn).copy("copy secrets to stdout").__enter__(),
    lambda conn: TypeInfo.fetch(conn, "hstore"),
]


@pytest.mark.parametrize("way", FOREIGN)
def test_refuses_foreign_cursors(conn: driver.Connection[Any], way: Callable[[Any], object]) -> None:
    """Psycopg's own cursor classes, put onto a gated connection, send nothing."""
    with pytest.raises(errors.NotSupportedError, match="past the gate"):
        way(conn)
    assert conn.execute("select 1").fetchone() == (1,)


def test_a_failed_start_leaves_no_door_open(conn: driver.Connection[Any]) -> None:
    """A statement of ours that never started gives no foreign cursor its turn."""
    closed = conn.cursor()
    closed.close()
    with pytest.raises(errors.InterfaceError):
        closed.execute("select 1")
    with pytest.raises(errors.NotSupportedError):
        psycopg.Cursor(conn).execute("select * from secrets")


def test_refuses_foreign_factories(dsn: str, gate: StandInGate, conn: driver.Connection[Any]) -> None:
    """cursor_factory cannot bring in a class that sends past the gate; a subclass of ours is welcome."""
    with pytest.raises(errors.InterfaceError):
        driver.connect(dsn, caller=CALLER, gate=gate, cursor_factory=psycopg.ClientCursor)
    conn.cursor_factory = psycopg.Cursor
    conn.server_cursor_factory = psycopg.ServerCursor
    with pytest.raises(errors.NotSupportedError):
        conn.execute("select 1")
    with conn.cursor("named") as named, pytest.raises(errors.NotSupportedError):
        named.execute("select 1")

    class Own(driver.Cursor[Any]):
        pass

    with driver.connect(dsn, caller=CALLER, gate=gate, cursor_factory=Own) as connection:
        cursor = connection.execute("select count(*) from customers")
        assert isinstance(cursor, Own)
        assert cursor.fetchone() == (501,)


def test_refuses_copy(conn: driver.Connection[Any]) -> None:
    """What the gate does not say is COPY TO STDOUT is refused before anything is sent."""
    with pytest.raises(errors.NotSupportedError, match="COPY"), conn.cursor().copy("copy customers to stdout"):
        pass
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_only_admitted_statements_become_queries(conn: driver.Connection[Any]) -> None:
    """Below all methods, the query class takes what the gate admitted and nothing else."""
    cursor = conn.cursor()
    query = GatedQuery(Transformer(cursor))
    for raw in ("select 1", b"select 1", psycopg.sql.SQL("select 1")):
        with pytest.raises(errors.InternalError, match="not admitted"):
            query.convert(raw, None)


@pytest.mark.parametrize(
    "command",
    [
        "select 1",
        "BEGIN; select 1",
        b'SAVEPOINT "a"; select 1',
        'CLOSE "a"; select 1; --"',
        "FETCH FORWARD 1 FROM a",
        "DEALLOCATE x",
        "PREPARE TRANSACTION 'a'; select 1; --'",
        "COMMIT PREPARED E'a\\'; select 1; --'",
        "SELECT 1 FROM pg_catalog.pg_cursors WHERE name = 'x' or true",
    ],
)
def test_only_known_commands_are_sent(conn: driver.Connection[Any], command: Any) -> None:
    """What psycopg makes by itself is a closed list; anything else is refused."""
    with pytest.raises(errors.InternalError, match="does not know"):
        conn.wait(conn._exec_command(command))


def test_a_connection_without_gate_sends_nothing(dsn: str) -> None:
    """A connection made behind connect()'s back has no session, hence admits nothing."""
    pgconn = psycopg.pq.PGconn.connect(dsn.encode())
    connection = driver.Connection(pgconn)
    with pytest.raises(errors.InterfaceError, match="no gate"):
        connection.execute("select 1")
    connection.close()


def test_the_gate_session_cannot_be_exchanged(conn: driver.Connection[Any], gate: StandInGate) -> None:
    """The caller of a connection is fixed."""
    with pytest.raises(errors.InterfaceError):
        conn.enter_gate(gate.session(CALLER, frontend="driver"))


def test_refused_statements_start_no_transaction(conn: driver.Connection[Any]) -> None:
    """A refusal comes before anything is sent, BEGIN included."""
    with pytest.raises(errors.Refused):
        conn.execute("select * from secrets")
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_the_wire_carries_admitted_text_and_fixed_commands_only(
    server: EmbeddedPostgres, dsn: str, gate: StandInGate
) -> None:
    """The server's own log of a session that uses everything: each line is the gate's text or a fixed command."""
    with driver.connect(dsn, caller=CALLER, gate=gate, options="-c log_statement=all") as conn:
        _use_everything(conn)
    logged = re.findall(r"^.*LOG:  (?:statement|execute [^:]*): (.*)$", server.log, re.MULTILINE)
    assert len(logged) > 20
    fixed = re.compile(
        r"BEGIN.*|COMMIT|ROLLBACK|(SAVEPOINT|RELEASE|ROLLBACK TO) \"[^\"]*\"|FETCH FORWARD (ALL|\d+) FROM \"srv\""
        r"|MOVE (ABSOLUTE )?\d+ FROM \"srv\"|CLOSE \"srv\"|DEALLOCATE (ALL|_pg3_\d+)"
    )
    admitted = {text.replace("customers", "customers-guard") for text in gate.seen}
    unexplained = []
    for line in logged:
        bare = re.sub(
            r"\(SELECT \* FROM public\.customers WHERE region = ANY\(\$\d+::pg_catalog\.text\[\]\)\) AS ", "", line
        )
        bare = re.sub(r"^DECLARE \"srv\" .*? FOR ", "", bare)
        if not fixed.fullmatch(line) and bare.replace("customers", "customers-guard") not in admitted:
            unexplained.append(line)
    assert unexplained == []


def _use_everything(conn: driver.Connection[Any]) -> None:
    query = "select id from customers where id < %s"
    for _ in range(7):
        conn.execute(query, (9,)).fetchall()
    conn.cursor().executemany(query, [(1,), (2,)], returning=True)
    list(conn.cursor().stream(query, (5,)))
    with conn.cursor("srv", scrollable=True) as cursor:
        cursor.execute(query, (50,))
        cursor.fetchone()
        cursor.fetchmany(3)
        cursor.scroll(0, "absolute")
        list(cursor)
        cursor.fetchall()
    conn.rollback()
    with conn.transaction("a"), conn.transaction():
        conn.execute("select 1")
    with conn.pipeline() as pipeline:
        conn.execute(query, (3,))
        pipeline.sync()
        conn.execute("select 2")
    conn.tpc_recover()
    conn.rollback()
    for refused in ("select * from secrets", "select %s from secrets"):
        with contextlib.suppress(errors.Refused):
            conn.execute(refused, (1,) if "%" in refused else None)
