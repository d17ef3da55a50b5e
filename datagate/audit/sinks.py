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
from datagate.audit.commit import GroupCommit, Journal
from datagate.audit.files import Durability, FileJournal
from datagate.audit.record import AuditRecord, Completion, completion_json, statement_json
from datagate.audit.signing import Signer

_RENDERED = 4096
_PATIENCE = 0.2


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


class LoggingSink:
    """Python's logging, logger ``datagate.audit``: permits at INFO, refusals at WARNING."""

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
    """Records and completions in one hash chain, durable before a statement runs; what journals are kept by.

    Args:
        journal: Where the chain is kept.
        text: Whether statements are kept too, without their literals.
        nonce: What tells the ids of this sink from those of all others.
    """

    def __init__(self, journal: Journal, *, text: bool = False, nonce: str | None = None) -> None:
        self._commit = GroupCommit(journal, _PATIENCE)
        self._text = text
        self._nonce = nonce or secrets.token_hex(8)
        self._numbers = count(1)
        self._rendered: dict[int, tuple[AuditRecord, bytes]] = {}

    def record(self, record: AuditRecord, instant: datetime) -> str:
        """Keep one record; it is durable when this returns.

        Raises:
            AuditUnavailable: It is not.
        """
        recorded = f"{self._nonce}-{os.getpid()}-{next(self._numbers)}"
        entry = b'{"id":"%s","kind":"decision","statement":%s,"time":"%s"}' % (
            recorded.encode(),
            self._statement(record),
            instant.isoformat().encode(),
        )
        self._commit.keep(entry)
        return recorded

    def complete(self, recorded: str, completion: Completion, instant: datetime) -> None:
        """Keep how a recorded statement ended, with the next batch or within a fifth of a second."""
        if completion.data_subjects or completion.error:
            result = canonical(completion_json(completion))
        else:
            rows = b"null" if completion.rows is None else b"%d" % completion.rows
            result = b'{"data_subjects":{},"error":null,"microseconds":%d,"rows":%s}' % (completion.microseconds, rows)
        self._commit.keep_later(
            b'{"id":"%s+","kind":"completion","of":"%s","result":%s,"time":"%s"}'
            % (recorded.encode(), recorded.encode(), result, instant.isoformat().encode())
        )

    def flush(self) -> None:
        """Write completions that are pending; AuditUnavailable where that fails."""
        self._commit.flush()

    def close(self) -> None:
        """Write what is pending and a last checkpoint, and close."""
        self._commit.close()

    def _statement(self, record: AuditRecord) -> bytes:
        """The record's canonical JSON; records of statements that are asked again are the same object."""
        found = self._rendered.get(id(record))
        if found is None:
            found = (record, canonical(statement_json(record, with_text=self._text)))
            if len(self._rendered) >= _RENDERED:
                self._rendered.clear()
            self._rendered[id(record)] = found
        return found[1]


class JsonLinesSink(ChainedSink):
    """A hash chain in a file of JSON lines, for any number of threads and processes.

    Args:
        path: The file; full files, lock and head stand beside it, under its name and a suffix.
        signer: Signs checkpoints and the head: `HmacKey` or `Ed25519Key`. Without one, whoever can write the files can
            also make a new chain that verifies.
        durability: ``fsync``: on the disk before the statement runs; ``os``: in the operating system's hands, which
            survives the process and not the machine.
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
        journal = FileJournal(
            Path(path),
            signer=signer,
            durability=Durability(durability),
            rotate_at=rotate_at,
            checkpoint_every=checkpoint_every,
            clock=clock,
        )
        super().__init__(journal, text=text)
