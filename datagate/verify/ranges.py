"""What the names of FROM items mean, judged for the whole statement at once.

Two questions need it. May ``schema.table.column`` lose its schema? And may ``x.name`` call a function? (PostgreSQL
reads ``x.f`` as ``f(x)`` where x has no column f: manual, 8.16.5.) Both answers would need the engine's scoping of FROM
items, level by level. We ask for more instead: that *every* FROM item of that name, anywhere in the statement, gives
the same answer; then it does not matter which of them is meant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from datagate.model.names import RelationName
from datagate.verify.mismatch import differs, forbidden
from datagate.verify.names import Names
from datagate.verify.tree import Tree


@dataclass(frozen=True, slots=True)
class Range:
    """One FROM item.

    ``relation``: set if it is a relation without an alias. ``record``: its whole row has no named type.
    """

    relation: RelationName | None
    columns: frozenset[str]
    record: bool


class Ranges:
    """All FROM items of a statement by the names that they are known by, and the references to be judged."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.items: defaultdict[str, set[Range]] = defaultdict(set)
        self.unnamed = False
        self.shortened: set[RelationName] = set()
        self.references: set[tuple[str, str]] = set()

    def add_relation(self, relation: RelationName | None, alias: Tree, columns: Sequence[str]) -> None:
        """A relation under its guard or view: the alias may rename columns from the left."""
        renamed = [node["String"]["sval"] for node in alias.get("colnames", ())]
        shown = frozenset((*renamed, *columns[len(renamed) :]))
        self.items[alias["aliasname"]].add(Range(relation, shown, record=True))

    def add_query(self, name: str) -> None:
        """A WITH item or subquery."""
        self.items[name].add(Range(None, frozenset(), record=True))

    def add_temporary(self, name: str) -> None:
        """A temporary table of the session's own, of which the columns are not known here."""
        self.items[name].add(Range(None, frozenset(), record=False))

    def add_join(self, join: Tree) -> None:
        """A join's alias, and the alias of its USING clause."""
        for field in ("alias", "join_using_alias"):
            if field in join:
                self.add_query(join[field]["aliasname"])

    def add_item(self, kind: str, item: Tree) -> None:
        """Any other FROM item; a function without an alias has some name that is not worked out here."""
        if "alias" in item:
            named = {node["String"]["sval"] for node in item["alias"].get("colnames", ())}
            defined = {node["ColumnDef"]["colname"] for node in item.get("coldeflist", ())}
            record = kind != "RangeFunction"
            self.items[item["alias"]["aliasname"]].add(Range(None, frozenset(named | defined), record=record))
        elif kind != "RangeSubselect":
            self.unnamed = True

    def add_reference(self, path: Sequence[str]) -> None:
        """The last two names of a reference to a column; a star has no second."""
        if len(path) == 2:
            self.references.add((path[0], path[1]))

    def settle(self) -> None:
        """Judge all references, once the whole statement has been walked."""
        for relation in self.shortened:
            # The engine finds S.T.c by the relation, among items without an alias, and T.c by the name; here both
            # find the same items at every level.
            found = self.items[relation.name]
            if self.unnamed or {item.relation for item in found} != {relation}:
                raise differs("a reference with a schema, which may mean another FROM item without it,")
        for name, column in self.references:
            if not self.names.harmless_attribute(column) and not self._is_column(name, column):
                raise forbidden(f"{name}.{column}, which could be a function,")

    def _is_column(self, name: str, column: str) -> bool:
        found = self.items[name]
        if self.unnamed or not found:
            return False
        on_record = self.names.harmless_on_record(column)
        return all(column in item.columns or (item.record and on_record) for item in found)
