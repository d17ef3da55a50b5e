"""One run of a statement, from the gate's decision to its end, for the audit: rows, time, SQLSTATE."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Protocol

from datagate.audit import Completion
from datagate.gate.recording import Recorded


class Completing(Protocol):
    """Who is told how statements end; a gate session is one."""

    def complete(self, recorded: Recorded, completion: Completion) -> None:
        """Record how a statement ended."""


class Run:
    """One run; it ends once, however often that is said.

    Args:
        session: Who is told.
        recorded: What stands for the statement's record.
    """

    __slots__ = ("_begun", "_recorded", "_rows", "_session")

    def __init__(self, session: Completing, recorded: Recorded) -> None:
        self._session: Completing | None = session
        self._recorded = recorded
        self._begun = perf_counter_ns()
        self._rows = 0

    def suspended(self, rows: int) -> None:
        """So many rows came, and more will be asked for."""
        self._rows += rows

    def completed(self, tag: bytes) -> None:
        """It ended well; the tag says with how many rows, if with any."""
        count = tag.rpartition(b" ")[2]
        self._end(self._rows + int(count) if count.isdigit() else None, None)

    def failed(self, sqlstate: str | None) -> None:
        """It ended with an error, its own or that of what was sent before it."""
        self._end(None, sqlstate)

    def _end(self, rows: int | None, error: str | None) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.complete(self._recorded, Completion(rows, (perf_counter_ns() - self._begun) // 1000, error))
