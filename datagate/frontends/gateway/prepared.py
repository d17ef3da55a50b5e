"""What a client prepared and bound: its own names for it, which outlive the connections that it ran on."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from datagate.backends.postgres.prepared import Prepared as SqlPrepared
from datagate.backends.postgres.statements import read_statement
from datagate.errors import NotSupportedError, ProgrammingError
from datagate.frontends.gateway.local import Local
from datagate.frontends.gateway.plans import Plan
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.runs import Run
from datagate.frontends.gateway.sending import Sendable, Types


@dataclass(slots=True)
class Told:
    """What a client was told of a statement's columns: their names and types; and which of our texts give these."""

    columns: tuple[tuple[bytes, int], ...]
    texts: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, description: bytes, text: bytes) -> Told:
        """What a RowDescription or NoData says."""
        if description[0] == backend.NO_DATA:
            return cls((), {text})
        columns = backend.read_row_description(description[5:])
        return cls(tuple((each.name, each.type) for each in columns), {text})


@dataclass(slots=True)
class Prepared:
    """A client's prepared statement: it outlives the upstream connection that it was first parsed on.

    ``era``: the way's when it was admitted, while it has not run yet; its first run takes over that decision, and
    ``run``. ``read_by``: the settings of the session when it was prepared, by which its literals are read. ``told``: of
    its columns, to a client that had the statement itself described, and takes the rows of each run to be such.
    ``plan``: by which it ran last, if that was at once.
    """

    name: bytes
    asked: str
    types: Types
    statement: Sendable | Local
    era: object = None
    read_by: object = None
    run: Run | None = None
    told: Told | None = None
    plan: Plan | None = None

    def describes(self, text: bytes, description: bytes) -> None:
        """The client is told of the columns."""
        self.told = Told.of(description, text)


@dataclass(slots=True)
class Portal:
    """What a client bound: for telling what an Execute or Describe speaks of, and for running it once more.

    ``pledged``: it was not to be run at once, so each run is held to what was in force when it was bound, which is what
    its snapshot shows; ``held``: that has just been done. ``described``: the client was told of its own columns.
    """

    prepared: Prepared
    message: frontend.Bind
    statement: Sendable | Local
    pledged: bool = False
    held: bool = False
    run: Run | None = None
    described: bool = False

    @property
    def may_differ(self) -> Told | None:
        """What the client takes the columns to be, where they might be others by now."""
        told = self.prepared.told
        if told is None or self.described or isinstance(self.statement, Local) or self.statement.text in told.texts:
            return None
        return told


def shown_name(name: bytes) -> str:
    """A client's name for something, for messages."""
    return name.decode("utf-8", "replace")


def named(name: bytes) -> str:
    """A prepared statement, for messages."""
    return f'prepared statement "{shown_name(name)}"' if name else "unnamed prepared statement"


def no_portal(name: bytes) -> ProgrammingError:
    """There is no such portal; a cursor that SQL declared is none, though the server has one namespace for both."""
    return ProgrammingError(f'portal "{shown_name(name)}" does not exist', sqlstate="34000")


def no_statement(name: bytes, *, by_sql: bool) -> ProgrammingError:
    """There is no such prepared statement; ``by_sql``: PREPARE made one, which the protocol cannot run."""
    why = "was made by PREPARE; run it by EXECUTE" if by_sql else "does not exist"
    return ProgrammingError(f"{named(name)} {why}", sqlstate="26000")


def executed(prepared: Prepared, text: str) -> str:
    """The query that EXECUTE means of what the protocol prepared.

    Raises:
        ProgrammingError: It has not as many arguments as there are parameters.
        NotSupportedError: An argument is no constant, or a parameter has a type that is not known by its OID.
    """
    types = []
    for oid in prepared.types if any(prepared.types) else ():
        known = psycopg.adapters.types.get(oid)
        if known is None:
            raise NotSupportedError(f"{named(prepared.name)} has parameters of types that EXECUTE does not carry")
        types.append(known.regtype + ("[]" if oid == known.array_oid else ""))
    arguments = read_statement(text).arguments
    return SqlPrepared(prepared.asked, tuple(types)).with_arguments(shown_name(prepared.name), arguments)
