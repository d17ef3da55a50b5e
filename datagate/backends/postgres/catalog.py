"""Reads PostgreSQL's catalog: relations, columns, keys, views' own text, and which functions are pure.

PostgreSQL manual, chapter 53 (System Catalogs).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from datagate.backends.postgres.catalog_views import ENGINE_VIEWS, VIEW_FUNCTIONS, fit
from datagate.backends.postgres.functions import DENIED_FUNCTIONS, SETTING_FUNCTIONS, STABLE_FUNCTIONS
from datagate.errors import OperationalError
from datagate.model.catalog import Catalog, Column, Relation, RelationKind
from datagate.model.names import RelationName

_RELATIONS = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text,
       (SELECT pn.nspname || '.' || p.relname FROM pg_catalog.pg_inherits i
          JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
          JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
         WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1),
       CASE WHEN c.relkind = 'v' AND (c.oid >= 16384 OR n.nspname || '.' || c.relname = ANY (%s))
            THEN pg_catalog.pg_get_viewdef(c.oid) END,
       (SELECT array_agg(a.attname::text ORDER BY k.ord) FROM pg_catalog.pg_index x
          CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k(num, ord)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num
         WHERE x.indrelid = c.oid AND x.indisprimary)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r','p','v','m','f','S') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
"""

_COLUMNS = """
SELECT a.attrelid::bigint, a.attname, t.typname, tn.nspname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       COALESCE(b.typname, t.typname), a.attnotnull, a.atthasdef, a.attgenerated <> '', a.attidentity::text, a.attnum,
       a.attcollation NOT IN (0, 'pg_catalog."default"'::regcollation, 'pg_catalog."C"'::regcollation),
       CASE WHEN a.atthasdef AND a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END
  FROM pg_catalog.pg_attribute a
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
 WHERE a.attnum > 0 AND NOT a.attisdropped
   AND c.relkind IN ('r','p','v','m','f','S') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
 ORDER BY a.attrelid, a.attnum
"""

_FAMILIES = """
WITH RECURSIVE below (above, oid) AS (
  SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384
  UNION SELECT b.above, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
)
"""

_KEYS = f"""
{_FAMILIES}
SELECT DISTINCT b.above::bigint, ARRAY(
         SELECT COALESCE(a.attname::text, '') FROM pg_catalog.unnest(x.indkey::int2[]) AS k (num)
           LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.num
         UNION SELECT '' WHERE x.indpred IS NOT NULL ORDER BY 1)
  FROM below b JOIN pg_catalog.pg_index x ON x.indrelid = b.oid WHERE x.indisunique OR x.indisexclusion
"""

# pg_trigger.tgtype: 1 for each row, 2 before, 4 insert, 16 update (src/include/catalog/pg_trigger.h).
_TRIGGERS = f"""
{_FAMILIES}
SELECT DISTINCT b.above::bigint, e.word FROM below b JOIN pg_catalog.pg_trigger t ON t.tgrelid = b.oid
  JOIN (VALUES (4, 'INSERT'), (16, 'UPDATE')) AS e (bit, word) ON t.tgtype & e.bit > 0
 WHERE t.tgtype & 3 = 3 AND NOT t.tgisinternal
"""

_VIEW_COLUMNS = """
SELECT DISTINCT r.ev_class::bigint, n.nspname, c.relname, COALESCE(a.attname, '')
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
       AND d.refclassid = 'pg_catalog.pg_class'::regclass
  JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND d.refobjsubid > 0
 WHERE r.ev_class >= 16384 AND c.oid <> r.ev_class
"""

# An argument of a type that names things would find by name what a literal says; an aclitem names roles.
_FUNCTIONS = """
SELECT p.proname FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
 GROUP BY p.proname HAVING bool_and(p.provolatile = 'i' AND p.prokind IN ('f', 'a', 'w') AND p.prorettype NOT IN
   ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, 'language_handler'::regtype,
    'fdw_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype, 'tsm_handler'::regtype)
   AND p.prorettype <> ALL ('{aclitem,_aclitem}'::regtype[]) AND NOT p.proargtypes::oid[] && '{internal,cstring,
   aclitem,_aclitem,regclass,regcollation,regdictionary,regnamespace,regoper,regoperator,regproc,regprocedure,regrole,
   regtype}'::regtype[]::oid[])
"""

_ENGINE_FUNCTIONS = """
SELECT DISTINCT p.proname FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
"""

_USER_FUNCTIONS = """
SELECT DISTINCT n.nspname, p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
"""

# Extensions bring operators for their own types; what anybody else makes could stand in for a built-in one.
_USER_OPERATORS = """
SELECT DISTINCT o.oprname FROM pg_catalog.pg_operator o WHERE o.oid >= 16384 AND NOT EXISTS (
  SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_operator'::regclass AND d.objid = o.oid
     AND d.deptype = 'e')
"""

# Row types of relations are left out: naming one would show its columns, or that it exists.
_TYPES = """
SELECT n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
  LEFT JOIN pg_catalog.pg_class ec ON ec.oid = e.typrelid
 WHERE n.nspname !~ '^pg_(toast|temp_)' AND COALESCE(c.relkind, 'c') = 'c' AND COALESCE(ec.relkind, 'c') = 'c'
   AND t.typtype <> 'p' AND t.typname <> 'pg_node_tree'
"""


def read_catalog(connection: psycopg.Connection[Any]) -> Catalog:
    """One reading of the whole catalog, in one snapshot.

    Raises OperationalError for a database that is not in UTF-8, psycopg.Error where the server refuses.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        # Masks convert text to UTF-8, and names fold as in UTF-8.
        raise OperationalError(f"the database's encoding is {encoding}; datagate needs UTF8", sqlstate="0A000")
    # A typed row factory of our own: the connection's may be anything.
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SET LOCAL search_path = ''")

        def rows(query: str) -> Sequence[tuple[Any, ...]]:
            return cursor.execute(query).fetchall()

        relation_rows = cursor.execute(_RELATIONS, [sorted(ENGINE_VIEWS)]).fetchall()
        columns = _columns(rows(_COLUMNS))
        view_columns = _view_columns(rows(_VIEW_COLUMNS))
        held = _held(rows(_KEYS), rows(_TRIGGERS))
        pure = {name for (name,) in rows(_FUNCTIONS)}
        engine_functions = frozenset(name for (name,) in rows(_ENGINE_FUNCTIONS))
        user_functions = rows(_USER_FUNCTIONS)
        user_operators = frozenset(name for (name,) in rows(_USER_OPERATORS))
        types = _types(rows(_TYPES))
        ((database,),) = rows("SELECT pg_catalog.current_database()::text")
    search_path = _search_path(connection)
    relations = _relations(relation_rows, columns, view_columns, held)
    functions = frozenset((pure | STABLE_FUNCTIONS | SETTING_FUNCTIONS | VIEW_FUNCTIONS) - DENIED_FUNCTIONS)
    return Catalog(
        version=_digest(relation_rows, columns, view_columns, held, user_functions, user_operators, types, search_path),
        database=database,
        server_version=connection.info.server_version,
        search_path=search_path,
        relations=relations,
        functions=functions,
        types=types,
        user_operators=user_operators,
        user_functions=frozenset(name for _, name in user_functions),
        engine_functions=engine_functions,
    )


def _search_path(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    """The schemas in force for this connection's unqualified names (without a temporary one)."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT pg_catalog.current_schemas(true)::text[]").fetchone()
    return tuple(schema for schema in (row[0] if row else ()) if not schema.startswith("pg_temp"))


def _columns(rows: Iterable[tuple[Any, ...]]) -> Mapping[int, tuple[Column, ...]]:
    out: dict[int, list[Column]] = defaultdict(list)
    for oid, name, type_, schema, text, base, not_null, has, generated, identity, number, collated, default in rows:
        out[oid].append(
            Column(
                name=name,
                number=number,
                type=type_,
                type_schema=schema,
                type_text=text,
                base_type=base,
                not_null=not_null,
                has_default=has,
                generated=generated,
                identity=identity,
                collated=collated,
                default=default,
            )
        )
    return {oid: tuple(columns) for oid, columns in out.items()}


def _view_columns(rows: Iterable[tuple[Any, ...]]) -> Mapping[int, tuple[tuple[RelationName, str], ...]]:
    out: dict[int, list[tuple[RelationName, str]]] = defaultdict(list)
    for oid, schema, name, column in rows:
        out[oid].append((RelationName(schema, name), column))
    return {oid: tuple(sorted(pairs)) for oid, pairs in out.items()}


def _held(
    keys: Iterable[tuple[Any, ...]], triggers: Iterable[tuple[Any, ...]]
) -> Mapping[int, tuple[tuple[tuple[str, ...], ...], frozenset[str]]]:
    """What keeps out or changes rows that are written to a relation: keys, and the actions that triggers precede."""
    by_oid: dict[int, tuple[set[tuple[str, ...]], set[str]]] = defaultdict(lambda: (set(), set()))
    for oid, columns in keys:
        by_oid[oid][0].add(tuple(columns))
    for oid, action in triggers:
        by_oid[oid][1].add(action)
    return {oid: (tuple(sorted(found)), frozenset(actions)) for oid, (found, actions) in by_oid.items()}


def _relations(
    rows: Iterable[tuple[Any, ...]],
    columns: Mapping[int, tuple[Column, ...]],
    view_columns: Mapping[int, tuple[tuple[RelationName, str], ...]],
    held: Mapping[int, tuple[tuple[tuple[str, ...], ...], frozenset[str]]],
) -> Mapping[RelationName, Relation]:
    rows = list(rows)
    by_text = {f"{schema}.{name}": RelationName(schema, name) for _, schema, name, *_ in rows}
    out = {}
    for oid, schema, name, kind, parent, view_sql, key in rows:
        relation = RelationName(schema, name)
        keys, triggered = held.get(oid, ((), frozenset()))
        out[relation] = Relation(
            oid=oid,
            name=relation,
            kind=RelationKind(kind),
            columns=columns.get(oid, ()),
            primary_key=tuple(key or ()),
            parent=by_text[parent] if parent is not None else None,
            view_sql=_view_sql(relation, view_sql),
            view_columns=view_columns.get(oid, ()),
            keys=keys,
            triggered=triggered,
        )
    return out


def _view_sql(relation: RelationName, text: str | None) -> str | None:
    if text is None:
        return None
    return fit(text) if str(relation) in ENGINE_VIEWS else text.strip().removesuffix(";")


def _types(rows: Iterable[tuple[Any, ...]]) -> frozenset[str]:
    """Names that a cast may use: bare for pg_catalog's, ``schema.name`` for all."""
    out = set()
    for schema, name in rows:
        out.add(f"{schema}.{name}")
        if schema == "pg_catalog":
            out.add(name)
    return frozenset(out)


def _digest(*parts: Any) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, (set, frozenset)):
            return sorted(value)
        return str(value)

    return hashlib.sha256(json.dumps(parts, default=plain, sort_keys=True).encode()).hexdigest()
