"""What a query gives out: the names of its columns, and which of them come from masked ones.

Two passes over writes ask. Which FROM item has a column of that name? (So that a name is known not to mean the relation
that is written.) And does a mask's value flow into a value that is written? What is not followed counts as unknown,
and unknown as masked wherever a masked column of that name is in play.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from datagate.model.guard import Guard
from datagate.sql.dialect.nodes import FunctionSource, JoinGroup, Write
from datagate.sql.inventory import Reference


@dataclass(frozen=True, slots=True)
class Output:
    """A column that is given out; the name is empty where it is not worked out here."""

    name: str
    masked: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A FROM item: its alias, and its columns (None: not known). ``masked``: what is not known may be."""

    alias: str
    columns: tuple[Output, ...] | None
    masked: bool = False


Ctes = Mapping[str, tuple[Output, ...] | None]
Sources = tuple[Source, ...]


class Outputs:
    """Answers for one statement."""

    def __init__(self, references: Sequence[Reference], guards: Mapping[int, Guard]) -> None:
        self._by_table = {id(reference.table): reference for reference in references}
        self._guards = guards
        self.masked_names = frozenset(
            column.name
            for reference in references
            for column in guards[reference.relation.oid].columns
            if not column.raw
        )

    def of(self, node: exp.Expression, ctes: Ctes, outer: Sources = ()) -> tuple[Output, ...] | None:
        """The output of a query of any kind; None where its columns are not known."""
        ctes = self.with_ctes(node, ctes, outer)
        if isinstance(node, exp.Select):
            sources = self.sources(node, ctes, outer)
            return self._items(node.expressions, ctes, sources, outer)
        if isinstance(node, exp.SetOperation):
            return _both(self.of(node.this, ctes, outer), self.of(node.expression, ctes, outer))
        if isinstance(node, exp.Subquery):
            return self.of(node.this, ctes, outer)
        if isinstance(node, exp.Values):
            return self._values(node, ctes, outer)
        if isinstance(node, Write):
            sources = self.sources(node, ctes, outer)
            target = self.item(node.args["target"], ctes, outer)
            return self._items(node.args.get("returning") or [], ctes, (*target, *sources), outer)
        return None

    def with_ctes(self, node: exp.Expression, ctes: Ctes, outer: Sources = ()) -> Ctes:
        """The WITH items that a query's own parts see."""
        with_ = node.args.get("with_")
        if with_ is None:
            return ctes
        known = dict(ctes)
        if with_.args.get("recursive"):
            known.update({item.alias: None for item in with_.expressions})
        for item in with_.expressions:
            found = self.of(item.this, known, outer)
            known[item.alias] = None if with_.args.get("recursive") else _renamed(found, item.alias_column_names)
        return known

    def sources(self, node: exp.Expression, ctes: Ctes, outer: Sources) -> Sources:
        """The FROM items of a query, as its other clauses see them."""
        found: list[Source] = []
        from_ = node.args.get("from_")
        if from_ is not None:
            found += self.item(from_.this, ctes, outer)
        for join in node.args.get("joins") or ():
            found += self.item(join.this, ctes, (*found, *outer))
        return tuple(found)

    def item(self, node: exp.Expression, ctes: Ctes, outer: Sources) -> Sources:
        """The sources that one FROM item makes."""
        if isinstance(node, exp.Table):
            return (self._table(node, ctes),)
        if isinstance(node, JoinGroup):
            inner = list(self.item(node.this, ctes, outer))
            for join in node.args["joins"]:
                inner += self.item(join.this, ctes, (*inner, *outer))
            if not node.args.get("alias"):
                return tuple(inner)
            return (Source(node.alias, None, any(self._may_be_masked(source) for source in inner)),)
        if isinstance(node, exp.Subquery):
            return (
                Source(node.alias, _renamed(self.of(node.this, ctes, outer), node.alias_column_names), masked=True),
            )
        if isinstance(node, FunctionSource):
            masked = any(self._masked(each, ctes, outer) for each in node.expressions)
            return (Source(node.alias, None, masked),)
        return (Source(node.alias_or_name, None, masked=True),)

    def flows(self, node: exp.Expression, ctes: Ctes, sources: Sources) -> bool:
        """Whether a masked column may be read to compute the value of an expression."""
        return self._masked(node, ctes, sources)

    def _table(self, table: exp.Table, ctes: Ctes) -> Source:
        reference = self._by_table.get(id(table))
        if reference is None:
            columns = ctes.get(table.name)
        else:
            guard = self._guards[reference.relation.oid]
            columns = tuple(Output(column.name, not column.raw) for column in guard.columns)
        return Source(table.alias_or_name, _renamed(columns, table.alias_column_names), masked=True)

    def _values(self, node: exp.Values, ctes: Ctes, outer: Sources) -> tuple[Output, ...]:
        rows = [row.expressions for row in node.expressions]
        return tuple(
            Output(f"column{place + 1}", any(self._masked(row[place], ctes, outer) for row in rows))
            for place in range(len(rows[0]))
        )

    def _items(
        self, items: Sequence[exp.Expression], ctes: Ctes, sources: Sources, outer: Sources
    ) -> tuple[Output, ...] | None:
        out: list[Output] = []
        for item in items:
            if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
                meant = [each for each in sources if isinstance(item, exp.Star) or each.alias == item.table]
                if any(each.columns is None for each in meant):
                    return None
                out += [column for each in meant for column in each.columns or ()]
                continue
            name = item.alias_or_name if isinstance(item, exp.Alias | exp.Column) else ""
            out.append(Output(name, self._masked(item, ctes, (*sources, *outer))))
        return tuple(out)

    def _masked(self, node: exp.Expression, ctes: Ctes, sources: Sources) -> bool:
        if isinstance(node, exp.Exists):
            return False
        if isinstance(node, exp.Query | exp.Values):
            found = self.of(node, ctes, sources)
            return any(column.masked for column in found) if found is not None else self._names_masked(node)
        if isinstance(node, exp.Column):
            return self._column_masked(node, sources)
        return any(self._masked(child, ctes, sources) for child in _children(node))

    def _names_masked(self, node: exp.Expression) -> bool:
        return any(column.name in self.masked_names for column in node.find_all(exp.Column)) or (
            bool(self.masked_names) and node.find(exp.Star) is not None
        )

    def _column_masked(self, column: exp.Column, sources: Sources) -> bool:
        """Whether a column may be a masked one; sources further in come first, but all of that name count."""
        star = isinstance(column.this, exp.Star)
        for source in sources:
            if column.table and source.alias != column.table:
                continue
            if star or (not column.table and source.alias == column.name and not _has(source, column.name)):
                # A whole row.
                return self._may_be_masked(source)
            if source.columns is None:
                if source.masked and (column.table or column.name in self.masked_names):
                    return column.name in self.masked_names or bool(column.table and self.masked_names)
                continue
            found = [each for each in source.columns if each.name == column.name]
            if found:
                return any(each.masked for each in found)
        return column.name in self.masked_names

    def _may_be_masked(self, source: Source) -> bool:
        if source.columns is None:
            return source.masked and bool(self.masked_names)
        return any(column.masked for column in source.columns)


def _has(source: Source, name: str) -> bool:
    return source.columns is not None and any(column.name == name for column in source.columns)


def _children(node: exp.Expression) -> Iterator[exp.Expression]:
    for value in node.args.values():
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, exp.Expression):
                yield child


def _renamed(columns: tuple[Output, ...] | None, names: Sequence[str]) -> tuple[Output, ...] | None:
    if columns is None or not names:
        return columns
    return tuple(
        Output(names[place], column.masked) if place < len(names) else column for place, column in enumerate(columns)
    )


def _both(left: tuple[Output, ...] | None, right: tuple[Output, ...] | None) -> tuple[Output, ...] | None:
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple(Output(one.name, one.masked or two.masked) for one, two in zip(left, right, strict=True))
