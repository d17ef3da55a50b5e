"""A query that PREPARE named, and the query that EXECUTE makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from postgast.pg_query_pb2 import Token

from datagate.backends.postgres.engine import encode, scan
from datagate.errors import ProgrammingError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query that PREPARE named, with the types that it gave its parameters."""

    text: str
    types: tuple[str, ...]

    def with_arguments(self, name: str, arguments: tuple[str, ...]) -> str:
        """The query with constants in the place of its parameters.

        Raises ProgrammingError (42601) where there are not as many as it has parameters.
        """
        raw = encode(self.text)
        out: list[bytes] = []
        done = highest = 0
        for token in scan(raw):
            if token.token != Token.PARAM:
                continue
            number = int(raw[token.start + 1 : token.end])
            highest = max(highest, number)
            if number <= len(arguments):
                out += [raw[done : token.start], self._argument(number, arguments[number - 1]).encode()]
                done = token.end
        if len(arguments) != max(highest, len(self.types)):
            raise ProgrammingError(f'wrong number of parameters for prepared statement "{name}"', sqlstate="42601")
        return b"".join([*out, raw[done:]]).decode()

    def _argument(self, number: int, constant: str) -> str:
        if number <= len(self.types):
            return f" ({constant})::{self.types[number - 1]} "
        # An untyped parameter takes its type from where it stands, and so does a quoted constant.
        plain = constant.lstrip("-").replace(".", "", 1).isdigit()
        return f" '{constant}' " if plain else f" ({constant}) "
