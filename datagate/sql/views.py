"""Expands views without a policy of their own into their query, so that only base relations remain."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from sqlglot import exp

from datagate.errors import ProgrammingError, UnsupportedConstruct
from datagate.model.catalog import Catalog, Relation
from datagate.sql.inventory import Reference, take_inventory, undefined_relation

MAX_VIEW_DEPTH = 32


class Seen(Enum):
    """How a relation stands in a caller's sight: not at all, behind its guard, or as a view that is expanded."""

    NOT = "not"
    GUARDED = "guarded"
    EXPANDED = "expanded"


Sight = Callable[[Relation], Seen]


def expand_views(
    tree: exp.Expression, catalog: Catalog, parse_view: Callable[[str], exp.Expression], sight: Sight
) -> tuple[Reference, ...]:
    """Replace views in place by their query; give the base references that remain.

    Raises UndefinedRelation, spelled as the caller did, for a relation that is not in the caller's sight.
    """
    return _expand(tree, catalog, parse_view, sight, 0)


def _expand(
    tree: exp.Expression,
    catalog: Catalog,
    parse_view: Callable[[str], exp.Expression],
    sight: Sight,
    depth: int,
) -> tuple[Reference, ...]:
    if depth > MAX_VIEW_DEPTH:
        raise UnsupportedConstruct(f"views are nested more than {MAX_VIEW_DEPTH} deep")
    out: list[Reference] = []
    for reference in take_inventory(tree, catalog):
        relation = reference.relation
        seen = sight(relation)
        if seen is Seen.NOT:
            raise undefined_relation(reference.table.db or None, reference.table.name)
        if seen is Seen.GUARDED or relation.view_sql is None:
            out.append(reference)
            continue
        if reference.written:
            raise UnsupportedConstruct(f"writing to the view {reference.table.name}; write to the table below it")
        if reference.table.args.get("sample") is not None:
            told = "TABLESAMPLE clause can only be applied to tables and materialized views"
            raise ProgrammingError(told, sqlstate="42809")
        query = parse_view(relation.view_sql)
        out.extend(_expand(query, catalog, parse_view, sight, depth + 1))
        reference.table.replace(exp.Subquery(this=query, alias=alias_of(reference)))
    return tuple(out)


def alias_of(reference: Reference) -> exp.TableAlias:
    """The alias under which the derived table stands in: the caller's own, or the relation's name."""
    given = reference.table.args.get("alias")
    if given is not None:
        alias: exp.TableAlias = given.copy()
        return alias
    return exp.TableAlias(this=exp.Identifier(this=reference.table.name, quoted=True))
