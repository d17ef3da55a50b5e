"""Which relations' rows a statement locks: who may change nothing must not hold up those who may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from datagate.model.catalog import Relation
from datagate.sql.inventory import Reference


def locked_relations(nodes: Iterable[exp.Expr], references: Sequence[Reference]) -> list[Relation]:
    """The relations under every SELECT with FOR UPDATE or its like, whichever of its items that names.

    A lock reaches into derived tables (PostgreSQL manual, SELECT, The Locking Clause), so all below count.
    """
    tables = {id(reference.table): reference.relation for reference in references}
    found: dict[int, Relation] = {}
    for node in nodes:
        if not isinstance(node, exp.Expression) or not node.args.get("locks"):
            continue
        for table in node.find_all(exp.Table):
            relation = tables.get(id(table))
            if relation is not None:
                found[relation.oid] = relation
    return list(found.values())
