"""How many statements the road carries exactly: ``python -m benchmarks.carried [--json FILE] [--check]``.

Each query goes from text to verified text before a made-up catalog, in which exactly the relations, columns, functions
and types exist that it names, each relation behind a guard. So what is measured is the carrying alone, without any
policy. Carried means that the verifier accepted the final text: with each guard put back to the bare relation, its tree
equals the tree of the caller's own text. ``dialect``: through sqlglot's tree; ``graft``: through libpg_query's own.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datagate.backends.postgres.backend import ENGINE, carry
from datagate.backends.postgres.engine import parse_tree
from datagate.backends.postgres.statements import StatementKind, read_statement
from datagate.errors import DatagateError, StatementSyntaxError
from datagate.model.catalog import Catalog, Column, Relation, RelationKind
from datagate.model.fragment import Fragment
from datagate.model.guard import Guard, GuardColumn, Target, TargetKey
from datagate.model.names import RelationName
from datagate.sql.rewrite import Surroundings
from datagate.sql.views import Seen
from fixtures import tpcds, tpch
from fixtures.statements import corpus

FLOOR = 0.995
"""The share of all queries that must be carried."""


@dataclass(slots=True)
class Tally:
    """What became of the statements of one source; ``other`` are no queries."""

    source: str
    other: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def queries(self) -> int:
        """How many queries there were."""
        return self.outcomes.total()

    @property
    def carried(self) -> int:
        """How many were carried, by either rendering."""
        return self.outcomes["dialect"] + self.outcomes["graft"]


def named(tree: Any, kind: str) -> Iterator[dict[str, Any]]:
    """Every node of one kind in a tree of libpg_query's."""
    fields = {"RangeVar": ("relation", "rel"), "TypeName": ("typeName", "typname")}.get(kind, ())
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, dict) and (key == kind or (key in fields and value.keys() & {"relname", "names"})):
                yield value
            yield from named(value, kind)
    elif isinstance(tree, list):
        for item in tree:
            yield from named(item, kind)


def strings(nodes: list[dict[str, Any]]) -> list[str]:
    """The names in a list of String nodes."""
    return [node["String"]["sval"] for node in nodes if "String" in node]


def world(text: str) -> tuple[Surroundings, frozenset[str]]:
    """Surroundings in which just what the text names exists, and the functions that it calls."""
    tree = parse_tree(text)
    names = sorted({name for node in named(tree, "ColumnRef") for name in strings(node["fields"])} | {"oid"})
    relations = {}
    variables: list[tuple[str | None, str]] = [
        (node.get("schemaname"), node["relname"]) for node in named(tree, "RangeVar")
    ]
    lookups = [(lookup.relation.schema, lookup.relation.name) for lookup in ENGINE.lookups.values()]
    catalogs = [("pg_catalog", name) for name in ("pg_class", "pg_type", "pg_proc", "pg_namespace", "pg_constraint")]
    literals = [
        tuple(node["arg"]["A_Const"]["sval"]["sval"].rpartition(".")[::2])
        for node in named(tree, "TypeCast")
        if node["typeName"]["names"][-1]["String"]["sval"] == "regclass" and "sval" in node["arg"].get("A_Const", {})
    ]
    variables += [(schema or None, name) for schema, name in literals]
    for number, (schema, name) in enumerate([*variables, *lookups, *catalogs], 1):
        home = schema or ("pg_catalog" if name.startswith("pg_") else "public")
        columns = tuple(
            Column(column, place, "text", "pg_catalog", "text", "text", False, False, False, "")
            for place, column in enumerate(names, 1)
        )
        found = RelationName(home, name)
        relations[found] = Relation(number, found, RelationKind.TABLE, columns, (), None, None, ())
    functions = frozenset(
        spelling for node in named(tree, "FuncCall") for spelling in _spellings(strings(node["funcname"]))
    )
    types = frozenset(spelling for node in named(tree, "TypeName") for spelling in _spellings(strings(node["names"])))
    catalog = Catalog(
        version="1",
        database="d",
        server_version=180000,
        search_path=("pg_catalog", "public"),
        relations=relations,
        functions=functions,
        types=types,
        user_operators=frozenset(),
        user_functions=frozenset(),
        engine_functions=frozenset({"lower", "array_in"}),
    )
    around = Surroundings(catalog, lambda _: Seen.GUARDED, guard, aim, lambda _: None)
    return around, functions - frozenset(ENGINE.lookups)


def _spellings(names: list[str]) -> tuple[str, ...]:
    return names[-1], ".".join(names)


def aim(relation: Relation, key: TargetKey) -> Target:
    """Every row may be touched and every column set."""
    shown = replace(guard(relation), alias='"' + key.alias.replace('"', '""') + '"')
    return Target(shown, None, {}, None, None, Fragment.of("datagate.refuse_row('')"))


def guard(relation: Relation) -> Guard:
    """A guard that shows every column as it is, of the rows that pass a condition."""
    source = f'"{relation.name.schema}"."{relation.name.name}"'
    quoted = ['"' + column.name.replace('"', '""') + '"' for column in relation.columns]
    return Guard(
        relation=relation.name,
        columns=tuple(GuardColumn(column.name, True, "text", True, None) for column in relation.columns),
        primary_key=(),
        targets=tuple(Fragment.of(f"g.{name} AS {name}") for name in quoted),
        source=source,
        after=Fragment.of(" WHERE g.visible"),
    )


def measure(source: str, texts: Iterator[str]) -> Tally:
    """Carry all statements of one source."""
    tally = Tally(source)
    for text in texts:
        try:
            statement = read_statement(text)
        except DatagateError:
            tally.other += 1
            continue
        if statement.kind is not StatementKind.QUERY:
            tally.other += 1
            continue
        try:
            around, functions = world(text)
            carried = carry(text, statement, around, functions, {})
        except StatementSyntaxError:
            tally.other += 1
        except DatagateError as error:
            tally.outcomes["refused"] += 1
            tally.refusals[f"{type(error).__name__}: {error.message}"] += 1
        else:
            tally.outcomes[carried.by] += 1
    return tally


def sources() -> Mapping[str, Iterator[str]]:
    """The statements by source."""
    return {
        "own, written": (statement.text for statement in corpus.written()),
        "own, combined": (statement.text for statement in corpus.combined()),
        "clients": (statement.text for statement in corpus.clients()),
        "TPC-H": iter(tpch.queries().values()),
        "TPC-DS": iter(tpcds.statements().values()),
    }


def main() -> int:
    """Print the table and the reasons; 1 where too few are carried and ``--check`` was given."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--check", action="store_true")
    options = arguments.parse_args()
    tallies = [measure(source, texts) for source, texts in sources().items()]
    queries, carried = sum(tally.queries for tally in tallies), sum(tally.carried for tally in tallies)
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"{'source':16}{'queries':>9}{'dialect':>9}{'graft':>7}{'refused':>9}{'carried':>10}{'no query':>10}")
    for tally in tallies:
        share = tally.carried / tally.queries
        counts = "".join(
            f"{tally.outcomes[name]:>{width}}" for name, width in (("dialect", 9), ("graft", 7), ("refused", 9))
        )
        print(f"{tally.source:16}{tally.queries:>9}{counts}{share:>10.2%}{tally.other:>10}")
    print(f"{'all':16}{queries:>9}{carried / queries:>35.2%}")
    for tally in tallies:
        for reason, count in tally.refusals.most_common():
            print(f"{tally.source:16}{count:>5}  {reason[:160]}")
    if options.json is not None:
        figures = {tally.source: {"queries": tally.queries, **tally.outcomes} for tally in tallies}
        options.json.write_text(json.dumps({**figures, "share": carried / queries}, indent=2) + "\n")
    return int(options.check and carried / queries < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
