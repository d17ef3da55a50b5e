"""One run of a statement, from the gate's decision to its end, for the audit: rows, time, SQLSTATE."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Protocol

from datagate.audit import Completion
from datagate.gate import Recorded


class Completing(Protocol):
    """Who is told how statements end; a gate session is one."""

    def complete(self, recorded: Recorded, completion: Completion) -> None:
        """Record how a statement ended."""


class Run:
    """One run; it ends once, however often that is said.

    Where its record is held (`datagate.audit.Held`), nothing of its answer may leave before it ended or was kept.

    Args:
        session: Who is told.
        recorded: What stands for the statement's record.
        waits: Whether ending or keeping it waits for a disk, so that a thread has to do it.
    """

    __slots__ = ("_begun", "_recorded", "_rows", "_session", "waits")

    def __init__(self, session: Completing, recorded: Recorded, *, waits: bool = False) -> None:
        self._session: Completing | None = session
        self._recorded = recorded
        self._begun = perf_counter_ns()
        self._rows = 0
        self.waits = waits

    def suspended(self, rows: int) -> None:
        """So many rows came, and more will be asked for."""
        self._rows += rows

    def completed(self, tag: bytes) -> None:
        """It ended well; the tag says with how many rows, if with any.

        Raises:
            AuditUnavailable: Its record is held, and cannot be kept.
        """
        count = tag.rpartition(b" ")[2]
        self._end(self._rows + int(count) if count.isdigit() else None, None)

    def failed(self, sqlstate: str | None) -> None:
        """It ended with an error, its own or that of what was sent before it; AuditUnavailable as above."""
        self._end(None, sqlstate)

    def keep(self) -> None:
        """Have a held record kept, since its end is not at hand; AuditUnavailable as above."""
        if self._recorded is not None and not isinstance(self._recorded, str):
            self._recorded = self._recorded.keep()
        self.waits = False

    def _end(self, rows: int | None, error: str | None) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.complete(self._recorded, Completion(rows, (perf_counter_ns() - self._begun) // 1000, error))
