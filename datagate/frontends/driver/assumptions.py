"""Whether the caller's parameters are what the gate assumed of them.

The gate takes a cast such as ``$1::int4`` to be harmless, although casts can fail and a failure can tell of hidden
rows, as long as the value has that type already, or one that widens to it. What counts is the type that the value is
sent with: an application's own dumpers may send any Python value as anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Protocol

from psycopg import adapters
from psycopg.abc import Buffer


class Assumption(Protocol):
    """A cast of parameter ``$parameter`` to ``type`` that was taken to succeed."""

    @property
    def parameter(self) -> int:
        """Counted from one."""

    @property
    def type(self) -> str:
        """PostgreSQL's internal name of the type."""


_UNTYPED = 0
_NARROWER = {
    "int2": "int2",
    "int4": "int2 int4",
    "int8": "int2 int4 int8",
    "numeric": "int2 int4 int8 numeric",
    "float8": "int2 int4 int8 float4 float8",
    "text": "text varchar",
    "varchar": "text varchar",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "uuid": "uuid",
    "bool": "bool",
}
# A text sent without a type takes the type of its first use, and every type casts to text.
_FITS = MappingProxyType(
    {
        name: frozenset(adapters.types[narrower].oid for narrower in names.split())
        | ({_UNTYPED} if name in {"text", "varchar"} else frozenset())
        for name, names in _NARROWER.items()
    }
)


def hold(assumptions: Iterable[Assumption], types: Sequence[int], values: Sequence[Buffer | None]) -> bool:
    """Tell whether each value is sent with a type that the assumed cast cannot fail on; NULL always is."""
    for assumption in assumptions:
        place = assumption.parameter - 1
        if place >= len(values):
            return False
        if values[place] is not None and types[place] not in _FITS.get(assumption.type, ()):
            return False
    return True
