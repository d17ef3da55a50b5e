"""What names mean in a statement that writes: whether one could reach a column of the target that it must not.

In the final text the target stands with all of its columns. So in every place that sees it, a name may mean one of them
only if the caller sees that column raw; a masked one must have been replaced by its mask; a hidden one, or the whole
row, must not be named. Where it is not certain that a name means something else, it counts as the target's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datagate.model.names import RelationName
from datagate.verify.names import Names
from datagate.verify.prescription import Prescription, read_guard
from datagate.verify.tree import Tree, kind_of, strings

SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
ROW = ""
"""In the place of a column's name: the whole row, or all columns."""


@dataclass(frozen=True, slots=True)
class Level:
    """The FROM items of a query that stands between a name and the statement that writes.

    ``unknown``: there may be more columns. ``unsure``: only some of the items may be visible.
    """

    aliases: frozenset[str]
    columns: frozenset[str]
    unknown: bool
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The relation that is written, as the names in one clause see it.

    ``rows``: the names of its rows: the alias; ``excluded``; ``old`` and ``new``. ``raw``: columns that may be named;
    ``shown``: masked ones with what must stand in their place; ``known``: all columns that the engine knows;
    ``others``: the columns of the statement's other FROM items, by alias.
    """

    relation: RelationName
    alias: str
    rows: frozenset[str]
    raw: frozenset[str]
    shown: Mapping[str, Tree]
    visible: frozenset[str]
    known: frozenset[str]
    others: Mapping[str, frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What of the target a name may mean: a column, or ROW. ``sure``: it means nothing else."""

    column: str
    sure: bool
    row: str


def meaning(fields: Sequence[Tree], target: Target, levels: Sequence[Level]) -> Meaning | None:
    """What of the target a reference may mean; None where it certainly means nothing of it."""
    path = strings(fields)
    last = path[-1] if len(path) == len(fields) else ROW
    sure: bool | None
    if len(fields) > 2:  # schema.table.column
        named = [target.relation.schema, target.relation.name]
        qualified = path[:2] == named and target.alias == target.relation.name
        sure = _sure_of_alias(path[1], levels) is True if qualified else False
        return Meaning(last, sure, target.alias) if qualified else None
    if len(fields) == 1:
        if not path:
            return None  # a star shows the items of its own query
        (name,) = path
        if name in target.known:
            sure = _sure_of_column(name, levels)
            return None if sure is None else Meaning(name, sure, target.alias)
        if name in target.rows:
            sure = _sure_of_alias(name, levels)
            return None if sure is None else Meaning(ROW, sure, name)
        return None
    if path[0] not in target.rows:
        return None
    sure = _sure_of_alias(path[0], levels)
    return None if sure is None else Meaning(last, sure, path[0])


def _sure_of_alias(alias: str, levels: Sequence[Level]) -> bool | None:
    for level in reversed(levels):
        if alias in level.aliases:
            return False if level.unsure else None
    return True


def _sure_of_column(name: str, levels: Sequence[Level]) -> bool | None:
    sure = True
    for level in reversed(levels):
        if name in level.columns and not level.unsure:
            return None
        sure = sure and not (level.unknown or name in level.columns)
    return sure


class Items:
    """Reads what names the items of a FROM clause give."""

    def __init__(self, names: Names, prescriptions: Mapping[RelationName, Prescription]) -> None:
        self._names = names
        self._prescriptions = prescriptions

    def level(self, from_clause: Sequence[Tree], ctes: frozenset[str], *, unsure: bool = False) -> Level:
        """The names that all items together give."""
        found = self.columns(from_clause, ctes)
        known = frozenset(column for columns in found.values() if columns is not None for column in columns)
        return Level(frozenset(found), known, any(columns is None for columns in found.values()), unsure)

    def columns(self, from_clause: Sequence[Tree], ctes: frozenset[str]) -> dict[str, frozenset[str] | None]:
        """The items by alias, each with its columns (None: not known here)."""
        found: dict[str, frozenset[str] | None] = {}
        for item in from_clause:
            self._add(item, ctes, found)
        return found

    def _add(self, item: Tree, ctes: frozenset[str], found: dict[str, frozenset[str] | None]) -> None:
        kind = kind_of(item)
        body = item[kind]
        if kind == "RangeTableSample":
            self._add(body["relation"], ctes, found)
        elif kind == "RangeVar":
            alias = body.get("alias", {"aliasname": body["relname"]})
            found[alias["aliasname"]] = None if "colnames" in alias else self._relation(body, ctes)
        elif kind == "RangeSubselect" and "alias" in body:
            names = None if "colnames" in body["alias"] else _output(body["subquery"])
            found[body["alias"]["aliasname"]] = names
        elif kind == "JoinExpr":
            inner: dict[str, frozenset[str] | None] = {}
            self._add(body["larg"], ctes, inner)
            self._add(body["rarg"], ctes, inner)
            # Below an alias of the join the items' own names are gone, and some of their columns may be.
            found.update({body["alias"]["aliasname"]: None} if "alias" in body else inner)
        else:
            found[body.get("alias", {}).get("aliasname", f" {len(found)}")] = None

    def _relation(self, var: Tree, ctes: frozenset[str]) -> frozenset[str] | None:
        if "schemaname" not in var and var["relname"] in ctes:
            return None
        name = self._names.relation(var.get("schemaname"), var["relname"])
        prescription = self._prescriptions.get(name) if name is not None else None
        if name is None or prescription is None or prescription.guard is None:
            return None
        return frozenset(read_guard(prescription.guard, name).columns)


def _output(subquery: Tree) -> frozenset[str] | None:
    """The names of a SELECT's columns, where each is written down."""
    names = set()
    for target in subquery.get("SelectStmt", {}).get("targetList", [{}]):
        body = target.get("ResTarget", {})
        fields = body.get("val", {}).get("ColumnRef", {}).get("fields", ())
        path = strings(fields)
        if "name" in body:
            names.add(body["name"])
        elif path and len(path) == len(fields):
            names.add(path[-1])
        else:
            return None
    return frozenset(names)
