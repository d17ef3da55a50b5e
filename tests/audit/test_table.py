"""The chain in a table: it only grows, and verification finds what a superuser changed."""

from __future__ import annotations

import threading

import psycopg
import pytest

from datagate.audit import Completion, TableSink, create_audit
from datagate.audit.tables import lines_of_table, verify_table
from datagate.audit.verify import Fault
from datagate.errors import AuditUnavailable
from tests.audit.records import KEY, NOW, record


def test_a_table_keeps_one_chain_of_all_writers(empty_dsn: str) -> None:
    """Two sinks with threads make one chain that verifies, every record in it and finished."""
    create_audit(empty_dsn)
    create_audit(empty_dsn)
    sinks = [TableSink(empty_dsn, signer=KEY, checkpoint_every=10) for _ in range(2)]

    def work(sink: TableSink) -> None:
        for number in range(10):
            sink.complete(sink.record(record(number), NOW), Completion(1, 1), NOW)

    threads = [threading.Thread(target=work, args=(sink,)) for sink in sinks for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sink in sinks:
        sink.close()
    verdict = verify_table(empty_dsn, KEY)
    assert (verdict.findings, verdict.unfinished) == ((), 0)
    assert sum(b'"decision"' in line.content for line in lines_of_table(empty_dsn)) == 60


def test_the_table_only_grows(empty_dsn: str) -> None:
    """UPDATE, DELETE and TRUNCATE are refused to the owner too; what is done past the trigger is found."""
    create_audit(empty_dsn)
    sink = TableSink(empty_dsn, signer=KEY)
    for number in range(5):
        sink.record(record(number), NOW)
    sink.close()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        for text in (
            "UPDATE datagate.audit SET entry = '{}'",
            "DELETE FROM datagate.audit WHERE seq = 2",
            "TRUNCATE datagate.audit",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="only grows"):
                connection.execute(text)
        connection.execute("ALTER TABLE datagate.audit DISABLE TRIGGER audit_stays")
        connection.execute("DELETE FROM datagate.audit WHERE seq > 4")
        assert {each.fault for each in verify_table(empty_dsn, KEY).findings} == {Fault.TRUNCATED}
        connection.execute("UPDATE datagate.audit SET entry = replace(entry, 'ann', 'bob') WHERE seq = 2")
        assert Fault.CHANGED in {each.fault for each in verify_table(empty_dsn, KEY).findings}


def test_a_writer_may_add_and_nothing_else(empty_dsn: str) -> None:
    """The role that sinks use needs INSERT and SELECT; it can change nothing that stands there."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE scribe LOGIN")
        create_audit(empty_dsn, writer="scribe")
        sink = TableSink(f"{empty_dsn} user=scribe", signer=KEY)
        sink.record(record(), NOW)
        sink.close()
        connection.execute("SET ROLE scribe")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM datagate.audit")
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY scribe")
        connection.execute("DROP ROLE scribe")
    assert verify_table(empty_dsn, KEY).intact


def test_a_lost_database_refuses_until_it_is_back(empty_dsn: str) -> None:
    """Where the connection is gone the record is refused, and the next opens another connection."""
    create_audit(empty_dsn)
    sink = TableSink(empty_dsn, signer=KEY)
    sink.record(record(1), NOW)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
        )
    with pytest.raises(AuditUnavailable, match="SQLSTATE"):
        sink.record(record(2), NOW)
    sink.record(record(3), NOW)
    sink.close()
    verdict = verify_table(empty_dsn, KEY)
    assert verdict.findings == ()
    assert verdict.unfinished == 2


def test_a_cut_is_told_for_ever_where_the_head_is_gone_too(empty_dsn: str) -> None:
    """An owner who takes entries away past the trigger, and the head with them, is found out after writing goes on."""
    create_audit(empty_dsn)
    sink = TableSink(empty_dsn, signer=KEY, checkpoint_every=5)
    for number in range(12):
        sink.record(record(number), NOW)
    sink.close()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE datagate.audit DISABLE TRIGGER audit_stays")
        connection.execute("DELETE FROM datagate.audit WHERE seq > 6")
        connection.execute("DELETE FROM datagate.audit_head")
    sink = TableSink(empty_dsn, signer=KEY)
    sink.record(record(99), NOW)
    sink.close()
    assert [each.fault for each in verify_table(empty_dsn, KEY).findings] == [Fault.TRUNCATED]
