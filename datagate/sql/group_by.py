"""GROUP BY a primary key: PostgreSQL then lets other columns of the table stand ungrouped (manual, 7.2.3).

A guard has no primary key, so the columns that lean on that rule are added to the GROUP BY; since the key
determines them, the groups stay the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlglot import exp

from datagate.errors import UnsupportedConstruct
from datagate.model.guard import Guard
from datagate.sql.dialect.nodes import GroupingSet
from datagate.sql.inventory import Reference

_NOT_GROUPABLE = frozenset({"json", "xml", "point", "box", "polygon", "line", "lseg", "path", "circle"})


def extend_group_by(nodes: Iterable[exp.Expr], references: Sequence[Reference], guards: Mapping[int, Guard]) -> None:
    """Extend every GROUP BY of the statement that names a guarded relation's whole primary key, in place."""
    by_table = {id(reference.table): reference for reference in references}
    for select in nodes:
        if not isinstance(select, exp.Select):
            continue
        group = select.args.get("group")
        if group is None or not group.expressions:
            continue
        if any(isinstance(item, GroupingSet) for item in group.expressions):
            continue
        grouped = {_name(item) for item in group.expressions if isinstance(item, exp.Column)}
        for table in _own_tables(select):
            reference = by_table.get(id(table))
            if reference is not None:
                _extend(select, group, grouped, reference, guards[reference.relation.oid])


def _extend(
    select: exp.Select, group: exp.Group, grouped: set[tuple[str, str]], reference: Reference, guard: Guard
) -> None:
    alias = reference.alias
    if not guard.primary_key or reference.table.alias_column_names:
        return
    for key in guard.primary_key:
        column = guard.column(key)
        if column is None or not column.raw or not grouped & {(alias, key), ("", key)}:
            return
    for name in _used(select, alias, guard):
        if grouped & {(alias, name), ("", name)}:
            continue
        exposed = guard.column(name)
        if exposed is not None and exposed.type in _NOT_GROUPABLE:
            raise UnsupportedConstruct(f"column {name} of type {exposed.type} beside GROUP BY of the primary key")
        group.append(
            "expressions",
            exp.Column(this=exp.Identifier(this=name, quoted=True), table=exp.Identifier(this=alias, quoted=True)),
        )


def _own_tables(select: exp.Select) -> Iterator[exp.Table]:
    """The table nodes of the SELECT's own FROM, not of subqueries in it."""
    pending: list[exp.Expression] = [node for key in ("from_", "joins") for node in _children(select.args.get(key))]
    while pending:
        node = pending.pop()
        if isinstance(node, exp.Table):
            yield node
        elif not isinstance(node, exp.Subquery | exp.Lateral):
            pending.extend(child for value in node.args.values() for child in _children(value))


def _children(value: object) -> list[exp.Expression]:
    if isinstance(value, list):
        return [item for item in value if isinstance(item, exp.Expression)]
    return [value] if isinstance(value, exp.Expression) else []


def _name(column: exp.Column) -> tuple[str, str]:
    return column.table, column.name


def _used(select: exp.Select, alias: str, guard: Guard) -> list[str]:
    """Columns of the guard that the SELECT's output, HAVING or ORDER BY name."""
    used: dict[str, None] = {}
    for key in ("expressions", "having", "order", "distinct", "windows"):
        for node in _children(select.args.get(key)):
            if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and _whole(node, alias)):
                return [column.name for column in guard.columns]
            for column in node.find_all(exp.Column):
                if _whole(column, alias):
                    return [column.name for column in guard.columns]
                if column.table in ("", alias) and guard.column(column.name) is not None:
                    used[column.name] = None
    return list(used)


def _whole(column: exp.Column, alias: str) -> bool:
    """Whether the column means the whole row: ``c.*``, ``*``, or the alias by itself."""
    if isinstance(column.this, exp.Star):
        return column.table in ("", alias)
    return not column.table and column.name == alias
