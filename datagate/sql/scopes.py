"""What is known of FROM items and of the outputs of queries: columns, and the guards that stand below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from datagate.sql.dialect.nodes import JoinGroup
from datagate.sql.inventory import Reference
from datagate.sql.knowledge import LEAKY, Knowledge, comparable


@dataclass(slots=True)
class Source:
    """One FROM item: what is known of its columns, and which references stand below it.

    ``leakproof``: computing it cannot raise. ``sinking``: it holds leaky conditions, which may name other items.
    ``several``: it is a join under one alias.
    """

    alias: str
    columns: Mapping[str, Knowledge] | None
    below: list[Reference]
    reference: Reference | None = None
    nullable: bool = False
    leakproof: bool = True
    sinking: bool = False
    several: bool = False

    def know(self, name: str) -> Knowledge | None:
        """Knowledge of a column, None where this source has no such column."""
        if self.columns is None:
            return LEAKY
        return self.columns.get(name)


@dataclass(slots=True)
class Scope:
    """The sources of one SELECT, and the scopes around it."""

    sources: list[Source] = field(default_factory=list)
    outer: Scope | None = None

    def resolve(self, column: exp.Column) -> Knowledge:
        """Innermost scope first, as the engine resolves names; what cannot be resolved is leaky."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.own(column)
            if found is not None:
                return found
            scope = scope.outer
        return LEAKY

    def names(self, column: exp.Column) -> bool:
        """Whether the column is certainly one of this scope, not of one around it."""
        for source in self.sources:
            if column.table == source.alias:
                return True
            if not column.table and source.columns is not None and column.name in source.columns:
                return True
        return False

    def own(self, column: exp.Column) -> Knowledge | None:
        """Knowledge of a column of this scope, None where it has none of that name."""
        if isinstance(column.this, exp.Star) or column.args.get("db") is not None:
            return LEAKY
        if column.table:
            for source in self.sources:
                if source.alias == column.table:
                    return source.know(column.name) or LEAKY
            return None
        found = [known for source in self.sources if (known := source.know(column.name)) is not None]
        if len(found) > 1:
            pieces = max(known.pieces for known in found)
            return Knowledge(all(known.leakproof for known in found), found[0].type, pieces=pieces)
        return found[0] if found else None


@dataclass(slots=True)
class Output:
    """A query's output columns in order (None: not known), whether all of it is leak-proof, and what is below.

    ``sinking``: there are leaky conditions in it, which may name what stands outside it.
    """

    columns: list[tuple[str, Knowledge]] | None
    leakproof: bool
    below: list[Reference]
    sinking: bool = False


UNKNOWN = Output(None, leakproof=False, below=[], sinking=True)
"""Of what is not followed nothing is assumed."""


def derived(alias: str, output: Output) -> Source:
    """The source that a derived table or an item of WITH is."""
    return Source(alias, as_map(output.columns), output.below, leakproof=output.leakproof, sinking=output.sinking)


def joined(alias: str, sources: Sequence[Source]) -> Source:
    """The source that an aliased join is: its columns are not followed."""
    return Source(
        alias,
        None,
        [reference for source in sources for reference in source.below],
        leakproof=all(source.leakproof for source in sources),
        sinking=any(source.sinking for source in sources),
        several=True,
    )


def renamed(output: Output, names: Sequence[str]) -> Output:
    """The output under the column names of an alias; those left over keep theirs."""
    if not names or output.columns is None:
        return output
    columns = [
        (names[index] if index < len(names) else name, known) for index, (name, known) in enumerate(output.columns)
    ]
    return Output(columns, output.leakproof, output.below, output.sinking)


def as_map(columns: list[tuple[str, Knowledge]] | None) -> Mapping[str, Knowledge] | None:
    """The columns by name; one of a name that stands twice is leaky."""
    if columns is None:
        return None
    out: dict[str, Knowledge] = {}
    for name, known in columns:
        out[name] = Knowledge(known.leakproof and name not in out, known.type, known.digits, pieces=known.pieces)
    return out


def all_columns(sources: Iterable[Source]) -> list[tuple[str, Knowledge]] | None:
    """What ``*`` means over the sources; None where one of them is not known."""
    out: list[tuple[str, Knowledge]] = []
    for source in sources:
        if source.columns is None:
            return None
        out.extend(source.columns.items())
    return out


def belongs(column: exp.Column, source: Source, scope: Scope) -> bool:
    """Whether the column is certainly of that source."""
    if column.table:
        return column.table == source.alias and source.know(column.name) is not None
    owners = [other for other in scope.sources if other.columns is None or column.name in other.columns]
    return owners == [source]


def leaky_join(select: exp.Expression, scope: Scope) -> bool:
    """USING and NATURAL compare columns by name: every pair so compared must be leak-proof."""
    for join in select.find_all(exp.Join):
        if join.parent is not select and not isinstance(join.parent, JoinGroup):
            continue
        names = {item.name for item in join.args.get("using") or []}
        if merges(join) and not names:
            if any(source.columns is None for source in scope.sources):
                return True
            names = {name for source in scope.sources for name in source.columns or ()}
        for name in names:
            found = [known for source in scope.sources if (known := source.know(name)) is not None]
            if not found or not all(comparable(found[0], known) for known in found):
                return True
    return False


def merges(join: exp.Join) -> bool:
    """Whether the join merges columns of one name."""
    return bool(join.args.get("using")) or (join.method or "").upper() == "NATURAL"


def either(left: Output, right: Output) -> list[tuple[str, Knowledge]] | None:
    """The columns of a set operation, named as on its left; None where those of a side are not known."""
    if left.columns is None or right.columns is None or len(left.columns) != len(right.columns):
        return None
    columns = []
    for (name, one), (_, two) in zip(left.columns, right.columns, strict=True):
        type_ = one.type if one.type == two.type else None
        pieces = max(one.pieces, two.pieces)
        columns.append((name, Knowledge(one.leakproof and two.leakproof, type_, pieces=pieces)))
    return columns
