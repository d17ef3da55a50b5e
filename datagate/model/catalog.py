"""What an engine's catalog says of relations, as far as the road needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from datagate.model.names import RelationName


class RelationKind(Enum):
    """PostgreSQL's pg_class.relkind, as far as a FROM clause may name it."""

    TABLE = "r"
    PARTITIONED = "p"
    VIEW = "v"
    MATERIALIZED_VIEW = "m"
    FOREIGN = "f"
    SEQUENCE = "S"


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    ``type`` is the internal name of its type (``int4``, ``varchar``, ``_text`` for text[]), with the
    schema in ``type_schema``; ``type_text`` its SQL spelling with modifiers (``character varying(20)``);
    ``base_type`` the internal name after resolving domains; ``generated`` for generated-always columns. ``collated``:
    it has a collation that is neither the database's nor "C", so that comparing it may fail. ``default``: the engine's
    text of its default; None without one.
    """

    name: str
    number: int
    type: str
    type_schema: str
    type_text: str
    base_type: str
    not_null: bool
    has_default: bool
    generated: bool
    identity: str
    collated: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation with its columns in order.

    ``primary_key``: its columns, empty without one. ``parent``: the table that it is a partition or
    inheritance child of. ``view_sql``: a view's own query text with everything qualified.
    ``view_columns``: for a view, the columns of other relations that it depends on, and the relations
    themselves (with an empty column name). ``keys``: for each index that refuses rows (unique, exclusion), of the
    relation itself and of those below it, its columns, with an empty name for an expression or a condition.
    ``triggered``: INSERT or UPDATE where a trigger may change a row before it is written.
    """

    oid: int
    name: RelationName
    kind: RelationKind
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    parent: RelationName | None
    view_sql: str | None
    view_columns: tuple[tuple[RelationName, str], ...]
    keys: tuple[tuple[str, ...], ...] = ()
    triggered: frozenset[str] = frozenset()

    def column(self, name: str) -> Column | None:
        """The column of that exact name, or None."""
        for column in self.columns:
            if column.name == name:
                return column
        return None


@dataclass(frozen=True, slots=True)
class Catalog:
    """One reading of the catalog.

    ``search_path``: the schemas searched for unqualified names, in order,
    pg_catalog included where the engine searches it. ``version`` changes when anything in here does.
    ``engine_functions``: the names of all functions in pg_catalog, allowed or not; left empty, ``(x).name`` is
    refused wherever ``name`` is not an allowed function, since the engine might read it as a call. ``temporary``: the
    temporary tables that this session made from guarded queries.
    """

    version: str
    database: str
    server_version: int
    search_path: tuple[str, ...]
    relations: Mapping[RelationName, Relation]
    functions: frozenset[str]
    types: frozenset[str]
    user_operators: frozenset[str]
    user_functions: frozenset[str]
    engine_functions: frozenset[str] = frozenset()
    temporary: frozenset[str] = frozenset()

    def is_temporary(self, schema: str | None, name: str) -> bool:
        """Whether a name means a temporary table of this session, which come first in the search for names."""
        return schema in (None, "pg_temp") and name in self.temporary

    def resolve(self, schema: str | None, name: str) -> RelationName | None:
        """The relation that a name means: in its schema, or in the first schema of the search path that has it."""
        for candidate in (schema,) if schema is not None else self.search_path:
            found = RelationName(candidate, name)
            if found in self.relations:
                return found
        return None
