"""Sessions through a real gateway: what statements give, how they fail, and what stays on connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading

import asyncpg
import psycopg
import pytest

from tests.frontends.gateway.running import Running

REGIONS = "select distinct region from bank.customers order by 1"


def test_two_callers_see_different_things(gateway: Running) -> None:
    """The analyst sees masked rows of her regions, the adviser raw ones of his, on the same pool."""
    with gateway.connect("ana") as ana, gateway.connect("ada") as ada:
        for _ in range(3):
            assert {name for (name,) in ana.execute("select full_name from bank.customers")} == {"***"}
            assert "***" not in {name for (name,) in ada.execute("select full_name from bank.customers")}
        assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        assert ada.execute(REGIONS).fetchall() == [("APAC",), ("EU",)]


def test_a_refusal_ends_the_transaction(gateway: Running) -> None:
    """What the gate refuses aborts the transaction as any error does; a near miss does not."""
    with gateway.connect() as connection:
        connection.execute("begin")
        connection.execute("select region from bank.customers limit 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set search_path = bank")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        connection.execute("rollback")
        assert connection.execute("select 1").fetchone() == (1,)
        assert connection.execute("begin; select 2; commit").statusmessage == "BEGIN"


def test_several_statements_take_effect_together(gateway: Running) -> None:
    """One text with several statements gives all results; one that is refused refuses all."""
    with gateway.connect() as connection:
        cursor = connection.execute("select 1; select 2")
        assert cursor.fetchall() == [(1,)]
        assert cursor.nextset()
        assert cursor.fetchall() == [(2,)]
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("select 1; select * from bank.nowhere")


def test_policy_values_stay_invisible(gateway: Running) -> None:
    """ParameterDescription tells of the caller's own parameters, and Bind is held to their number."""
    with gateway.connect() as connection:
        pgconn = connection.pgconn
        pgconn.prepare(b"p", b"select region from bank.customers where customer_id = $1")
        wrong = pgconn.exec_prepared(b"p", [b"1", b"2"])
        assert b"supplies 2 parameters, but the statement requires 1" in wrong.error_message


def test_descriptions_tell_of_ones_own(gateway: Running) -> None:
    """Described, a statement has the caller's one parameter, typed, and the columns' names."""

    async def described() -> tuple[list[str], list[str]]:
        connection = await asyncpg.connect(**gateway.asyncpg("ana"))
        statement = await connection.prepare("select region from bank.customers where customer_id = $1")
        found = [kind.name for kind in statement.get_parameters()], [each.name for each in statement.get_attributes()]
        await connection.close()
        return found

    assert asyncio.run(described()) == (["int8"], ["region"])


def test_purposes_are_chosen_among_ones_own(gateway: Running) -> None:
    """SET and start-up options choose a purpose that the login may use, and no other."""
    with gateway.connect("ana", options="-c datagate.purpose=marketing.email") as connection:
        assert connection.execute("show datagate.purpose").fetchone() == ("marketing.email",)
        connection.execute("set datagate.purpose = 'analytics'")
        assert connection.execute("show datagate.purpose").fetchone() == ("analytics",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set datagate.purpose = compliance")
    with pytest.raises(psycopg.OperationalError, match="not permitted to this login"):
        gateway.connect("ana", options="-c datagate.purpose=compliance")


def test_a_delegate_needs_the_mandate(gateway: Running) -> None:
    """The accountant sees the customer's row under the mandate, and nothing without."""
    query = "select count(*) from bank.accounts"
    options = "-c datagate.on_behalf_of=cora -c datagate.mandate=tax-1"
    with gateway.connect("tom", options=options) as tom, gateway.connect("cora") as cora:
        assert tom.execute(query).fetchone() == cora.execute(query).fetchone() != (0,)
    with (
        gateway.connect("tom", options="-c datagate.on_behalf_of=cora -c datagate.mandate=desk-1") as stranger,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        stranger.execute(query)


@pytest.mark.parametrize("autocommit", [True, False])
def test_changed_rights_run_again_unnoticed(gateway: Running, autocommit: bool) -> None:
    """A new right counts for the next transaction; within one, the client is told to run it again."""
    gateway.store.grant_attribute("ada", "regions", ("EU", "APAC"))
    with psycopg.connect(gateway.dsn("ada"), autocommit=autocommit) as connection:
        for prepare in (False, True):
            assert connection.execute(REGIONS, prepare=prepare).fetchall() == [("APAC",), ("EU",)]
            connection.commit()
            gateway.store.grant_attribute("ada", "regions", ("EU",))
            assert connection.execute(REGIONS, prepare=prepare).fetchall() == [("EU",)]
            connection.commit()
            gateway.store.grant_attribute("ada", "regions", ("EU", "APAC"))
        connection.rollback()
        connection.autocommit = True
        connection.execute("begin")
        connection.execute(REGIONS)
        gateway.store.grant_attribute("ada", "regions", ("EU",))
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute(REGIONS)
        gateway.store.grant_attribute("ada", "regions", ("EU", "APAC"))
        connection.execute("rollback")
        assert connection.execute(REGIONS).fetchall() == [("APAC",), ("EU",)]


@pytest.mark.parametrize("between", ["set datagate.purpose = 'analytics'", "close nothing", None])
def test_open_cursors_end_with_the_rights_they_were_opened_under(gateway: Running, between: str | None) -> None:
    """Whatever was said since, a cursor shows nothing once its caller's rights are others."""
    gateway.store.grant_attribute("ana", "regions", ("EU", "US"))
    with gateway.connect("ana") as ana:
        ana.execute("begin")
        ana.execute("declare c cursor for select customer_id from bank.customers")
        assert ana.execute("fetch 1 from c").fetchone() is not None
        ana.execute("savepoint s")
        if between == "close nothing":
            with pytest.raises(psycopg.errors.InvalidCursorName):
                ana.execute(between)
            ana.execute("rollback to s")
        elif between is not None:
            ana.execute(between)
        assert ana.execute("fetch 1 from c").fetchone() is not None
        gateway.store.grant_attribute("ana", "regions", ("EU",))
        with pytest.raises(psycopg.errors.SerializationFailure):
            ana.execute("fetch 1 from c")
        ana.execute("rollback")
    gateway.store.grant_attribute("ana", "regions", ("EU", "US"))


def raw(connection: psycopg.Connection[tuple[object, ...]], *messages: tuple[bytes, bytes]) -> bytes:
    """Send messages as they are, with a Sync behind; all that is answered, up to ReadyForQuery."""
    sent = b"".join(kind + struct.pack("!i", len(body) + 4) + body for kind, body in (*messages, (b"S", b"")))
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.setblocking(True)
        line.sendall(sent)
        answer = b""
        while not (len(answer) >= 6 and answer[-6:-1] == b"Z\0\0\0\x05"):
            answer += line.recv(65536)
    return answer


@pytest.mark.parametrize("kind", [b"E", b"D"])
def test_a_cursor_is_no_portal(gateway: Running, kind: bytes) -> None:
    """A declared cursor is not run as a portal, past what FETCH is held to; the server has one namespace for both."""
    message = (b"E", b"c\0" + struct.pack("!i", 0)) if kind == b"E" else (b"D", b"Pc\0")
    gateway.store.grant_attribute("ana", "regions", ("EU", "US"))
    with gateway.connect("ana") as ana:
        ana.execute("begin")
        ana.execute("declare c cursor for select region from bank.customers")
        gateway.store.grant_attribute("ana", "regions", ("EU",))
        answer = raw(ana, message)
        assert (b'portal "c" does not exist' if kind == b"E" else b"C40001\0") in answer
        assert b"US" not in answer.replace(b"PUS", b"")
        assert b"region" not in answer
    gateway.store.grant_attribute("ana", "regions", ("EU", "US"))


@pytest.mark.parametrize("ends", ["entitlement", "consent"])
@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("between", [True, False])
def test_a_portal_bound_before_shows_nothing_after(gateway: Running, ends: str, rows: int, between: bool) -> None:
    """A portal's snapshot is that of its Bind: run later, it is held to what was in force then, whatever ran since."""
    gateway.store.give_consents(["1"], "analytics")
    gateway.store.grant_attribute("ana", "regions", ("EU", "US"))
    with gateway.connect("ana") as ana:
        ana.pgconn.prepare(b"p", b"select customer_id::text from bank.customers order by customer_id")
        ana.execute("begin")
        assert b"2\0\0\0\x04" in raw(ana, (b"B", b"q\0p\0" + bytes(6)))
        if ends == "consent":
            gateway.store.withdraw_consent("1", "analytics")
        else:
            gateway.store.grant_attribute("ana", "regions", ("APAC",))
        if between:
            with contextlib.suppress(psycopg.errors.SerializationFailure):
                ana.execute("savepoint s")
                ana.execute("select count(*) from bank.customers")
            ana.execute("rollback to s")
        answer = raw(ana, (b"E", b"q\0" + struct.pack("!i", rows)))
        assert answer.startswith(b"E")
        assert b"C40001\0" in answer
    gateway.store.grant_attribute("ana", "regions", ("EU", "US"))
    gateway.store.give_consents(["1"], "analytics")


def test_what_was_parsed_before_runs_for_the_purpose_of_now(gateway: Running) -> None:
    """A statement that was parsed for one purpose and not run yet is decided anew for another."""
    count = "select count(*) from bank.customers"
    with gateway.connect("ana") as ana, gateway.connect("ana") as other:
        before = ana.execute(count).fetchone()
        other.execute("set datagate.purpose = 'marketing.email'")
        now = other.execute(count).fetchone()
        assert now is not None
        assert now != before
        ana.pgconn.prepare(b"p", count.encode())
        ana.execute("set datagate.purpose = 'marketing.email'")
        result = ana.pgconn.exec_prepared(b"p", [])
        assert result.get_value(0, 0) == str(now[0]).encode()


def test_settings_stay_with_their_session(gateway: Running) -> None:
    """What one session sets, or asks for at its start, no other session meets."""
    with gateway.connect() as first:
        first.execute("set timezone = 'Asia/Tokyo'")
        assert first.execute("show timezone").fetchone() == ("Asia/Tokyo",)
        with gateway.connect(options="-c timezone=Europe/Rome") as second:
            assert second.execute("show timezone").fetchone() == ("Europe/Rome",)
            assert second.info.parameter_status("TimeZone") == "Europe/Rome"
    for _ in range(5):
        with gateway.connect() as third:
            assert third.execute("show timezone").fetchone() == ("UTC",)


def test_cancelling(gateway: Running) -> None:
    """A cancel request ends the client's own statement; the session goes on."""
    big = "select count(*) from bank.customers a, bank.customers b, bank.customers c, bank.customers d"
    with gateway.connect() as connection:
        timer = threading.Timer(0.3, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(big)
        timer.join()
        assert connection.execute("select 1").fetchone() == (1,)


def test_server_errors_hide_values(gateway: Running) -> None:
    """An error that quotes a value comes without it, with its SQLSTATE."""
    with gateway.connect() as connection, pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
        connection.execute("select full_name::int from bank.customers")
    assert "***" not in str(caught.value)


def test_an_upstream_that_dies_ends_its_client_alone(gateway: Running) -> None:
    """The client in a transaction is told; others, and new ones, go on."""
    with gateway.connect() as victim, gateway.connect() as other:
        victim.execute("begin")
        with psycopg.connect(gateway.owner, autocommit=True) as owner:
            owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'"
                " and usename = 'gateway_service' and datname = current_database()"
            )
        with pytest.raises(psycopg.OperationalError):
            victim.execute("select 1")
        assert other.execute("select 1").fetchone() == (1,)
    with gateway.connect() as fresh:
        assert fresh.execute("select 1").fetchone() == (1,)


def test_nothing_leaks_when_clients_vanish(gateway: Running) -> None:
    """A client that is gone in a transaction leaves no upstream connection in it."""
    for _ in range(5):
        connection = gateway.connect()
        connection.execute("begin")
        connection.execute("select 1")
        with socket.socket(fileno=socket.dup(connection.pgconn.socket)) as sock:
            sock.shutdown(socket.SHUT_RDWR)
        connection.close()
    with gateway.connect() as fresh:
        assert fresh.execute("select 1").fetchone() == (1,)

    async def held() -> int:
        return sum(client.is_busy for client in gateway.worker._door.clients)  # type: ignore[union-attr]

    while gateway.do(held):
        pass
    assert gateway.worker.pool.size <= 20


@pytest.mark.parametrize(
    "opening",
    [
        struct.pack("!I", 0x40000000) + b"\0" * 4,
        struct.pack("!II", 8, 0x00020000),
        struct.pack("!I", 4),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_nonsense_at_the_door(gateway: Running, opening: bytes) -> None:
    """Impossible lengths, old versions and other protocols are answered with an error, and an end."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
        sock.sendall(opening)
        answer = sock.makefile("rb").read()
    assert answer[:1] == b"E"
    assert b"FATAL" in answer


def test_a_gigabyte_is_refused_before_it_comes(gateway: Running) -> None:
    """A message that announces a gigabyte ends the session at once."""
    with gateway.connect() as connection, socket.socket(fileno=socket.dup(connection.pgconn.socket)) as sock:
        sock.sendall(b"Q" + struct.pack("!I", 1 << 30))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
