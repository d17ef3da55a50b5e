"""Turns what the gate admitted into what goes upstream: the policy's values stand behind the caller's own parameters.

Law: a `Sendable` is made of an admitted statement alone; it is the only thing that becomes a Parse or Bind upstream.
"""

from __future__ import annotations

from dataclasses import dataclass

from datagate.backends.postgres.assumptions import hold
from datagate.backends.postgres.parameters import check_types, encode
from datagate.errors import ProgrammingError, ProtocolViolation
from datagate.frontends.gateway.protocol import frontend
from datagate.gate import Admitted, StatementKind

Types = tuple[int, ...]


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
        values, formats = encode(admitted.parameters)
        return cls(admitted, admitted.text.encode(), values, formats)

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
        check_types(types)
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
