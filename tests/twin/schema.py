"""The twin's types, functions, tables, keys and views: as on the real database, as far as the caller may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from datagate.model.names import RelationName
from tests.twin.rows import Connection, TwinTable

NOT_OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(temp|toast)_'"
_OWN = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = {}.oid AND d.classid = '{}'::regclass AND d.deptype = 'e')"


@dataclass(frozen=True, slots=True)
class RealRelation:
    """A relation of the real database. ``parents``: what it is a partition or inheritance child of."""

    oid: int
    name: RelationName
    kind: str
    parents: tuple[RelationName, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...]


def relations(real: Connection) -> list[RealRelation]:
    """All relations outside the system's schemas, in order of creation."""
    found = real.execute(
        f"""SELECT c.oid, n.nspname, c.relname, c.relkind::text,
            ARRAY(SELECT ARRAY[pn.nspname, pc.relname]::text[] FROM pg_inherits h
                  JOIN pg_class pc ON pc.oid = h.inhparent
                  JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE h.inhrelid = c.oid ORDER BY h.inhseqno),
            ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
                  JOIN pg_attribute a ON a.attnum = k.attnum WHERE i.indrelid = c.oid AND i.indisprimary
                  AND a.attrelid = c.oid ORDER BY k.place)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {NOT_OURS} ORDER BY c.oid"""
    ).fetchall()
    return [
        RealRelation(
            oid, RelationName(schema, name), kind,
            tuple(RelationName(*parent) for parent in parents), tuple(key), tuple(_indexes(real, oid)),
        )
        for oid, schema, name, kind, parents, key in found
    ]  # fmt: skip


def _indexes(real: Connection, oid: int) -> Iterable[tuple[str, ...]]:
    """The columns of plain indexes, so that statements are not slower on the twin."""
    found = real.execute(
        """SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_attribute a ON a.attnum = k.attnum AND a.attrelid = i.indrelid ORDER BY k.place)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
        WHERE i.indrelid = %s AND i.indexprs IS NULL AND i.indpred IS NULL AND m.amname = 'btree'""",
        (oid,),
    )
    return (tuple(columns) for (columns,) in found.fetchall())


def copy_surroundings(real: Connection, twin: Connection) -> None:
    """Schemas, extensions, types and functions, which are nobody's data."""
    for (schema,) in real.execute(f"SELECT n.nspname FROM pg_namespace n WHERE {NOT_OURS}").fetchall():
        twin.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    for extension, schema in real.execute(
        "SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.oid"
    ).fetchall():
        twin.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
                sql.Identifier(extension), sql.Identifier(schema)
            )
        )
    for (statement,) in real.execute(_TYPES).fetchall():
        twin.execute(statement)


_TYPES = f"""
SELECT CASE t.typtype
  WHEN 'e' THEN format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname, t.typname,
    (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
  WHEN 'd' THEN format('CREATE DOMAIN %I.%I AS %s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod))
  WHEN 'r' THEN format('CREATE TYPE %I.%I AS RANGE (SUBTYPE = %s)', n.nspname, t.typname,
    (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid))
  ELSE format('CREATE TYPE %I.%I AS (%s)', n.nspname, t.typname,
    (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
     FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
  END
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE {NOT_OURS} AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
  AND {_OWN.format("t", "pg_type")} ORDER BY t.oid
"""  # noqa: E501 - the catalog's own names

_FUNCTIONS = f"""
SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE {NOT_OURS} AND n.nspname <> 'datagate' AND p.prokind IN ('f', 'w') AND l.lanname IN ('sql', 'plpgsql')
  AND {_OWN.format("p", "pg_proc")} ORDER BY p.oid
"""


def copy_functions(real: Connection, twin: Connection) -> None:
    """User-defined functions; one that needs what the caller may not see does not exist for the caller."""
    twin.execute("SET check_function_bodies = off")
    for (statement,) in real.execute(_FUNCTIONS).fetchall():
        _if_possible(twin, statement)


def create_table(twin: Connection, name: RelationName, held: TwinTable) -> None:
    """A table with the given columns and rows."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type)) for column in held.columns
    )
    identifier = sql.Identifier(name.schema, name.name)
    twin.execute(sql.SQL("CREATE TABLE {} ({})").format(identifier, columns))
    with twin.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(identifier)) as copy:
        for row in held.rows:
            copy.write_row(row)


def add_keys(twin: Connection, relation: RealRelation, name: RelationName, held: TwinTable) -> None:
    """The primary key where all of it is always shown raw, and indexes on columns that are there."""
    identifier = sql.Identifier(name.schema, name.name)
    if relation.primary_key and held.raw.issuperset(relation.primary_key):
        twin.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(identifier, _listed(relation.primary_key)))
    there = {column.name for column in held.columns}
    for index in relation.indexes:
        if index != relation.primary_key and there.issuperset(index):
            twin.execute(sql.SQL("CREATE INDEX ON {} ({})").format(identifier, _listed(index)))
    twin.execute(sql.SQL("ANALYZE {}").format(identifier))


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def create_view(real: Connection, twin: Connection, relation: RealRelation) -> bool:
    """The same view over the twin's tables; False where it needs what the caller may not see."""
    with real.transaction():
        # With an empty search path every name in the definition comes out qualified.
        real.execute("SET LOCAL search_path = ''")
        found = real.execute("SELECT pg_get_viewdef(%s::oid)", (relation.oid,)).fetchone()
    assert found is not None
    names = real.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (relation.oid,),
    ).fetchall()
    identifier = sql.Identifier(relation.name.schema, relation.name.name)
    head = sql.SQL("CREATE VIEW {} ({}) AS ").format(identifier, _listed([name for (name,) in names]))
    return _if_possible(twin, head.as_string(twin) + str(found[0]))


def _if_possible(twin: Connection, statement: str) -> bool:
    try:
        with twin.transaction():
            twin.execute(statement.encode())
    except psycopg.ProgrammingError:
        return False
    return True
