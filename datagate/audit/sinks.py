"""Where audit records go. A sink that cannot record raises, and then the statement is refused."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Protocol, runtime_checkable

from datagate.audit.chain import canonical
from datagate.audit.commit import Batch, Commit, GroupCommit
from datagate.audit.files import Durability, FileJournal
from datagate.audit.record import AuditRecord, Completion, completion_json, statement_json
from datagate.audit.signing import Signer
from datagate.audit.spool import Spool, adopt

_RENDERED = 4096
PATIENCE = 0.2
_PROCESS = [os.getpid()]
# Asking the system for each statement whether this is a forked child would cost more than all else about its id.
os.register_at_fork(after_in_child=lambda: _PROCESS.__setitem__(0, os.getpid()))


class Sink(Protocol):
    """Takes records; AuditUnavailable where a record could not be kept."""

    def record(self, record: AuditRecord, instant: datetime) -> str | None:
        """Keep one record, before anything of the statement's answer leaves; the id to complete it by, if any."""
        ...


@runtime_checkable
class CompletingSink(Sink, Protocol):
    """A sink that also takes how statements ended."""

    def complete(self, recorded: str, completion: Completion, instant: datetime) -> None:
        """Keep how a recorded statement ended; nobody waits for it, and it raises nothing."""
        ...


class Held(Protocol):
    """The record of a statement that runs while it is being made; nothing of its answer leaves before it is settled."""

    @property
    def record(self) -> AuditRecord:
        """What is recorded."""

    def settle(self, completion: Completion, clock: Callable[[], datetime]) -> None:
        """Have it kept, with how the statement ended; AuditUnavailable where it is not: then nothing may leave."""

    def keep(self) -> str:
        """Have it kept now, since rows leave before the end: the id to complete it by; AuditUnavailable as above."""


@runtime_checkable
class HoldingSink(CompletingSink, Protocol):
    """A sink that can record statements which only read while they run."""

    def hold(self, record: AuditRecord, instant: datetime) -> Held:
        """Begin to record; whoever calls this calls `Held.settle` before any row leaves, however the statement ends."""
        ...


class LoggingSink:
    """Python's logging, logger ``datagate.audit``: permits at INFO, refusals at WARNING."""

    waits = False

    def __init__(self) -> None:
        self._logger = logging.getLogger("datagate.audit")

    def record(self, record: AuditRecord, instant: datetime) -> None:
        """Log one record."""
        level = logging.INFO if record.permitted else logging.WARNING
        if self._logger.isEnabledFor(level):
            entry = {"time": instant.isoformat(), **statement_json(record, with_text=False)}
            self._logger.log(level, "%s", json.dumps(entry, sort_keys=True))


class MemorySink:
    """Keeps records in a list, for tests and for showing what a session did."""

    waits = False

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.instants: list[datetime] = []
        self.completions: dict[str, Completion] = {}

    def record(self, record: AuditRecord, instant: datetime) -> str:
        """Keep one record; its id is its place in the list."""
        self.records.append(record)
        self.instants.append(instant)
        return str(len(self.records) - 1)

    def complete(self, recorded: str, completion: Completion, instant: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Keep how a statement ended."""
        self.completions[recorded] = completion


class ChainedSink:
    """Records and completions in one hash chain, kept before any row leaves; what journals are kept by.

    Args:
        commit: How entries come to the chain.
        text: Whether statements are kept too, without their literals.
        nonce: What tells the ids of this sink from those of all others.
    """

    def __init__(self, commit: Commit, *, text: bool = False, nonce: str | None = None) -> None:
        self._commit = commit
        self._group = commit if isinstance(commit, GroupCommit) else None
        self._text = text
        self._nonce = nonce or secrets.token_hex(8)
        self._numbers = count(1)
        self._rendered: dict[int, tuple[AuditRecord, bytes]] = {}
        self._process, self._prefix = -1, b""
        self._second = (datetime.fromtimestamp(0, UTC), b"", b"")

    @property
    def waits(self) -> bool:
        """Whether recording waits for a disk or a server, and settling what is held too."""
        return self._group is not None

    def record(self, record: AuditRecord, instant: datetime) -> str:
        """Keep one record; it is kept when this returns.

        Raises:
            AuditUnavailable: It is not.
        """
        recorded = self._next()
        self._commit.keep(self._decision(recorded, record, instant))
        return recorded.decode()

    def hold(self, record: AuditRecord, instant: datetime) -> Held:
        """Begin to keep one record; where that takes no time, it is made when the statement has ended, as one entry."""
        if self._group is None:
            return _Whole(self, record, instant)
        recorded = self._next()
        return _Begun(self, record, recorded.decode(), self._group.begin(self._decision(recorded, record, instant)))

    def complete(self, recorded: str, completion: Completion, instant: datetime) -> None:
        """Keep how a recorded statement ended, with the next batch or within a fifth of a second."""
        self._commit.keep_later(
            b'{"id":"%s+","kind":"completion","of":"%s","result":%s,"time":"%s"}'
            % (recorded.encode(), recorded.encode(), _result(completion), self._spelled(instant))
        )

    def whole(self, record: AuditRecord, completion: Completion, instant: datetime) -> None:
        """Keep a record with how its statement ended; AuditUnavailable where it is not kept when this returns."""
        self._commit.keep(
            b'{"id":"%b","kind":"decision","result":%b,"statement":%b,"time":"%b"}'
            % (self._next(), _result(completion), self._statement(record), self._spelled(instant))
        )

    def flush(self) -> None:
        """Write what is pending; AuditUnavailable where that fails."""
        self._commit.flush()

    def close(self) -> None:
        """Write what is pending and a last checkpoint, and close."""
        self._commit.close()

    def _next(self) -> bytes:
        if self._process != _PROCESS[0]:
            self._process = _PROCESS[0]
            self._prefix = f"{self._nonce}-{self._process}-".encode()
        return b"%b%d" % (self._prefix, next(self._numbers))

    def _spelled(self, instant: datetime) -> bytes:
        """The instant as ISO 8601 has it; what instants of one second share is spelled once."""
        base, prefix, suffix = self._second
        since = instant - base
        if since.seconds or since.days or not since.microseconds or instant.tzinfo is not base.tzinfo:
            spelled = instant.isoformat()
            base = instant.replace(microsecond=0)
            whole = base.isoformat()
            self._second = (base, whole[:19].encode(), whole[19:].encode())
            return spelled.encode()
        return b"%b.%06d%b" % (prefix, since.microseconds, suffix)

    def _decision(self, recorded: bytes, record: AuditRecord, instant: datetime) -> bytes:
        return b'{"id":"%b","kind":"decision","statement":%b,"time":"%b"}' % (
            recorded,
            self._statement(record),
            self._spelled(instant),
        )

    def _statement(self, record: AuditRecord) -> bytes:
        """The record's canonical JSON; records of statements that are asked again are the same object."""
        found = self._rendered.get(id(record))
        if found is None:
            found = (record, canonical(statement_json(record, with_text=self._text)))
            if len(self._rendered) >= _RENDERED:
                self._rendered.clear()
            self._rendered[id(record)] = found
        return found[1]


class _Whole:
    """A record that is made when its statement has ended."""

    __slots__ = ("_instant", "_sink", "record")

    def __init__(self, sink: ChainedSink, record: AuditRecord, instant: datetime) -> None:
        self._sink, self.record, self._instant = sink, record, instant

    def settle(self, completion: Completion, clock: Callable[[], datetime]) -> None:  # noqa: ARG002 - the protocol's
        """Make it."""
        self._sink.whole(self.record, completion, self._instant)

    def keep(self) -> str:
        """Make it without its end."""
        return self._sink.record(self.record, self._instant)


class _Begun:
    """A record that is being written."""

    __slots__ = ("_batch", "_recorded", "_sink", "record")

    def __init__(self, sink: ChainedSink, record: AuditRecord, recorded: str, batch: Batch) -> None:
        self._sink, self.record, self._recorded, self._batch = sink, record, recorded, batch

    def settle(self, completion: Completion, clock: Callable[[], datetime]) -> None:
        """Wait until it is written."""
        self._batch.wait()
        self._sink.complete(self._recorded, completion, clock())

    def keep(self) -> str:
        """Wait until it is written."""
        self._batch.wait()
        return self._recorded


def _result(completion: Completion) -> bytes:
    if completion.data_subjects or completion.error:
        return canonical(completion_json(completion))
    rows = b"null" if completion.rows is None else b"%d" % completion.rows
    return b'{"data_subjects":{},"error":null,"microseconds":%d,"rows":%s}' % (completion.microseconds, rows)


class JsonLinesSink(ChainedSink):
    """A hash chain in a file of JSON lines, for any number of threads and processes.

    Args:
        path: The file; full files, lock and head stand beside it, under its name and a suffix.
        signer: Signs checkpoints and the head: `HmacKey` or `Ed25519Key`. Without one, whoever can write the files can
            also make a new chain that verifies.
        durability: ``fsync``: on the disk before a row leaves; ``os``: before a row leaves in the operating system's
            hands, which survives the process, and on the disk within some hundredths of a second, many records with
            one fsync: only a machine that fails loses what it did in these.
        text: Whether statements are kept too, without their literals.
        rotate_at: Bytes after which a file is full.
        checkpoint_every: Entries between two checkpoints.
        clock: Stamps checkpoints and repairs.

    Raises:
        AuditUnavailable: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        signer: Signer | None = None,
        durability: Durability | str = Durability.FSYNC,
        text: bool = False,
        rotate_at: int = 64 << 20,
        checkpoint_every: int = 1000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        path = Path(path)
        journal = FileJournal(path, signer=signer, rotate_at=rotate_at, checkpoint_every=checkpoint_every, clock=clock)
        adopt(path, journal)
        synced = Durability(durability) is Durability.FSYNC
        super().__init__(GroupCommit(journal, PATIENCE) if synced else Spool(journal, path), text=text)
