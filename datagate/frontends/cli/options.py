"""The options that commands share, and what they open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from datagate.audit import JsonLinesSink, Sink
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.errors import DatagateError, OperationalError, ProgrammingError
from datagate.gate import state_engine
from datagate.model.caller import ActorKind, Caller
from datagate.model.policy import PolicySet
from datagate.policy import load_policies
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

POLICIES = Path("policies")

_DSN_TELLS = "The data's database, as a libpq connection string or URL."

Dsn = Annotated[str, typer.Option("--dsn", envvar="DATAGATE_DSN", metavar="DSN", help=_DSN_TELLS)]
OptionalDsn = Annotated[str | None, typer.Option("--dsn", envvar="DATAGATE_DSN", metavar="DSN", help=_DSN_TELLS)]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        envvar="DATAGATE_STATE",
        metavar="URL",
        help="Where entitlements, consents and mandates are kept, or as whom they are read, if not by --dsn:"
        " a connection string, or a SQLAlchemy URL.",
    ),
]
Policies = Annotated[
    Path,
    typer.Option("--policies", envvar="DATAGATE_POLICIES", metavar="DIR", help="The directory of policy files."),
]
Words = Annotated[
    Path | None,
    typer.Option(
        "--policies",
        envvar="DATAGATE_POLICIES",
        metavar="DIR",
        help="A directory of policy files: what is recorded must be known there, and of the type that is declared.",
    ),
]
Principal = Annotated[str, typer.Option("--as", metavar="PRINCIPAL", help="In whose name the statement runs.")]
ActorId = Annotated[
    str | None,
    typer.Option("--actor", metavar="ID", help="Who is really connected, if not the principal; needs a mandate."),
]
Kind = Annotated[ActorKind, typer.Option("--actor-kind", help="What is really connected.")]
MandateOption = Annotated[
    str | None, typer.Option("--mandate", metavar="ID", help="The mandate under which the actor acts.")
]
PurposeOption = Annotated[str | None, typer.Option("--purpose", metavar="PURPOSE", help="Why the data is used.")]
AuditFile = Annotated[
    Path | None,
    typer.Option("--audit", envvar="DATAGATE_AUDIT", metavar="FILE", help="Append a JSON line for each decision."),
]
ValidFrom = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Valid from then on (ISO 8601, UTC unless it says); now.")
]
ValidUntil = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Valid before then (ISO 8601); without it, no end.")
]
By = Annotated[
    str | None, typer.Option("--by", metavar="WHO", help="Who records this; by default, whoever the database says.")
]
Why = Annotated[str | None, typer.Option("--why", metavar="REASON", help="Why; kept in the history with the change.")]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="INSTANT", help="As it was recorded then (ISO 8601, UTC unless it says); now."),
]


class Format(Enum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How rows are printed.")]


def caller_of(principal: str, actor: str | None, kind: ActorKind, mandate: str | None, purpose: str | None) -> Caller:
    """The caller that the options name."""
    try:
        return Caller.of(principal, actor=actor, actor_kind=kind, mandate=mandate, purpose=purpose)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def keyring() -> Keyring:
    """The keys that the environment names."""
    return Keyring.from_environment(os.environ)


@contextmanager
def sink(path: Path | None) -> Iterator[Sink | None]:
    """Where decisions are recorded: a file, closed at the end, or Python's logging."""
    if path is None:
        yield None
        return
    found = JsonLinesSink(path)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def store(dsn: str | None, state: str | None) -> Iterator[StateStore]:
    """The state that the options name, closed at the end."""
    where = state or dsn
    if where is None:
        raise typer.BadParameter("say where the state is: --dsn or --state", param_hint="--dsn")
    engine = state_engine(where)
    try:
        yield StateStore(engine)
    finally:
        engine.dispose()


def words(directory: Path | None) -> PolicySet | None:
    """What policies know of roles, attributes, purposes and scopes, where a directory is given."""
    return None if directory is None else load_policies(directory, PostgresPredicates())


def instant(text: str | None, option: str) -> datetime | None:
    """A time as the options spell it."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        what = f"{text!r} is no time; write it like 2027-01-31 or 2027-01-31T12:00:00+01:00"
        raise typer.BadParameter(what, param_hint=option) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def connect_plainly(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection past the gate, for what reads the catalog alone; errors are datagate's."""
    try:
        return psycopg.connect(dsn, autocommit=True)
    except psycopg.Error as error:
        raise connection_fault(error) from None


def connection_fault(error: psycopg.Error) -> DatagateError:
    """What went wrong before anything hidden could be read, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = lines[-1] if lines else type(error).__name__
    if isinstance(error, psycopg.ProgrammingError):
        return ProgrammingError(f"connection string: {what}")
    return OperationalError(f"the database cannot be used: {what}", sqlstate=error.sqlstate)
