"""How a statement ended, for the audit: rows, time, SQLSTATE, and whose rows were returned where that is to be kept.

Whose: PostgreSQL says of each output column which table's column it is, through subqueries and guards, if it is one as
it is (protocol, RowDescription). Where that is the column that names the data subject, its values are the keys of the
data subjects whose rows were returned. A masked key is an expression, and tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from psycopg import pq
from psycopg._cursor_base import BaseCursor  # private, and pinned with psycopg's minor version

from datagate.audit import Completion
from datagate.backends.postgres import faults
from datagate.errors import Error
from datagate.frontends.driver.admission import GateSession

Keyed = Callable[[int], tuple[str, int] | None]
"""By OID of a table: the relation, and the number of its data subject's column."""


def completion(begun: int, rows: int | None, result: pq.abc.PGresult | None, keyed: Keyed | None) -> Completion:
    """How a statement ended that began at ``begun`` (`perf_counter_ns`) and gave this result; no ``keyed``: no keys."""
    microseconds = (perf_counter_ns() - begun) // 1000
    if result is None or keyed is None:
        return Completion(rows, microseconds)
    return Completion(rows, microseconds, None, data_subjects(result, keyed) if result.nfields else ())


def data_subjects(result: pq.abc.PGresult, keyed: Keyed) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """By relation, the keys in the result, each once, as text."""
    found: dict[str, dict[str, None]] = {}
    for index in range(result.nfields):
        table = result.ftable(index)
        known = keyed(table) if table else None
        if known is None or known[1] != result.ftablecol(index):
            continue
        keys = found.setdefault(known[0], {})
        for row in range(result.ntuples):
            value = result.get_value(row, index)
            if value is not None:
                keys[_text(value, result.fformat(index), result.ftype(index))] = None
    return tuple((relation, tuple(keys)) for relation, keys in found.items() if keys)


class Tally:
    """How a statement goes on whose rows come in parts, for its completion.

    Args:
        session: The gate session by which it was admitted a moment ago, in this thread or task.
    """

    __slots__ = ("_begun", "_ended", "_found", "_recorded", "_session", "rows")

    def __init__(self, session: GateSession) -> None:
        self._session, self._recorded = session, session.recorded
        self._begun, self._ended = perf_counter_ns(), False
        self._found: dict[str, dict[str, None]] = {}
        self.rows: int | None = None

    def add(self, result: pq.abc.PGresult) -> None:
        """Count rows that have come, and keep their keys where that is wanted."""
        self.rows = (self.rows or 0) + result.ntuples
        if self._session.keeps_keys:
            for relation, keys in data_subjects(result, self._session.keyed):
                self._found.setdefault(relation, {}).update(dict.fromkeys(keys))

    def start(self) -> None:
        """Measure from now on."""
        self._begun = perf_counter_ns()

    def take(self, result: pq.abc.PGresult | None, rows: int | None) -> None:
        """Take a whole result; ``rows`` are those that it returned or changed."""
        if result is not None and result.nfields:
            self.add(result)
        self.rows = rows

    def end(self, error: BaseException | None = None) -> None:
        """Record how it ended; once, and AuditUnavailable where the statement itself is not recorded."""
        if self._ended:
            return
        self._ended = True
        keys = tuple((relation, tuple(each)) for relation, each in self._found.items())
        microseconds = (perf_counter_ns() - self._begun) // 1000
        self._session.complete(self._recorded, Completion(self.rows, microseconds, sqlstate_of(error), keys))


def rows_in(cursor: BaseCursor[Any, Any]) -> int | None:
    """How many rows a statement returned or changed; None where the server has not said so (a pipeline)."""
    return cursor.rowcount if cursor.rowcount >= 0 else None


def end_all(admitted: Sequence[tuple[Any, Tally]], error: BaseException) -> None:
    """Record of statements of one text that none of them took effect, but of those that had ended."""
    for _, tally in admitted:
        tally.end(error)


def sqlstate_of(error: BaseException | None) -> str | None:
    """What is recorded of an error; what is none of the database's broke the statement off."""
    if error is None:
        return None
    return error.sqlstate if isinstance(error, Error) else faults.CANCELLED


def _text(value: bytes, format_: int, type_: int) -> str:
    if format_ == pq.Format.TEXT:
        return bytes(value).decode()
    # Binary results: whole numbers are big-endian, uuid is sixteen bytes; texts are themselves.
    if type_ in (20, 21, 23):
        return str(int.from_bytes(value, "big", signed=True))
    if type_ in (25, 1043):
        return bytes(value).decode()
    return "\\x" + bytes(value).hex()
