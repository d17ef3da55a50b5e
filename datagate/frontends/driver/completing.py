"""How a statement ended, for the audit: rows, time, SQLSTATE, and whose rows were returned where that is to be kept.

Whose: PostgreSQL says of each output column which table's column it is, through subqueries and guards, if it is one as
it is (protocol, RowDescription). Where that is the column that names the data subject, its values are the keys of the
data subjects whose rows were returned. A masked key is an expression, and tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from psycopg import pq

from datagate.audit import Completion

Keyed = Callable[[int], tuple[str, int] | None]
"""By OID of a table: the relation, and the number of its data subject's column."""


def completion(begun: int, rows: int | None, result: pq.abc.PGresult | None, keyed: Keyed) -> Completion:
    """How a statement ended that began at ``begun`` (`perf_counter_ns`) and gave this result."""
    microseconds = (perf_counter_ns() - begun) // 1000
    if result is None:
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


def _text(value: bytes, format_: int, type_: int) -> str:
    if format_ == pq.Format.TEXT:
        return bytes(value).decode()
    # Binary results: whole numbers are big-endian, uuid is sixteen bytes; texts are themselves.
    if type_ in (20, 21, 23):
        return str(int.from_bytes(value, "big", signed=True))
    if type_ in (25, 1043):
        return bytes(value).decode()
    return "\\x" + bytes(value).hex()
