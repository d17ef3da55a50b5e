"""Group commit: many threads' entries share one write and one fsync.

Whoever has an entry puts it into the batch that is open and queues for the journal. Whoever comes first writes all that
the batch holds by then; those behind find their batch written. Nobody waits for company: a batch is what came while the
one before was being written.
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


class _Batch:
    __slots__ = ("awaited", "done", "fault", "later")

    def __init__(self) -> None:
        self.awaited: list[bytes] = []
        self.later: list[bytes] = []
        self.done = False
        self.fault: str | None = None


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
        self._open = _Batch()
        self._timer: threading.Timer | None = None

    def keep(self, entry: bytes) -> None:
        """Keep an entry; it is durable when this returns, or AuditUnavailable is raised."""
        if self._process != os.getpid():
            self._begin()  # A forked child: what its parent has pending is its parent's to write.
        with self._mutex:
            batch = self._open
            batch.awaited.append(entry)
        self._settle(batch)

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
        self._settle(batch)

    def close(self) -> None:
        """Write what is pending, and close the journal."""
        timer = self._timer
        if timer is not None:
            timer.cancel()
        try:
            self.flush()
        finally:
            self._journal.close()

    def _flush_later(self) -> None:
        with self._mutex:
            self._timer = None
        try:
            self.flush()
        except AuditUnavailable:
            return  # It is still pending; the next statement meets the same fault and is refused.

    def _settle(self, batch: _Batch) -> None:
        with self._committing:
            if not batch.done:
                self._commit(batch)
        if batch.fault is not None:
            raise AuditUnavailable(batch.fault)

    def _commit(self, batch: _Batch) -> None:
        with self._mutex:
            self._open = _Batch()
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
