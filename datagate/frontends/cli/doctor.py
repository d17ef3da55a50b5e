"""``datagate doctor``: what the service role may do beyond what the policies need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from datagate.audit import MemorySink
from datagate.backends.postgres.standing import Finding, Needs, Severity, examine
from datagate.errors import DatagateError, InternalError
from datagate.frontends.cli.options import POLICIES, Dsn, Format, Policies, State, connect_plainly, keyring
from datagate.gate import Gate
from datagate.model.caller import Caller
from datagate.model.catalog import Catalog
from datagate.model.policy import RelationPolicy
from datagate.stores.postgres import READ_BY_STATEMENTS
from datagate.stores.tables import SCHEMA, metadata

DoctorFormat = Annotated[Format, typer.Option("--format", "-f", help="How findings are printed: table or json.")]


def doctor(dsn: Dsn, state: State = None, policies: Policies = POLICIES, format_: DoctorFormat = Format.TABLE) -> None:
    """Say what the service role may do beyond what the policies need, and the SQL that mends it.

    Exits 1 if something is serious, 2 if it could not look.
    """
    try:
        found = diagnose(dsn, state, policies)
    except (DatagateError, psycopg.Error) as error:
        typer.echo(f"datagate: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None
    _print(found, format_)
    if any(each.severity is Severity.SERIOUS for each in found):
        raise typer.Exit(1)


def diagnose(dsn: str, state: str | None, policies: Path) -> list[Finding]:
    """All findings, the serious ones first; DatagateError or psycopg.Error where it cannot be looked."""
    gate = Gate.open(dsn, policies=policies, state=state, keyring=keyring(), audit=MemorySink())
    with connect_plainly(dsn) as connection:
        found = examine(connection, _needs(gate))
    found += _state_through(gate)
    return sorted(found, key=lambda each: each.severity is not Severity.SERIOUS)


def _needs(gate: Gate) -> Needs:
    """What the rules need of each governed relation, and rewritten statements of the state."""
    needs = {(SCHEMA, table.name): frozenset[str]() for table in metadata.tables.values()}
    needs |= {(SCHEMA, name): frozenset({"SELECT"}) for name in READ_BY_STATEMENTS}
    catalog: Catalog = gate.catalog
    for relation in catalog.relations.values():
        owner = gate.policy_relation(relation)
        if owner is not None:
            needs[relation.name.schema, relation.name.name] = _privileges(gate.policies.relations[owner])
    return needs


def _privileges(policy: RelationPolicy) -> frozenset[str]:
    out = {"SELECT"}
    for rule in policy.rules:
        out |= {"INSERT"} if rule.insert else set()
        out |= {"UPDATE"} if rule.update else set()
        out |= {"DELETE"} if rule.delete else set()
    return frozenset(out)


def _state_through(gate: Gate) -> list[Finding]:
    """Whether the gate lets a caller at the state, asked of a real session."""
    session = gate.session(Caller.of("datagate-doctor"), frontend="doctor")
    found = []
    for table in metadata.tables.values():
        for text in (f"SELECT * FROM {SCHEMA}.{table.name}", f"DELETE FROM {SCHEMA}.{table.name}"):
            try:
                session.admit(text)
            except InternalError:
                raise
            except DatagateError:
                continue
            why = "who can see or change the state decides on rights himself"
            mend = f"take the policy of {SCHEMA}.{table.name} out of the policy files"
            what = "the state can be reached through the gate"
            found.append(Finding(Severity.SERIOUS, what, f"{SCHEMA}.{table.name}", why, mend))
            break
    return found


def _print(found: list[Finding], format_: Format) -> None:
    if format_ is Format.JSON:
        fields = ("what", "where", "why", "mend")
        entries = [{"severity": each.severity.value} | {name: getattr(each, name) for name in fields} for each in found]
        print(json.dumps({"findings": entries}, indent=2, ensure_ascii=False))
        return
    if not found:
        print("nothing to mend")
        return
    table = Table("severity", "what", "where", "why", "run, or do", box=SIMPLE_HEAD, show_edge=False)
    for each in found:
        table.add_row(each.severity.value, each.what, each.where, each.why, each.mend)
    Console(highlight=False, markup=False).print(table)
