"""Which names in a statement that writes mean columns of the relation that is written.

The target stands in the final text under its own name, with all of its columns. So each name that may mean one of them
must be found: a masked one is replaced by its mask, a hidden one does not exist. PostgreSQL looks a name up from the
innermost query outwards (manual, 7.8, 4.2.1); a name that some query in between may have, but need not, is unsure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from sqlglot import exp

from datagate.sql.dialect.nodes import Assignment, FunctionSource, IndexKey, JoinGroup, MergeArm, Write
from datagate.sql.outputs import Ctes, Output, Outputs, Source, Sources


class Place(Enum):
    """Where a name stands: in a condition, in a value that is written, in RETURNING, in a key of ON CONFLICT, in FROM.

    FROM does not see the target, but a server's complaint there would tell that a column exists.
    """

    CONDITION = "condition"
    VALUE = "value"
    RETURNING = "returning"
    KEY = "key"
    FROM = "from"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A name that means a column, or the whole row, of the target. ``sure``: it can mean nothing else.

    ``row``: which row of it: the alias, or ``excluded``, ``old``, ``new``. ``nested``: it stands in a query of its own.
    """

    node: exp.Column
    place: Place
    sure: bool
    row: str
    nested: bool


@dataclass(frozen=True, slots=True)
class _Level:
    """A query between the name and the statement; ``unsure``: only some of its items may be visible there."""

    sources: Sources
    unsure: bool = False
    keys: frozenset[str] = frozenset()


_Levels = tuple[_Level, ...]
_ROWS = {Place.RETURNING: ("old", "new")}


def find_meanings(write: Write, names: frozenset[str], outputs: Outputs, ctes: Ctes) -> list[Meaning]:
    """All names in the statement that may mean its target, stars among them.

    ``names``: all columns that the engine knows of the target; ``ctes``: the WITH items around the statement.
    """
    seeker = _Seeker(write, names, outputs)
    ctes = outputs.with_ctes(write, ctes)
    for place, part in _parts(write):
        rows = ("excluded",) if place is Place.VALUE and write.args.get("conflict") is not None else ()
        seeker.seek(part, place, ctes, (), (*_ROWS.get(place, ()), *rows))
    for item in _from_items(write):
        seeker.item(item, Place.FROM, ctes, (), _Level(outputs.sources(write, ctes, ()), unsure=True))
    return seeker.found


def _parts(write: Write) -> Iterator[tuple[Place, exp.Expression]]:
    args = write.args
    for assignment in args.get("sets") or ():
        yield Place.VALUE, assignment.expression
    for key in ("where", "on"):
        if args.get(key) is not None:
            yield Place.CONDITION, args[key]
    conflict = args.get("conflict")
    if conflict is not None:
        yield from _of_conflict(conflict)
    for arm in args.get("arms") or ():
        yield from _of_arm(arm)
    for item in args.get("returning") or ():
        yield Place.RETURNING, item


def _of_conflict(conflict: exp.Expression) -> Iterator[tuple[Place, exp.Expression]]:
    for key in conflict.args.get("keys") or ():
        yield Place.KEY, key
    if conflict.args.get("predicate") is not None:
        yield Place.KEY, conflict.args["predicate"]
    for assignment in conflict.args.get("sets") or ():
        yield Place.VALUE, assignment.expression
    if conflict.args.get("where") is not None:
        yield Place.CONDITION, conflict.args["where"]


def _of_arm(arm: MergeArm) -> Iterator[tuple[Place, exp.Expression]]:
    if arm.args.get("condition") is not None:
        yield Place.CONDITION, arm.args["condition"]
    for assignment in arm.args.get("sets") or ():
        yield Place.VALUE, assignment.expression
    for value in arm.args.get("values") or ():
        yield Place.VALUE, value


def _from_items(write: Write) -> Iterator[exp.Expression]:
    from_ = write.args.get("from_")
    if from_ is not None:
        yield from_.this
    yield from write.args.get("joins") or ()


class _Seeker:
    def __init__(self, write: Write, names: frozenset[str], outputs: Outputs) -> None:
        self._names = names
        self._alias = write.args["target"].alias_or_name
        self._outputs = outputs
        self.found: list[Meaning] = []

    def seek(self, node: exp.Expression, place: Place, ctes: Ctes, levels: _Levels, rows: Sequence[str]) -> None:
        """Look through an expression."""
        if isinstance(node, exp.Query | exp.Values):
            self._query(node, place, ctes, levels, rows)
        elif isinstance(node, exp.Column):
            self._column(node, place, levels, rows)
        elif isinstance(node, exp.Star) and place is Place.RETURNING and not levels:
            if isinstance(node.parent, Write):
                self.found.append(Meaning(exp.Column(this=exp.Star()), place, True, self._alias, nested=False))
        else:
            for child in _children(node):
                self.seek(child, place, ctes, levels, rows)

    def _column(self, node: exp.Column, place: Place, levels: _Levels, rows: Sequence[str]) -> None:
        for row in (self._alias, *rows):
            sure = self._sure(node, row, levels)
            if sure is not None:
                self.found.append(Meaning(node, place, sure, row, nested=bool(levels)))
                return

    def _sure(self, node: exp.Column, row: str, levels: _Levels) -> bool | None:
        """Whether a name certainly means that row of the target, or a column of it; None: certainly not."""
        if node.table:
            return _sure_of_alias(row, levels) if node.table == row else None
        if row == self._alias and node.name in self._names:
            return _sure_of_name(node.name, levels)
        # The engine takes a bare name for a whole row where no column has it.
        return _sure_of_alias(row, levels) if node.name == row else None

    def _query(self, node: exp.Expression, place: Place, ctes: Ctes, levels: _Levels, rows: Sequence[str]) -> None:
        with_ = node.args.get("with_")
        around = tuple(source for level in reversed(levels) for source in level.sources)
        if with_ is not None:
            inner = self._outputs.with_ctes(node, ctes, around)
            for item in with_.expressions:
                self.seek(item.this, place, inner, levels, rows)
            ctes = inner
        level = _Level((), unsure=False)
        if isinstance(node, exp.Select):
            level = _Level(self._outputs.sources(node, ctes, around), keys=_keys(node))
            for item in _from_items_of(node):
                self.item(item, place, ctes, levels, replace(level, unsure=True), rows)
        elif isinstance(node, exp.SetOperation):
            # Behind a set operation names are those of its output.
            level = _Level((Source("", None),), unsure=True)
        for key, value in node.args.items():
            if key in ("with_", "from_", "joins", "locks", "alias"):
                continue
            operand = key in ("this", "expression") and not isinstance(node, exp.Select)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, exp.Expression):
                    self.seek(child, place, ctes, levels if operand else (*levels, level), rows)

    def item(
        self,
        node: exp.Expression,
        place: Place,
        ctes: Ctes,
        levels: _Levels,
        level: _Level,
        rows: Sequence[str] = (),
    ) -> None:
        """Look through a FROM item of a query whose own items are ``level``."""
        if isinstance(node, exp.Join):
            self.item(node.this, place, ctes, levels, level, rows)
            if node.args.get("on") is not None:
                self.seek(node.args["on"], place, ctes, (*levels, level), rows)
        elif isinstance(node, JoinGroup):
            for part in (node.this, *node.args["joins"]):
                self.item(part, place, ctes, levels, level, rows)
        elif isinstance(node, exp.Subquery):
            inner = (*levels, level) if node.args.get("lateral") else levels
            self.seek(node.this, place, ctes, inner, rows)
        elif isinstance(node, FunctionSource):
            for each in node.expressions:
                self.seek(each, place, ctes, (*levels, level), rows)
        elif isinstance(node, exp.Table) and node.args.get("sample") is not None:
            self.seek(node.args["sample"], place, ctes, levels, rows)


def _sure_of_alias(alias: str, levels: _Levels) -> bool | None:
    """Whether a qualified name certainly means the target; None where it certainly does not."""
    for level in reversed(levels):
        if any(source.alias == alias for source in level.sources):
            return False if level.unsure else None
    return True


def _sure_of_name(name: str, levels: _Levels) -> bool | None:
    sure = True
    for level in reversed(levels):
        known = {column.name for source in level.sources for column in source.columns or ()}
        if name in known and not level.unsure:
            return None if sure else False
        unknown = any(source.columns is None or _unnamed(source.columns) for source in level.sources)
        sure = sure and not (unknown or name in known or name in level.keys)
    return sure


def _unnamed(columns: Sequence[Output]) -> bool:
    return any(not column.name for column in columns)


def _keys(select: exp.Select) -> frozenset[str]:
    """Names of the output that ORDER BY may mean."""
    if select.args.get("order") is None and select.args.get("group") is None:
        return frozenset()
    bare = {
        key.name
        for clause in (select.args.get("order"), select.args.get("group"))
        for key in (clause.expressions if clause is not None else ())
        for key in ((key.this if isinstance(key, exp.Ordered) else key),)
        if isinstance(key, exp.Column) and not key.table
    }
    return frozenset(bare & {item.alias for item in select.expressions if isinstance(item, exp.Alias)})


def _from_items_of(select: exp.Select) -> Iterator[exp.Expression]:
    from_ = select.args.get("from_")
    if from_ is not None:
        yield from_.this
    yield from select.args.get("joins") or ()


def _children(node: exp.Expression) -> Iterator[exp.Expression]:
    if isinstance(node, Assignment):
        yield node.expression
        return
    if isinstance(node, IndexKey):
        yield node.this
        return
    for value in node.args.values():
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, exp.Expression):
                yield child
