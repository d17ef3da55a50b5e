"""Parameters on the wire: the policy's values as the protocol carries them, and types that callers may not give.

One home for all frontends, since what is sent must not depend on the path.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg.adapt import AdaptersMap, PyFormat, Transformer

from datagate.errors import InternalError, ProgrammingError

# regproc regprocedure regoper regoperator regclass regtype regconfig regdictionary regnamespace regrole regcollation
# aclitem, and their arrays (pg_type.dat): a value of such a type shows the name of whatever has its OID.
_NAMING_OIDS = frozenset(
    map(
        int,
        "24 2202 2203 2204 2205 2206 3734 3769 4089 4096 4191 1033 "
        "1008 2207 2208 2209 2210 2211 3735 3770 4090 4097 4192 1034".split(),
    )
)


class _PolicyContext:
    """Psycopg's adaptation as it is out of the box: an application's own dumpers do not touch policy values."""

    adapters = AdaptersMap(psycopg.adapters)
    connection = None


def check_types(types: Iterable[int]) -> None:
    """Hold the types of a caller's parameters, as OIDs, to what tells no names; ProgrammingError otherwise."""
    if not _NAMING_OIDS.isdisjoint(types):
        raise ProgrammingError("a parameter is sent as a type that names things (regclass, regtype …)")


def encode(parameters: tuple[object, ...]) -> tuple[tuple[bytes | None, ...], tuple[int, ...]]:
    """Turn policy values into protocol parameters; the cast around each ``$n`` says its type.

    Returns:
        The values, and the format of each: 0 is text, 1 binary (PostgreSQL manual, 55.7, Bind).

    Raises:
        InternalError: One cannot be sent; the message does not show it.
    """
    transformer = Transformer(_PolicyContext())
    values = [list(value) if isinstance(value, tuple) else value for value in parameters]
    wanted = [PyFormat.BINARY if isinstance(value, bytes) else PyFormat.TEXT for value in values]
    dumped = False
    try:
        out = list(transformer.dump_sequence(values, wanted))
        dumped = True
    except (psycopg.Error, ValueError, TypeError, ArithmeticError):
        # The original error would show the value.
        out = []
    if not dumped:
        raise InternalError("a policy value cannot be sent to the server; nothing was sent")
    sent = tuple(None if value is None else bytes(value) for value in out)
    return sent, tuple(int(code) for code in transformer.formats or ())
