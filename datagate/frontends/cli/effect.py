"""``datagate effect``: what a caller sees of every table, and what other policies would change of it; for stewards."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from datagate.backends.postgres.guards import quote
from datagate.errors import Refused, UndefinedRelation
from datagate.frontends import driver
from datagate.frontends.cli.options import (
    POLICIES,
    ActorId,
    Dsn,
    Format,
    FormatOption,
    Kind,
    MandateOption,
    Policies,
    Principal,
    PurposeOption,
    State,
    caller_of,
)
from datagate.frontends.cli.results import print_records
from datagate.frontends.cli.statements import open_gate
from datagate.gate import Gate
from datagate.gate.trace import trace
from datagate.model.caller import ActorKind, Caller
from datagate.model.names import RelationName
from datagate.stores.keyring import Keyring

Against = Annotated[
    Path | None,
    typer.Option("--against", metavar="DIR", help="The policies until now: only what is not the same is printed."),
]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a caller sees of a relation: how many rows, and how each column is shown; or why it is denied."""

    rows: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    denied: str | None = None


UNKNOWN = Sight(denied="no policy file")


def effect(
    principal: Principal,
    dsn: Dsn,
    actor: ActorId = None,
    actor_kind: Kind = ActorKind.PERSON,
    mandate: MandateOption = None,
    purpose: PurposeOption = None,
    policies: Policies = POLICIES,
    against: Against = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Say of every table how many rows a caller sees now, and how each column is shown.

    With --against DIR, what is not the same as under the policies in DIR. Rows are counted, which reads the tables.
    """
    caller = caller_of(principal, actor, actor_kind, mandate, purpose)
    logging.getLogger("datagate.audit").addHandler(logging.NullHandler())
    now = _sights(caller, dsn, state, policies)
    if against is None:
        records = [(name, _rows(sight), ", ".join(_told(sight))) for name, sight in now.items()]
        print_records(["relation", "rows", "columns"], records, format_)
        return
    before = _sights(caller, dsn, state, against)
    changes = [
        (name, *change)
        for name in sorted({*before, *now})
        for change in _changes(before.get(name, UNKNOWN), now.get(name, UNKNOWN))
    ]
    print_records(["relation", "what", "before", "now"], changes, format_)


def _sights(caller: Caller, dsn: str, state: str | None, policies: Path) -> dict[str, Sight]:
    """What the caller sees of each relation that the policies are about; no value is read, so that any keys will do."""
    with open_gate(dsn, state, policies, keys=Keyring.ephemeral(secrets.token_bytes)) as gate:
        return {str(name): _sight(gate, caller, dsn, name) for name in sorted(gate.policies.relations)}


def _sight(gate: Gate, caller: Caller, dsn: str, name: RelationName) -> Sight:
    relation = f"{quote(name.schema)}.{quote(name.name)}"
    try:
        explained = gate.session(caller, frontend="cli").explain(f"SELECT * FROM {relation}")
    except (Refused, UndefinedRelation) as error:
        return Sight(denied=error.audit_reason or error.message)
    with driver.connect(dsn, caller=caller, gate=gate, autocommit=True) as connection:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    scopes = [gate.policies.scopes[each.scope] for each in gate.state.facts(caller, gate.instant()).chain]
    decision = next(each for each in explained.decisions if each.relation == name)
    columns: dict[str, str] = {}
    for shown in trace(decision, gate.policies, scopes).shown:
        said = columns.get(shown.name)
        columns[shown.name] = shown.how.text if said is None else f"{said}; {shown.how.text}"
    return Sight(rows, columns)


def _rows(sight: Sight) -> str:
    return "denied" if sight.denied is not None else f"{sight.rows:,}"


def _told(sight: Sight) -> Iterator[str]:
    if sight.denied is not None:
        yield sight.denied
    for column, how in sight.columns.items():
        yield column if how == "as it is" else f"{column} ({how})"


def _changes(before: Sight, now: Sight) -> Iterator[tuple[str, str, str]]:
    """What is not the same: the rows, and each column."""
    if _rows(before) != _rows(now):
        yield "rows", _rows(before), _rows(now)
    for column in dict.fromkeys([*before.columns, *now.columns]):
        old, new = (sight.columns.get(column, "hidden") for sight in (before, now))
        if old != new:
            yield column, old, new
