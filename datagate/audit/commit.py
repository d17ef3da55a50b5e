"""Group commit: many threads' entries share one write and one fsync.

Whoever has an entry puts it into the batch that is open and queues for the journal. Whoever comes first writes all that
the batch holds by then; those behind find their batch written. Nobody waits for company: a batch is what came while the
one before was being written. An entry may also be begun and waited for later: a thread of its own writes it meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Protocol

from datagate.errors import AuditUnavailable

KEPT_BACK = 100_000
"""How many completions are kept while the journal fails; decisions are refused meanwhile."""


class Journal(Protocol):
    """Where entries go, all or none of a batch."""

    def append(self, entries: Sequence[bytes]) -> None:
        """Chain and keep entries durably, or raise AuditUnavailable and keep none."""

    def close(self) -> None:
        """Keep a last checkpoint, and close."""


class Commit(Protocol):
    """How entries of many threads come to a journal."""

    def keep(self, entry: bytes) -> None:
        """Keep an entry; it is kept when this returns, or AuditUnavailable is raised."""

    def keep_later(self, entry: bytes) -> None:
        """Keep an entry in a moment; nobody waits for it."""

    def flush(self) -> None:
        """Bring all that is kept to the journal; AuditUnavailable where that fails."""

    def close(self) -> None:
        """Flush, and close the journal."""


class Batch:
    """Entries that are written together."""

    __slots__ = ("_commit", "awaited", "done", "fault", "later")

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self.awaited: list[bytes] = []
        self.later: list[bytes] = []
        self.done = False
        self.fault: str | None = None

    def wait(self) -> None:
        """Wait until it is written; AuditUnavailable where that failed."""
        self._commit.settle(self)


class GroupCommit:
    """Brings entries of many threads to one journal."""

    def __init__(self, journal: Journal, patience: float) -> None:
        self._journal = journal
        self._patience = patience
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._mutex = threading.Lock()
        self._committing = threading.Lock()
        self._open = Batch(self)
        self._timer: threading.Timer | None = None
        self._begun = threading.Semaphore(0)
        self._writer: threading.Thread | None = None
        self._closed = False

    def keep(self, entry: bytes) -> None:
        """Keep an entry; it is durable when this returns, or AuditUnavailable is raised."""
        if self._process != os.getpid():
            self._begin()  # A forked child: what its parent has pending is its parent's to write.
        with self._mutex:
            batch = self._open
            batch.awaited.append(entry)
        self.settle(batch)

    def begin(self, entry: bytes) -> Batch:
        """Begin to keep an entry; `Batch.wait` tells when it is kept."""
        if self._process != os.getpid():
            self._begin()
        with self._mutex:
            batch = self._open
            batch.awaited.append(entry)
            first = len(batch.awaited) == 1
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="datagate-audit", daemon=True)
                self._writer.start()
        if first:
            self._begun.release()
        return batch

    def keep_later(self, entry: bytes) -> None:
        """Keep an entry with the next batch, or after a moment; nobody waits for it."""
        if self._process != os.getpid():
            self._begin()
        with self._mutex:
            if len(self._open.later) < KEPT_BACK:
                self._open.later.append(entry)
            if self._timer is None:
                self._timer = threading.Timer(self._patience, self._flush_later)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write what is pending; AuditUnavailable where that fails."""
        with self._mutex:
            batch = self._open
        self.settle(batch)

    def close(self) -> None:
        """Write what is pending, and close the journal."""
        timer = self._timer
        if timer is not None:
            timer.cancel()
        try:
            self.flush()
        finally:
            self._closed = True
            self._begun.release()
            self._journal.close()

    def settle(self, batch: Batch) -> None:
        """Have a batch written, unless it is; AuditUnavailable where that fails."""
        if not batch.done:
            with self._committing:
                if not batch.done:
                    self._commit(batch)
        if batch.fault is not None:
            raise AuditUnavailable(batch.fault)

    def _write(self) -> None:
        """The thread that writes what was begun."""
        while True:
            self._begun.acquire()
            if self._closed:
                return
            self._flush_quietly()

    def _flush_later(self) -> None:
        with self._mutex:
            self._timer = None
        self._flush_quietly()

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except AuditUnavailable:
            return  # Those who wait are told; what nobody waits for is still pending.

    def _commit(self, batch: Batch) -> None:
        with self._mutex:
            self._open = Batch(self)
        batch.fault = "the statement cannot be recorded: writing the audit was broken off"
        try:
            if batch.later or batch.awaited:
                self._journal.append(batch.later + batch.awaited)
            batch.fault = None
        except AuditUnavailable as error:
            batch.fault = error.message
        finally:
            batch.done = True
            if batch.fault is not None:
                with self._mutex:
                    self._open.later[:0] = batch.later
