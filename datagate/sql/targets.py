"""Holds what a statement writes to the caller's rights: which rows, which columns, and what it may read of them.

The target keeps its place and name, since a join of the relation with itself would lose what others update meanwhile
(PostgreSQL manual, 13.2.1). Its filter stands in the statement's own condition, its masks in the place of the names
of masked columns, and what a new row must satisfy in RETURNING, which sees the row as it was stored, after triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from datagate.errors import Refused, UndefinedColumn, UnsupportedConstruct
from datagate.model.catalog import Relation, RelationKind
from datagate.model.guard import Guard, Target, TargetKey
from datagate.model.policy import Action
from datagate.sql.dialect.nodes import Write
from datagate.sql.inventory import Reference
from datagate.sql.meanings import Meaning, Place, find_meanings
from datagate.sql.outputs import Ctes, Outputs, Sources

SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_KINDS = frozenset({RelationKind.TABLE, RelationKind.PARTITIONED, RelationKind.VIEW})
ACTIONS = {"INSERT": Action.INSERT, "UPDATE": Action.UPDATE, "DELETE": Action.DELETE}

Aim = Callable[[Relation, TargetKey], Target]
"""Gives what a write is held to; Refused where it may not be at all."""


@dataclass(slots=True)
class Held:
    """A statement that writes, what it is held to (by what it does to the target), and the names in it."""

    write: Write
    reference: Reference
    guard: Guard
    others: Sources
    targets: dict[TargetKey, Target] = field(default_factory=dict)
    meanings: list[Meaning] = field(default_factory=list)

    @property
    def returning(self) -> bool:
        """Whether the caller asked for rows."""
        return self.write.args.get("returning") is not None

    @property
    def any_target(self) -> Target:
        """What all of its targets agree on: how the caller sees the relation."""
        return next(iter(self.targets.values()))


def hold_writes(
    root: exp.Expression, references: Sequence[Reference], guards: Mapping[int, Guard], aim: Aim
) -> list[Held]:
    """Find every write below ``root`` and what it is held to; names and values are checked, nothing is changed yet.

    Raises Refused, UndefinedColumn or UnsupportedConstruct, with the column's or relation's name.
    """
    outputs = Outputs(references, guards)
    by_table = {id(reference.table): reference for reference in references}
    held = []
    for write, ctes in _writes(root, outputs, {}):
        reference = by_table[id(write.args["target"])]
        if reference.relation.kind not in _KINDS:
            raise UnsupportedConstruct(f"writing to {reference.alias}, which is not a table")
        others = outputs.sources(write, outputs.with_ctes(write, ctes), ())
        one = Held(write, reference, guards[reference.relation.oid], others)
        _complete_columns(one)
        keys = _keys(one)
        if not keys:
            raise UnsupportedConstruct("MERGE that does nothing")
        for key in keys:
            one.targets[key] = aim(reference.relation, key)
        one.meanings = find_meanings(write, _engine_columns(reference.relation), outputs, ctes)
        for meaning in one.meanings:
            _check_meaning(one, meaning)
        _check_values(one, outputs, ctes)
        held.append(one)
    return held


def _writes(root: exp.Expression, outputs: Outputs, ctes: Ctes) -> Iterator[tuple[Write, Ctes]]:
    """The writes: the statement itself, or items of its WITH (PostgreSQL manual, 7.8.4)."""
    statement = root.this if isinstance(root, exp.Subquery) else root
    with_ = statement.args.get("with_") if isinstance(statement, exp.Expression) else None
    if with_ is not None:
        inner = outputs.with_ctes(statement, ctes)
        for item in with_.expressions:
            if isinstance(item.this, Write):
                yield item.this, inner
    if isinstance(statement, Write):
        yield statement, ctes


def _engine_columns(relation: Relation) -> frozenset[str]:
    return frozenset(column.name for column in relation.columns) | SYSTEM_COLUMNS


# What is written.


def _complete_columns(held: Held) -> None:
    """An INSERT without a list of columns means those that exist for the caller, as many as there are values."""
    write = held.write
    if write.args["action"] == "INSERT" and not write.args.get("columns") and write.args.get("source") is not None:
        write.set("columns", _first_columns(held.guard, _width(write.args["source"])))
    for arm in write.args.get("arms") or ():
        if arm.args["action"] == "INSERT" and not arm.args.get("columns") and arm.args.get("values"):
            arm.set("columns", _first_columns(held.guard, len(arm.args["values"])))


def _first_columns(guard: Guard, width: int | None) -> list[exp.Identifier]:
    names = [column.name for column in guard.columns]
    return [exp.Identifier(this=name, quoted=True) for name in (names if width is None else names[:width])]


def _width(source: exp.Expression) -> int | None:
    """How many columns a query gives, where that is plain to see."""
    while isinstance(source, exp.Subquery):
        source = source.this
    if isinstance(source, exp.SetOperation):
        return _width(source.this)
    if isinstance(source, exp.Values):
        return len(source.expressions[0].expressions)
    if isinstance(source, exp.Select):
        stars = any(isinstance(item, exp.Star) or isinstance(item.this, exp.Star) for item in source.expressions)
        return None if stars else len(source.expressions)
    return None


def _keys(held: Held) -> list[TargetKey]:
    """What the statement does to its target: each action with the columns that it sets."""
    write = held.write

    def key(action: Action, columns: Iterable[str]) -> TargetKey:
        name = held.reference.relation.name
        return TargetKey(name, action, held.reference.alias, frozenset(columns), held.returning)

    action = write.args["action"]
    if action == "MERGE":
        arms = [arm for arm in write.args["arms"] if arm.args["action"] != "NOTHING"]
        return [key(ACTIONS[arm.args["action"]], written_columns(arm)) for arm in arms]
    keys = [key(ACTIONS[action], written_columns(write))]
    conflict = write.args.get("conflict")
    if conflict is not None and conflict.args.get("sets"):
        keys.append(key(Action.UPDATE, written_columns(conflict)))
    return keys


def written_columns(node: exp.Expression) -> list[str]:
    """The columns that an INSERT, an UPDATE, an arm of MERGE or DO UPDATE sets."""
    sets = [column.name for each in node.args.get("sets") or () for column in each.args["columns"]]
    return sets + [column.name for column in node.args.get("columns") or ()]


def _check_values(held: Held, outputs: Outputs, ctes: Ctes) -> None:
    """Refuse values that a masked column flows into, whichever relation it is of."""
    write = held.write
    inner = outputs.with_ctes(write, ctes)
    source = write.args.get("source")
    if source is not None:
        columns = outputs.of(source, inner)
        tainted = columns is None and bool(outputs.masked_names)
        if tainted or any(column.masked for column in columns or ()):
            raise _masked_value(None)
    sources = (*outputs.item(write.args["target"], inner, ()), *outputs.sources(write, inner, ()))
    for value in _values(write):
        if outputs.flows(value, inner, sources):
            raise _masked_value(None)


def _values(write: Write) -> Iterator[exp.Expression]:
    for node in (write, write.args.get("conflict"), *(write.args.get("arms") or ())):
        if node is not None:
            yield from (each.expression for each in node.args.get("sets") or ())
            yield from node.args.get("values") or ()


def _masked_value(column: str | None) -> Refused:
    what = f'column "{column}" is masked' if column else "a masked column is read"
    return Refused(f"{what}: it cannot be used to compute a value that is written")


# What is read of the target.


def _check_meaning(held: Held, meaning: Meaning) -> None:
    name = meaning.node.name
    star = isinstance(meaning.node.this, exp.Star)
    if star:
        if meaning.place is not Place.RETURNING or meaning.nested or not _is_item(meaning, held):
            raise UnsupportedConstruct(f"{held.reference.alias}.* outside of the list of RETURNING")
        if meaning.row != held.reference.alias:
            raise UnsupportedConstruct(f"{meaning.row}.* in RETURNING; name the columns")
        return
    column = held.guard.column(name)
    if column is None:
        if not meaning.node.table and name not in _engine_columns(held.reference.relation):
            raise UnsupportedConstruct(f"the whole row {name}; name its columns")
        if _is_another_items(held, meaning):
            return
        raise UndefinedColumn(f'column "{_spelled(meaning.node)}" does not exist')
    if column.raw or meaning.place is Place.FROM:
        return
    if meaning.place is Place.VALUE:
        raise _masked_value(name)
    if meaning.place is Place.KEY or meaning.row != held.reference.alias:
        raise Refused(f'column "{name}" is masked: it cannot stand in ON CONFLICT, nor as {meaning.row}.{name}')
    if not meaning.sure:
        raise UnsupportedConstruct(f"which column {name} is meant is not certain; write it with its table")


def _spelled(column: exp.Column) -> str:
    return f"{column.table}.{column.name}" if column.table else str(column.name)


def _is_another_items(held: Held, meaning: Meaning) -> bool:
    """Whether a bare name, hidden in the target, is a column of one other item; then it is written with that item."""
    if meaning.node.table or meaning.nested or meaning.place not in (Place.CONDITION, Place.VALUE, Place.RETURNING):
        return False
    owners = [
        source.alias
        for source in held.others
        if any(column.name == meaning.node.name for column in source.columns or ())
    ]
    if len(owners) != 1 or any(source.columns is None for source in held.others):
        return False
    meaning.node.set("table", exp.Identifier(this=owners[0], quoted=True))
    return True


def _is_item(meaning: Meaning, held: Held) -> bool:
    items = held.write.args.get("returning") or ()
    return meaning.node.parent is None or any(item is meaning.node for item in items)
