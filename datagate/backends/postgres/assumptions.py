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

from datagate.sql.patterns import MOST_WILDCARDS


class Assumption(Protocol):
    """A cast of parameter ``$parameter`` to ``type`` that was taken to succeed, or another use of it."""

    @property
    def parameter(self) -> int:
        """Counted from one."""

    @property
    def type(self) -> str:
        """PostgreSQL's internal name of the type; ``operand of`` a type; or ``pattern``.

        A pattern is a text without backslashes and with few ``%``.
        """

    @property
    def once(self) -> bool:
        """Whether the parameter stands in no other place, from which an untyped one could take its type."""


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


_PATTERN = "pattern"
_NUMBERS = "int2 int4 int8 numeric"
_OPERANDS = {
    "operand of int8": f"{_NUMBERS} float4 float8",
    "operand of numeric": _NUMBERS,
    "operand of float8": "int2 int4 int8 float4 float8",
}
_BESIDE = MappingProxyType(
    {name: frozenset(adapters.types[each].oid for each in names.split()) for name, names in _OPERANDS.items()}
    | {
        f"{name}[]": frozenset(adapters.types[each].array_oid for each in names.split())
        for name, names in _OPERANDS.items()
    }
)


def _holds(assumption: Assumption, type_: int, value: Buffer | None) -> bool:
    """Tell whether one value is what was assumed."""
    name = assumption.type
    if name in _BESIDE:
        # A NULL too has a type, to which the other side is cast.
        return type_ in _BESIDE[name] or (type_ == _UNTYPED and assumption.once)
    if value is None:
        return True
    if name == _PATTERN:
        pattern = bytes(value)
        return type_ in _FITS["text"] and b"\\" not in pattern and pattern.count(b"%") <= MOST_WILDCARDS
    return type_ in _FITS.get(name, ())


def hold(assumptions: Iterable[Assumption], types: Sequence[int], values: Sequence[Buffer | None]) -> bool:
    """Tell whether each value is sent as what was assumed of it."""
    for assumption in assumptions:
        place = assumption.parameter - 1
        if place >= len(values):
            return False
        if not _holds(assumption, types[place], values[place]):
            return False
    return True
