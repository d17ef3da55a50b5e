"""Guards over PostgreSQL's own catalogs: they answer as if only what the caller may see existed.

PostgreSQL manual, chapter 53. What is seen of each catalog is said in ``catalog_filters``; one not listed is denied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from datagate.backends.postgres.catalog_columns import HIDDEN_COLUMNS
from datagate.backends.postgres.catalog_filters import (
    COLUMN_STRIDE,
    COLUMNS,
    DEFINED,
    FILTERS,
    FIRST_USER_OID,
    RELATIONS,
    SCHEMAS,
    WHOLE,
)
from datagate.errors import InternalError
from datagate.model.catalog import Catalog, Column, Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard, GuardColumn
from datagate.model.names import RelationName


class CatalogGuards:
    """The catalogs in one caller's sight; ``visible_columns`` tells of a relation which columns exist for him."""

    def __init__(
        self,
        catalog: Catalog,
        visible_columns: Callable[[Relation], frozenset[str]],
        sees_through: Callable[[Relation], bool],
    ) -> None:
        self._catalog = catalog
        self._sees_through = sees_through
        self._visible_columns = visible_columns
        self._values: Mapping[Binding, tuple[str | int, ...]] | None = None

    @staticmethod
    def has(relation: Relation) -> bool:
        """Whether the relation is a catalog with a guard."""
        return relation.name.schema == "pg_catalog" and relation.name.name in FILTERS

    @staticmethod
    def guard(relation: Relation) -> Guard:
        """The guard of a catalog."""
        return _guard(relation)

    def value(self, binding: Binding) -> tuple[str | int, ...]:
        """The value of one of the bindings that catalog guards use."""
        if self._values is None:
            self._values = self._read()
        if binding not in self._values:
            raise InternalError("a catalog binding is not known; nothing was sent")
        return self._values[binding]

    def _read(self) -> Mapping[Binding, tuple[str | int, ...]]:
        relations, columns, whole, defined, schemas = [], [], [], [], set()
        for relation in self._catalog.relations.values():
            if relation.oid < FIRST_USER_OID:
                continue
            visible = self._visible_columns(relation)
            if not visible:
                continue
            relations.append(relation.oid)
            schemas.add(relation.name.schema)
            columns += [
                relation.oid * COLUMN_STRIDE + column.number for column in relation.columns if column.name in visible
            ]
            if all(column.name in visible for column in relation.columns):
                whole.append(relation.oid)
                if self._sees_through(relation):
                    defined.append(relation.oid)
        return {
            RELATIONS: tuple(relations),
            COLUMNS: tuple(columns),
            WHOLE: tuple(whole),
            DEFINED: tuple(defined),
            SCHEMAS: tuple(sorted(schemas)),
        }


@lru_cache(maxsize=256)
def _guard(relation: Relation) -> Guard:
    hidden = HIDDEN_COLUMNS.get(relation.name.name, {})
    shown = {column.name: _shown(column, hidden) for column in relation.columns}
    return Guard(
        relation=RelationName("pg_catalog", relation.name.name),
        columns=tuple(
            GuardColumn(name, text == Fragment.of(f"g.{name}"), type_, leakproof=True, digits=None)
            for name, (text, type_) in shown.items()
        ),
        primary_key=relation.primary_key,
        targets=tuple(Fragment.of(text, f" AS {name}") for name, (text, _) in shown.items()),
        source=f"pg_catalog.{relation.name.name}",
        after=Fragment.of(" WHERE ", FILTERS[relation.name.name]),
    )


def _shown(column: Column, hidden: Mapping[str, str | Fragment]) -> tuple[Fragment, str]:
    """A column's text in the guard, and its type.

    Types that name things would turn a literal beside them into a look-up by name, or into the name of what has an OID.
    """
    if column.name in hidden:
        text = hidden[column.name]
        shown = text if isinstance(text, Fragment) else Fragment.of(text.replace("{type}", column.base_type))
        return shown, column.base_type
    if column.base_type == "_aclitem":
        return Fragment.of("NULL::pg_catalog.text[]"), "_text"
    if column.base_type == "regproc":
        return Fragment.of(f"g.{column.name}::pg_catalog.oid"), "oid"
    return Fragment.of(f"g.{column.name}"), column.base_type
