"""A journal in PostgreSQL: the table ``datagate.audit``, to which rows are only ever added.

Writers of all processes take turns by an advisory lock, so that there is one chain; each batch is one transaction,
durable when it commits (``synchronous_commit`` is set on). A trigger refuses UPDATE, DELETE and TRUNCATE, also to the
table's owner; who may disable triggers can still change rows, and verification finds that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import psycopg
from psycopg.sql import SQL, Identifier

from datagate.audit.chain import Link, canonical, link
from datagate.audit.commit import GroupCommit
from datagate.audit.files import head_line, read_head
from datagate.audit.signing import Signer, Verifier, checkpoint_message
from datagate.audit.sinks import PATIENCE, ChainedSink
from datagate.audit.verify import Line, Verdict, verify
from datagate.errors import AuditUnavailable
from datagate.model import locks

_LOCK = f"SELECT pg_catalog.pg_advisory_xact_lock({locks.AUDIT}, 0)"
_END = "SELECT seq, hash FROM datagate.audit ORDER BY seq DESC LIMIT 1"
_ADD = "INSERT INTO datagate.audit (seq, hash, entry) SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[])"
_HEAD = (
    "INSERT INTO datagate.audit_head (one, head) VALUES (true, %s) ON CONFLICT (one) DO UPDATE SET head = excluded.head"
)
_TABLES = """
CREATE SCHEMA IF NOT EXISTS datagate;
CREATE TABLE IF NOT EXISTS datagate.audit (seq bigint PRIMARY KEY, hash text NOT NULL, entry text NOT NULL);
CREATE TABLE IF NOT EXISTS datagate.audit_head (one boolean PRIMARY KEY CHECK (one), head text NOT NULL);
CREATE OR REPLACE FUNCTION datagate.audit_stays() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit only grows';
END
$$;
CREATE OR REPLACE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON datagate.audit
    FOR EACH STATEMENT EXECUTE FUNCTION datagate.audit_stays();
ALTER TABLE datagate.audit ENABLE ALWAYS TRIGGER audit_stays;
REVOKE ALL ON datagate.audit, datagate.audit_head FROM PUBLIC;
"""
_GRANTS = """
GRANT USAGE ON SCHEMA datagate TO {role};
GRANT SELECT, INSERT ON datagate.audit TO {role};
GRANT SELECT, INSERT, UPDATE ON datagate.audit_head TO {role};
"""


def create_audit(dsn: str, writer: str | None = None) -> None:
    """Create table, head and trigger, once, as the owner of the database; ``writer`` is the role that sinks use.

    Raises:
        AuditUnavailable: The database does not let this happen.
    """
    fault = "the audit's table cannot be created"
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute(_TABLES)
            if writer is not None:
                connection.execute(SQL(_GRANTS).format(role=Identifier(writer)))
            return
    except psycopg.Error as error:
        fault += f": SQLSTATE {error.sqlstate}"
    raise AuditUnavailable(fault)


def lines_of_table(dsn: str) -> Iterator[Line]:
    """The entries of the table, in order."""
    with psycopg.connect(dsn) as connection, connection.cursor("audit") as cursor:
        cursor.execute("SELECT seq, entry FROM datagate.audit ORDER BY seq")
        for seq, entry in cursor:
            yield Line(entry.encode(), f"datagate.audit:{seq}")


def verify_table(dsn: str, key: Verifier | None, expect: Link | None = None) -> Verdict:
    """Verify the table's chain, with its head."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT head FROM datagate.audit_head").fetchone()
    head = None if row is None else row[0].encode()
    return verify(lines_of_table(dsn), key, head=head, head_place="datagate.audit_head", expect=expect)


class TableJournal:
    """The journal in one database, over a connection of its own that is opened anew when it is lost."""

    def __init__(self, dsn: str, signer: Signer | None, every: int, clock: Callable[[], datetime]) -> None:
        self._dsn = dsn
        self._signer = signer
        self._every = every
        self._clock = clock
        self._since = 0
        self._mutex = threading.Lock()
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        with self._mutex:
            self._attempt([])

    def append(self, entries: Sequence[bytes]) -> None:
        """Chain and keep entries in one transaction; AuditUnavailable where it does not commit."""
        with self._mutex:
            self._attempt(entries)

    def close(self) -> None:
        """Keep a last checkpoint, and close."""
        with self._mutex:
            if self._connection is None:
                return
            try:
                if self._since:
                    self._since = self._every
                    self._attempt([])
            finally:
                self._drop()

    def _attempt(self, entries: Sequence[bytes]) -> None:
        fault = "the statement cannot be recorded"
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._dsn, options="-c synchronous_commit=on")
            with self._connection.transaction():
                self._connection.execute(_LOCK)
                self._add(self._connection, entries)
        except psycopg.Error as error:
            fault += f": the audit's database failed (SQLSTATE {error.sqlstate})"
            self._drop()
        else:
            return
        raise AuditUnavailable(fault)

    def _add(self, connection: psycopg.Connection[tuple[object, ...]], entries: Sequence[bytes]) -> None:
        row = connection.execute(_END).fetchone()
        end = Link(int(str(row[0])), str(row[1])) if row is not None else Link()
        kept = connection.execute("SELECT head FROM datagate.audit_head").fetchone()
        head = read_head(str(kept[0]).encode(), self._signer) if kept is not None else None
        before: list[bytes] = []
        if (head is None and end.seq) or (head is not None and head.seq > end.seq):
            # Without a head, nobody can tell how many.
            about = {"bytes": 0, "sha256": "", "missing": head.seq - end.seq if head is not None else None}
            before.append(canonical({**self._stamp("repair"), "result": about}))
        rows: list[tuple[int, str, str]] = []
        for rest in [*before, *entries]:
            end, line = link(end, rest)
            rows.append((end.seq, end.hash, line[:-1].decode()))
        since = self._since + len(rows)
        if since >= self._every:
            end, line = link(end, self._checkpoint(end))
            rows.append((end.seq, end.hash, line[:-1].decode()))
            since = 0
        if rows:
            connection.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
            connection.execute(_HEAD, [head_line(end, self._signer).decode()])
        self._since = since

    def _checkpoint(self, end: Link) -> bytes:
        proof: dict[str, object] = {"key": None, "signature": None}
        if self._signer is not None:
            proof = {"key": self._signer.name, "signature": self._signer.sign(checkpoint_message(end))}
        return canonical({**self._stamp("checkpoint"), "proof": proof})

    def _stamp(self, kind: str) -> dict[str, object]:
        return {"id": "", "kind": kind, "time": self._clock().isoformat()}

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class TableSink(ChainedSink):
    """A hash chain in the table ``datagate.audit``, for any number of threads and processes.

    Args:
        dsn: libpq connection string of a database in which `create_audit` has been run, for the writer's role.
        signer: As for `JsonLinesSink`.
        text: Whether statements are kept too, without their literals.
        checkpoint_every: Entries between two checkpoints.
        clock: Stamps checkpoints.

    Raises:
        AuditUnavailable: The database cannot be reached, or has no such table.
    """

    def __init__(
        self,
        dsn: str,
        *,
        signer: Signer | None = None,
        text: bool = False,
        checkpoint_every: int = 1000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(GroupCommit(TableJournal(dsn, signer, checkpoint_every, clock), PATIENCE), text=text)
