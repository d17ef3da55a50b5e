"""Guards over PostgreSQL's own catalogs: they answer as if only what the caller may see existed.

PostgreSQL manual, chapter 53. A catalog that is not listed here is denied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from datagate.errors import InternalError
from datagate.model.catalog import Catalog, Column, Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard, GuardColumn
from datagate.model.names import RelationName
from datagate.model.values import ValueType

_FIRST_USER_OID = 16384

RELATIONS = Binding("catalog.relations", ValueType.BIGINT_ARRAY)
COLUMNS = Binding("catalog.columns", ValueType.TEXT_ARRAY)
WHOLE = Binding("catalog.whole", ValueType.BIGINT_ARRAY)
SCHEMAS = Binding("catalog.schemas", ValueType.TEXT_ARRAY)

_EVERYTHING = Fragment.of("true")


def _is(expression: str, binding: Binding) -> Fragment:
    return Fragment.of(f"{expression} OPERATOR(pg_catalog.=) ANY(", binding, ")")


def _relation(column: str) -> Fragment:
    """The relation of that OID is the engine's own, or in the caller's sight."""
    return Fragment.of(
        f"(g.{column}::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_USER_OID} OR ",
        _is(f"g.{column}::pg_catalog.int8", RELATIONS),
        ")",
    )


def _column(relation: str, number: str) -> Fragment:
    """The column is the engine's own, or in the caller's sight; numbers below one are system columns."""
    spelled = (
        f"(g.{relation}::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) '.'"
        f" OPERATOR(pg_catalog.||) g.{number}::pg_catalog.text)"
    )
    return Fragment.of(
        _relation(relation),
        f" AND (g.{relation}::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_USER_OID}"
        f" OR g.{number} OPERATOR(pg_catalog.<) 1 OR ",
        _is(spelled, COLUMNS),
        ")",
    )


def _whole(relation: str) -> Fragment:
    """Every column of the relation is in the caller's sight."""
    return Fragment.of(
        f"(g.{relation}::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_USER_OID} OR ",
        _is(f"g.{relation}::pg_catalog.int8", WHOLE),
        ")",
    )


def _system(column: str = "oid") -> Fragment:
    """The engine's own object."""
    return Fragment.of(f"g.{column}::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_USER_OID}")


def _keys_visible(relation: str, keys: str) -> Fragment:
    """Every column number in the array is visible."""
    spelled = (
        f"(g.{relation}::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) '.'"
        " OPERATOR(pg_catalog.||) n::pg_catalog.text)"
    )
    return Fragment.of(
        _relation(relation),
        f" AND (g.{relation}::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_USER_OID} OR NOT EXISTS"
        f" (SELECT 1 FROM pg_catalog.unnest(g.{keys}::pg_catalog.int2[]) AS n WHERE NOT ",
        _is(spelled, COLUMNS),
        "))",
    )


_INDEX = Fragment.of(
    _keys_visible("indrelid", "indkey"),
    " AND ((g.indexprs IS NULL AND g.indpred IS NULL) OR ",
    _whole("indrelid"),
    ")",
)

# A row type, or an array of one, is named like its relation.
_TYPE = Fragment.of(
    "((g.typrelid OPERATOR(pg_catalog.=) 0 OR ",
    _relation("typrelid"),
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) g.typrelid"
    " AND c.relkind OPERATOR(pg_catalog.=) 'c')) AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type AS e JOIN"
    " pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) e.typrelid WHERE e.oid OPERATOR(pg_catalog.=) g.typelem"
    " AND c.relkind OPERATOR(pg_catalog.<>) 'c' AND NOT ",
    _is("c.oid::pg_catalog.int8", RELATIONS),
    f" AND c.oid::pg_catalog.int8 OPERATOR(pg_catalog.>=) {_FIRST_USER_OID}))",
)

_DESCRIPTION = Fragment.of(
    "(",
    _system("objoid"),
    " OR (g.classoid OPERATOR(pg_catalog.=) 1259 AND ",
    _column("objoid", "objsubid"),
    "))",
)

# An index is a relation of its own; it is visible with its table.
_CLASS = Fragment.of(
    "(",
    _relation("oid"),
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_index AS i WHERE i.indexrelid OPERATOR(pg_catalog.=) g.oid AND ",
    _is("i.indrelid::pg_catalog.int8", WHOLE),
    "))",
)

_FILTERS: Mapping[str, Fragment] = {
    "pg_namespace": Fragment.of(
        "(g.nspname OPERATOR(pg_catalog.=) 'pg_catalog' OR g.nspname OPERATOR(pg_catalog.=) 'information_schema' OR ",
        _is("g.nspname::pg_catalog.text", SCHEMAS),
        ")",
    ),
    "pg_class": _CLASS,
    "pg_attribute": _column("attrelid", "attnum"),
    "pg_attrdef": Fragment.of(_whole("adrelid")),
    "pg_index": _INDEX,
    "pg_constraint": Fragment.of(
        "(g.conrelid OPERATOR(pg_catalog.=) 0 OR (",
        _keys_visible("conrelid", "conkey"),
        ")) AND (g.confrelid OPERATOR(pg_catalog.=) 0 OR (",
        _keys_visible("confrelid", "confkey"),
        ")) AND (g.contype OPERATOR(pg_catalog.<>) 'c' OR ",
        _whole("conrelid"),
        ")",
    ),
    "pg_inherits": Fragment.of(_relation("inhrelid"), " AND ", _relation("inhparent")),
    "pg_description": _DESCRIPTION,
    "pg_type": _TYPE,
    "pg_enum": _EVERYTHING,
    "pg_range": _EVERYTHING,
    "pg_collation": _EVERYTHING,
    "pg_am": _EVERYTHING,
    "pg_opclass": _EVERYTHING,
    "pg_operator": _EVERYTHING,
    "pg_cast": _EVERYTHING,
    "pg_language": _EVERYTHING,
    "pg_proc": _system(),
    "pg_database": Fragment.of("g.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"),
    "pg_partitioned_table": _whole("partrelid"),
    "pg_sequence": _system("seqrelid"),
    "pg_tablespace": _EVERYTHING,
    "pg_depend": Fragment.of(_system("objid"), " AND ", _system("refobjid")),
}

_HIDDEN_COLUMNS: Mapping[str, Mapping[str, str]] = {
    # Statistics and access lists tell of hidden rows and of other roles.
    "pg_class": {
        "relpages": "NULL::pg_catalog.int4",
        "reltuples": "NULL::pg_catalog.float4",
        "relallvisible": "NULL::pg_catalog.int4",
        "relallfrozen": "NULL::pg_catalog.int4",
        "relpartbound": "NULL::pg_catalog.text",
    },
    "pg_attribute": {
        "attmissingval": "NULL::pg_catalog.text",
        "attstattarget": "NULL::pg_catalog.int2",
    },
}


class CatalogGuards:
    """The catalogs in one caller's sight; ``visible_columns`` tells of a relation which columns exist for him."""

    def __init__(self, catalog: Catalog, visible_columns: Callable[[Relation], frozenset[str]]) -> None:
        self._catalog = catalog
        self._visible_columns = visible_columns
        self._values: Mapping[Binding, tuple[str | int, ...]] | None = None

    @staticmethod
    def has(relation: Relation) -> bool:
        """Whether the relation is a catalog with a guard."""
        return relation.name.schema == "pg_catalog" and relation.name.name in _FILTERS

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
        relations, columns, whole, schemas = [], [], [], set()
        for relation in self._catalog.relations.values():
            if relation.oid < _FIRST_USER_OID:
                continue
            visible = self._visible_columns(relation)
            if not visible:
                continue
            relations.append(relation.oid)
            schemas.add(relation.name.schema)
            columns += [f"{relation.oid}.{column.number}" for column in relation.columns if column.name in visible]
            if all(column.name in visible for column in relation.columns):
                whole.append(relation.oid)
        return {
            RELATIONS: tuple(relations),
            COLUMNS: tuple(columns),
            WHOLE: tuple(whole),
            SCHEMAS: tuple(sorted(schemas)),
        }


@lru_cache(maxsize=256)
def _guard(relation: Relation) -> Guard:
    hidden = _HIDDEN_COLUMNS.get(relation.name.name, {})
    shown = {column.name: _shown(column, hidden) for column in relation.columns}
    return Guard(
        relation=RelationName("pg_catalog", relation.name.name),
        columns=tuple(
            GuardColumn(name, text == f"g.{name}", type_, leakproof=True, digits=None)
            for name, (text, type_) in shown.items()
        ),
        primary_key=relation.primary_key,
        targets=tuple(Fragment.of(f"{text} AS {name}") for name, (text, _) in shown.items()),
        source=f"pg_catalog.{relation.name.name}",
        after=Fragment.of(" WHERE ", _FILTERS[relation.name.name]),
    )


def _shown(column: Column, hidden: Mapping[str, str]) -> tuple[str, str]:
    """A column's text in the guard, and its type.

    Types that name things would turn a literal beside them into a look-up by name, or into the name of what has an OID.
    """
    if column.name in hidden:
        return hidden[column.name], column.base_type
    if column.base_type == "_aclitem":
        return "NULL::pg_catalog.text[]", "_text"
    if column.base_type == "regproc":
        return f"g.{column.name}::pg_catalog.oid", "oid"
    return f"g.{column.name}", column.base_type
