"""Turns what the gate admitted into what goes upstream: the policy's values stand behind the caller's own parameters.

Law: a `Sendable` is made of an admitted statement alone; it is the only thing that becomes a Parse or Bind upstream.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.adapt import AdaptersMap, PyFormat, Transformer

from datagate.backends.postgres.assumptions import hold
from datagate.errors import InternalError, ProgrammingError, ProtocolViolation
from datagate.frontends.gateway.protocol import frontend
from datagate.gate import Admitted, StatementKind

# regproc regprocedure regoper regoperator regclass regtype regconfig regdictionary regnamespace regrole regcollation
# aclitem, and their arrays (pg_type.dat): a value of such a type shows the name of whatever has its OID.
_NAMING_OIDS = frozenset(
    map(
        int,
        "24 2202 2203 2204 2205 2206 3734 3769 4089 4096 4191 1033 "
        "1008 2207 2208 2209 2210 2211 3735 3770 4090 4097 4192 1034".split(),
    )
)
Types = tuple[int, ...]


class _PolicyContext:
    """Psycopg's adaptation as it is out of the box."""

    adapters = AdaptersMap(psycopg.adapters)
    connection = None


@dataclass(frozen=True, slots=True)
class Sendable:
    """An admitted statement as the protocol carries it: text, the policy's values and their formats."""

    admitted: Admitted
    text: bytes
    values: tuple[bytes | None, ...]
    formats: tuple[int, ...]

    @classmethod
    def of(cls, admitted: Admitted) -> Sendable:
        """Turn the policy's values into the protocol's, once; the cast around each ``$n`` says its type."""
        transformer = Transformer(_PolicyContext())
        values = [list(value) if isinstance(value, tuple) else value for value in admitted.parameters]
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
        formats = tuple(int(code) for code in transformer.formats or ())
        sent = tuple(None if value is None else bytes(value) for value in out)
        return cls(admitted, admitted.text.encode(), sent, formats)

    @property
    def own(self) -> int:
        """How many parameters the caller gives."""
        return self.admitted.caller_parameters

    def bind(self, message: frontend.Bind, portal: bytes, name: bytes) -> bytes:
        """The caller's Bind with the policy's values behind its own."""
        if not self.values:
            return frontend.bind(portal, name, message.formats, message.values, message.results)
        formats = message.formats
        if any(self.formats) or any(formats):
            each = formats if len(formats) == self.own else (formats[0] if formats else 0,) * self.own
            formats = (*each, *self.formats)
        else:
            formats = ()
        return frontend.bind(portal, name, formats, (*message.values, *self.values), message.results)

    def check_values(self, message: frontend.Bind) -> None:
        """Hold a Bind to the number of the caller's own parameters, in PostgreSQL's words."""
        if len(message.values) != self.own:
            raise ProtocolViolation(
                f"bind message supplies {len(message.values)} parameters, but the statement requires {self.own}"
            )

    def check_types(self, types: Types) -> None:
        """Refuse types that a caller may not give to its parameters.

        Raises:
            ProgrammingError: One names things, or there are more than parameters.
        """
        if not _NAMING_OIDS.isdisjoint(types):
            raise ProgrammingError("a parameter is sent as a type that names things (regclass, regtype …)")
        if len(types) > self.own:
            raise ProgrammingError(
                f"{len(types)} parameter types come with a statement that uses {self.own} parameters", sqlstate="42P18"
            )

    def holds(self, types: Types, values: tuple[bytes | None, ...]) -> bool:
        """Whether the caller's parameters are what the gate assumed of them."""
        if not self.admitted.assumptions:
            return True
        return hold(self.admitted.assumptions, types + (0,) * (self.own - len(types)), values)


BLANK = Sendable(Admitted(StatementKind.SESSION, "", (), 0, frozenset()), b"", (), ())
"""A text without any statement in it; clients send such to see whether the server lives."""
