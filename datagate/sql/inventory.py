"""Accounts for every table node of a statement: base relation, CTE reference, or function.

CTE names follow PostgreSQL's own scoping (manual, 7.8): a WITH item is visible in the statement that it hangs on and
in everything nested below; without RECURSIVE an item sees only the items before it; a CTE name hides relations only
where the name is unqualified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from datagate.errors import UndefinedRelation, UnsupportedConstruct
from datagate.model.catalog import Catalog, Relation, RelationKind
from datagate.sql.dialect.nodes import Write


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A base relation named in the statement: its table node and what the name means; ``written``: it is a target."""

    table: exp.Table
    relation: Relation
    written: bool = False

    @property
    def alias(self) -> str:
        """The name under which the statement's columns refer to it."""
        alias: str = self.table.alias_or_name
        return alias


_SELECTABLE = frozenset(
    {
        RelationKind.TABLE,
        RelationKind.PARTITIONED,
        RelationKind.VIEW,
        RelationKind.MATERIALIZED_VIEW,
        RelationKind.FOREIGN,
    }
)


def take_inventory(tree: exp.Expression, catalog: Catalog) -> tuple[Reference, ...]:
    """Every base reference of the statement, in the order of the text.

    Raises UndefinedRelation for a name that means no relation, UnsupportedConstruct for a table node that is
    none of the known kinds.
    """
    found = []
    for table, hidden in tuple(_tables(tree, frozenset())):
        if _is_cte(table, hidden):
            continue
        if catalog.is_temporary(table.args["db"].name if table.args.get("db") else None, table.name):
            _keep_temporary(table)
        else:
            found.append(_resolve(table, catalog))
    return tuple(found)


def _keep_temporary(table: exp.Table) -> None:
    """A temporary table stays as it is, named so that it can mean nothing else should it be gone."""
    if isinstance(table.parent, Write):
        raise UnsupportedConstruct(f"writing to the temporary table {table.name}; make it anew")
    table.set("db", exp.Identifier(this="pg_temp", quoted=True))
    table.set("catalog", None)


def undefined_relation(schema: str | None, name: str) -> UndefinedRelation:
    """The one message for a relation that does not exist and for one that is denied."""
    spelled = f"{schema}.{name}" if schema else name
    error = UndefinedRelation(f'relation "{spelled}" does not exist')
    error.relation = schema, name
    return error


def _tables(node: exp.Expression, ctes: frozenset[str]) -> Iterator[tuple[exp.Table, frozenset[str]]]:
    """Every relation-naming table node, with the CTE names visible where it stands."""
    with_ = node.args.get("with_")
    if with_ is not None:
        inside, ctes = _with_scopes(with_, ctes)
        for cte, visible in inside:
            yield from _tables(cte, visible)
    if isinstance(node, exp.Table):
        yield from _table(node, ctes)
        return
    if isinstance(node, Write):
        # What is written is a relation, whatever WITH items there are of its name.
        yield from _table(node.args["target"], frozenset())
    for key, value in node.args.items():
        # FOR UPDATE OF names aliases, which are no references of their own.
        if key in ("with_", "locks", "target"):
            continue
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, exp.Expression):
                yield from _tables(child, ctes)


def _with_scopes(
    with_: exp.Expression, outer: frozenset[str]
) -> tuple[list[tuple[exp.Expression, frozenset[str]]], frozenset[str]]:
    items = with_.expressions
    names = [item.alias for item in items]
    everything = outer | set(names)
    if with_.args.get("recursive"):
        return [(item, everything) for item in items], everything
    return [(item, outer | set(names[:index])) for index, item in enumerate(items)], everything


def _table(table: exp.Table, ctes: frozenset[str]) -> Iterator[tuple[exp.Table, frozenset[str]]]:
    """The table node itself if it names a relation, then whatever hangs below it."""
    if isinstance(table.this, exp.Identifier):
        yield table, ctes
    elif not isinstance(table.this, exp.Expression) and not table.args.get("rows_from"):
        raise UnsupportedConstruct("a FROM item that is neither a relation, a subquery nor a function")
    for key, value in table.args.items():
        if key in ("db", "catalog", "alias"):
            continue
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, exp.Expression) and not isinstance(child, exp.Identifier):
                yield from _tables(child, ctes)


def _is_cte(table: exp.Table, ctes: frozenset[str]) -> bool:
    return not table.args.get("db") and table.name in ctes


def _resolve(table: exp.Table, catalog: Catalog) -> Reference:
    schema = table.args["db"].name if table.args.get("db") else None
    database = table.args["catalog"].name if table.args.get("catalog") else None
    if database is not None and database != catalog.database:
        raise undefined_relation(f"{database}.{schema}", table.name)
    name = catalog.resolve(schema, table.name)
    if name is None or catalog.relations[name].kind not in _SELECTABLE:
        raise undefined_relation(schema, table.name)
    return Reference(table, catalog.relations[name], written=isinstance(table.parent, Write))
