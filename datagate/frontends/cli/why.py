"""``datagate why``: whether a caller is shown one row and each of its cells, and what hides the rest; for stewards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import psycopg
import typer

from datagate.errors import ProgrammingError
from datagate.frontends.cli.options import (
    POLICIES,
    ActorId,
    Dsn,
    Format,
    FormatOption,
    Kind,
    MandateOption,
    OptionalDsn,
    Policies,
    Principal,
    PurposeOption,
    State,
    caller_of,
    connect_plainly,
    connection_fault,
    keyring,
    store,
)
from datagate.frontends.cli.results import print_records, printable
from datagate.gate import Condition, Gate, Why, why
from datagate.model.caller import ActorKind
from datagate.model.names import RelationName
from datagate.model.source import SourceRef

RelationArgument = Annotated[str, typer.Argument(metavar="RELATION", help="As schema.name.")]
KeyArgument = Annotated[
    list[str], typer.Argument(metavar="KEY...", help="The row's primary key, one word for each of its columns.")
]


def why_row(
    relation: RelationArgument,
    key: KeyArgument,
    principal: Principal,
    dsn: Dsn,
    actor: ActorId = None,
    actor_kind: Kind = ActorKind.PERSON,
    mandate: MandateOption = None,
    purpose: PurposeOption = None,
    policies: Policies = POLICIES,
    state: State = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Say whether a caller is shown a row and each of its cells; if not, by which rule, consent or mandate.

    For stewards: it takes a connection that may read the row itself, and shows what the caller would not be told. Exits
    0 whether the row is shown or not; a row that does not exist is said to be so.
    """
    caller = caller_of(principal, actor, actor_kind, mandate, purpose)
    try:
        name = RelationName.parse(relation)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="RELATION") from None
    with store(dsn, state) as found, connect_plainly(dsn) as connection:
        try:
            gate = Gate.open(dsn, policies=policies, state=found, keyring=keyring())
            answer = why(gate, caller, name, key, connection)
        except psycopg.Error as error:
            raise connection_fault(error) from None
    if format_ is Format.JSON:
        print(json.dumps(as_json(answer), indent=2, ensure_ascii=False))
    elif format_ is Format.CSV:
        raise ProgrammingError("why prints a table, or JSON")
    else:
        _print(answer)


def reload(dsn: OptionalDsn = None, state: State = None) -> None:
    """Have every gate on this state read its policies again.

    Gates with connections do so at once, others when the next is opened. Each keeps what it has where the new policies
    are wrong; its log (datagate.policies) says which it is.
    """
    with store(dsn, state) as found:
        found.call_for_policies()
    print("the gates on this state were told to read their policies again; their logs say what came of it")


def as_json(answer: Why) -> dict[str, object]:
    """The answer with plain JSON values."""
    return {
        "relation": str(answer.relation),
        "key": list(answer.key),
        "principal": answer.caller.principal,
        "actor": answer.caller.actor.id,
        "mandate": answer.caller.mandate,
        "purpose": answer.caller.purpose,
        "policy_version": answer.policy_version,
        "exists": answer.exists,
        "shown": answer.shown,
        "denied": answer.denied,
        "conditions": [_condition(each) for each in answer.conditions],
        "hidden_by": [_condition(each) for each in answer.hidden_by],
        "cells": [
            {"column": each.column, "shown": each.shown, "how": each.how, "sources": list(map(str, each.sources))}
            for each in answer.cells
        ],
        "change": list(answer.change),
    }


def _condition(each: Condition) -> dict[str, object]:
    return {
        "text": each.text,
        "rule": each.rule,
        "sources": list(map(str, each.sources)),
        "holds": each.holds,
        "change": each.change,
    }


def _print(answer: Why) -> None:
    for line in _lines(answer):
        print(printable(line))
    if answer.cells:
        rows = [(each.column, each.shown, each.how, _places(each.sources)) for each in answer.cells]
        print_records(["column", "shown", "how", "where"], rows, Format.TABLE)


def _lines(answer: Why) -> Iterator[str]:
    row = f"{answer.relation} {', '.join(answer.key)}"
    if not answer.exists:
        yield f"{row}: there is no such row"
    elif answer.shown:
        yield f"{row} is shown"
    else:
        yield f"{row} is hidden"
    if answer.denied is not None:
        yield f"  the whole relation is denied: {answer.denied}"
    for each in answer.conditions:
        blamed = "  <- hides it" if each in answer.hidden_by else ""
        yield f"  {'yes' if each.holds else 'no ':3} {each.text}  ({each.rule} {_places(each.sources)}){blamed}"
    for each in answer.hidden_by:
        if each not in answer.conditions:
            yield f"  no  {each.text}  ({each.rule} {_places(each.sources)})  <- hides it"
    for change in answer.change:
        yield f"  would change it: {change}"


def _places(sources: tuple[SourceRef, ...]) -> str:
    return " ".join(map(str, sources))
