"""``datagate query`` runs a statement as a caller; ``datagate explain`` shows what would be sent, and why."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from datagate.audit import Sink
from datagate.backends.postgres.layout import laid_out
from datagate.errors import DatagateError
from datagate.frontends import driver
from datagate.frontends.cli.options import (
    POLICIES,
    ActorId,
    AuditFile,
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
    connection_fault,
    keyring,
    sink,
    store,
)
from datagate.frontends.cli.results import print_result, result_of
from datagate.gate import Explained, Gate
from datagate.gate.trace import Line, Trace, trace
from datagate.model.caller import ActorKind, Caller
from datagate.stores.keyring import Keyring

Sql = Annotated[str, typer.Argument(metavar="SQL", help="One statement; - reads it from standard input.")]

_WIDE = 88


def query(
    sql: Sql,
    principal: Principal,
    dsn: Dsn,
    actor: ActorId = None,
    actor_kind: Kind = ActorKind.PERSON,
    mandate: MandateOption = None,
    purpose: PurposeOption = None,
    policies: Policies = POLICIES,
    state: State = None,
    audit: AuditFile = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Run one statement as a caller, and print the rows that the caller may see.

    Keys of masks come from the file that DATAGATE_KEYRING names, or from DATAGATE_KEY_<NAME>.
    """
    caller = caller_of(principal, actor, actor_kind, mandate, purpose)
    # Refusals are told once, by the error; records go to a file, or to whoever listens to Python's logging.
    logging.getLogger("datagate.audit").addHandler(logging.NullHandler())
    with (
        sink(audit) as kept,
        open_gate(dsn, state, policies, kept) as gate,
        driver.connect(dsn, caller=caller, gate=gate, autocommit=True) as connection,
    ):
        cursor = connection.execute(_text(sql))
        print_result(result_of(cursor), format_)


def explain(
    sql: Sql,
    principal: Principal,
    dsn: Dsn,
    actor: ActorId = None,
    actor_kind: Kind = ActorKind.PERSON,
    mandate: MandateOption = None,
    purpose: PurposeOption = None,
    policies: Policies = POLICIES,
    state: State = None,
) -> None:
    """Print what would be sent for a statement, without running it.

    Each row condition, mask and hidden column is traced to the policy's file and line, as comments: what is printed
    is SQL. For stewards: a refusal comes with its reason, which the caller would not be told.
    """
    caller = caller_of(principal, actor, actor_kind, mandate, purpose)
    with open_gate(dsn, state, policies) as gate:
        try:
            explained = gate.session(caller, frontend="cli").explain(_text(sql))
        except DatagateError as error:
            if error.audit_reason and error.audit_reason != error.message:
                error.message = f"{error.message} (for stewards: {error.audit_reason})"
            raise
        for line in _explained(gate, caller, explained):
            print(line)


@contextmanager
def open_gate(
    dsn: str, state: str | None, policies: Path, audit: Sink | None = None, *, keys: Keyring | None = None
) -> Iterator[Gate]:
    """A gate whose state is closed at the end."""
    with store(dsn, state) as found:
        try:
            gate = Gate.open(dsn, policies=policies, state=found, keyring=keys or keyring(), audit=audit)
        except psycopg.Error as error:
            raise connection_fault(error) from None
        yield gate


def _text(sql: str) -> str:
    return sys.stdin.read() if sql == "-" else sql


def _explained(gate: Gate, caller: Caller, explained: Explained) -> Iterator[str]:
    yield laid_out(explained.admitted.text) + ";"
    first = explained.admitted.caller_parameters + 1
    if explained.bindings:
        yield ""
    for number, (binding, value) in enumerate(
        zip(explained.bindings, explained.admitted.parameters, strict=True), first
    ):
        secret = binding.name.startswith("key.")
        yield f"-- ${number}  {binding.name} {binding.type.value} = {'(secret)' if secret else _spelled(value)}"
    facts = gate.state.facts(caller, gate.instant())
    scopes = [gate.policies.scopes[each.scope] for each in facts.chain]
    for decision in explained.decisions:
        yield ""
        for text, place in traced_lines(trace(decision, gate.policies, scopes)):
            yield f"-- {text:<{_WIDE}}  {place}".rstrip()


def _spelled(value: object) -> str:
    if value is None:
        return "NULL"
    return "{" + ", ".join(map(str, value)) + "}" if isinstance(value, tuple) else str(value)


def traced_lines(traced: Trace) -> Iterator[tuple[str, str]]:
    """A trace as pairs of text and place."""
    yield str(traced.decision.relation), ""
    for rule in traced.rules:
        yield f"  rule     {rule.name}", str(rule.source)
    if not traced.rows:
        yield "  rows     all", ""
    for line in traced.rows:
        yield f"  rows     {'  ' * line.depth}{line.text}", _places(line)
    wide = max((len(each.name) for each in traced.shown), default=0)
    for each in traced.shown:
        yield f"  column   {each.name:<{wide}}  {each.how.text}", _places(each.how)
    for hidden in traced.hidden:
        yield f"  hidden   {', '.join(hidden.names)}: {hidden.why.text}", _places(hidden.why)


def _places(line: Line) -> str:
    return " ".join(map(str, line.sources))
