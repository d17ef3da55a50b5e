"""What each call that looks something up by name is spelled out as: a query of the catalogs (PostgreSQL manual, 9.27).

``$n`` is the n-th argument. It stands in a FROM item of its own, where nothing of the template can capture its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from datagate.backends.postgres.engine import Tree, parse_tree, without_positions


def expression(text: str) -> Tree:
    """The tree of an expression with ``$n`` in it."""
    target: Tree = without_positions(parse_tree(f"SELECT {text}")["stmts"][0]["stmt"])["SelectStmt"]["targetList"][0]
    value: Tree = target["ResTarget"]["val"]
    return value


_RELATION = """
(SELECT c.oid FROM (SELECT pg_catalog.parse_ident(n.name) AS p) AS i,
  pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
 WHERE c.relname = i.p[pg_catalog.cardinality(i.p)] AND CASE pg_catalog.cardinality(i.p)
  WHEN 1 THEN pg_catalog.pg_table_is_visible(c.oid) WHEN 2 THEN s.nspname = i.p[1] ELSE s.nspname = i.p[2] END)"""

_SCHEMA = "(SELECT s.oid FROM pg_catalog.pg_namespace AS s WHERE s.nspname = (pg_catalog.parse_ident(n.name))[1])"

_ROLE = "(SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = (pg_catalog.parse_ident(n.name))[1])"

_FUNCTION = """
(SELECT p.oid FROM (SELECT pg_catalog.parse_ident(pg_catalog.split_part(n.name, '(', 1)) AS p) AS i,
  pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS s ON s.oid = p.pronamespace
 WHERE p.proname = i.p[pg_catalog.cardinality(i.p)] AND CASE pg_catalog.cardinality(i.p)
  WHEN 1 THEN pg_catalog.pg_function_is_visible(p.oid) ELSE s.nspname = i.p[1] END ORDER BY p.oid LIMIT 1)"""

# Names as format_type spells them, those of pg_type, and the grammar's further words for some.
_TYPE = r"""
(SELECT t.oid FROM (SELECT CASE pg_catalog.regexp_replace(w.word, '(\[[0-9]*\])+$', '')
    WHEN 'int' THEN 'integer' WHEN 'dec' THEN 'numeric' WHEN 'decimal' THEN 'numeric' WHEN 'char' THEN 'character'
    WHEN 'float' THEN 'double precision' ELSE pg_catalog.regexp_replace(w.word, '(\[[0-9]*\])+$', '') END
    || CASE WHEN w.word ~ '\]$' THEN '[]' ELSE '' END AS name
   FROM (SELECT pg_catalog.btrim(pg_catalog.regexp_replace(
     CASE WHEN n.name ~ '"' THEN n.name ELSE pg_catalog.lower(n.name) END, ' *\([0-9, ]*\)', '')) AS word) AS w) AS i,
  pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS s ON s.oid = t.typnamespace
 WHERE pg_catalog.format_type(t.oid, NULL) = i.name
  OR (t.typname = i.name AND pg_catalog.pg_type_is_visible(t.oid))
  OR (s.nspname || '.') || pg_catalog.format_type(t.oid, NULL) = i.name
  OR (s.nspname || '.') || t.typname = i.name ORDER BY t.oid LIMIT 1)"""

_BY_NAME = {
    "regclass": ("pg_class", _RELATION),
    "regtype": ("pg_type", _TYPE),
    "regnamespace": ("pg_namespace", _SCHEMA),
    "regproc": ("pg_proc", _FUNCTION),
    "regrole": ("pg_roles", _ROLE),
}
NAMED_CASTS = frozenset(_BY_NAME)
"""Types that name things, of which a cast is spelled out."""


def _either(by_name: str) -> str:
    """The OID that a text is, or that of what it names."""
    return f"CASE WHEN n.name ~ '^[0-9]+$' THEN CAST(n.name AS pg_catalog.oid) ELSE {by_name} END"


@lru_cache(maxsize=8)
def named_cast(type_: str) -> Tree:
    """``$1::regclass`` and its like, of a name or of digits."""
    catalog, by_name = _BY_NAME[type_]
    return expression(
        f"CAST((SELECT d.oid FROM (SELECT CAST($1 AS pg_catalog.text) AS name) AS n, pg_catalog.{catalog} AS d"
        f" WHERE d.oid = {_either(by_name)}) AS pg_catalog.{type_})"
    )


@lru_cache(maxsize=8)
def array_cast(type_: str) -> Tree:
    """``$1::regtype[]`` and its like, of OIDs."""
    catalog, _ = _BY_NAME[type_]
    return expression(
        "CAST(CASE WHEN $1 IS NOT NULL THEN ARRAY(SELECT d.oid FROM pg_catalog.unnest(CAST($1 AS pg_catalog.oid[]))"
        f" WITH ORDINALITY AS n (v, i) LEFT JOIN pg_catalog.{catalog} AS d ON d.oid = n.v ORDER BY n.i) END"
        f" AS pg_catalog.{type_}[])"
    )


def _to(type_: str) -> str:
    catalog, by_name = _BY_NAME[type_]
    return (
        f"CAST((SELECT d.oid FROM (SELECT CAST($1 AS pg_catalog.text) AS name) AS n, pg_catalog.{catalog} AS d"
        f" WHERE d.oid = {by_name}) AS pg_catalog.{type_})"
    )


_SERIAL = f"""
(SELECT (pg_catalog.quote_ident(CAST(s.nspname AS pg_catalog.text)) || '.')
    || pg_catalog.quote_ident(CAST(q.relname AS pg_catalog.text))
  FROM (SELECT CAST($1 AS pg_catalog.text) AS name, CAST($2 AS pg_catalog.text) AS col) AS n
  JOIN pg_catalog.pg_attribute AS a ON a.attname = n.col AND a.attnum > 0 AND a.attrelid = {_RELATION}
  JOIN pg_catalog.pg_depend AS d ON d.classid = 1259 AND d.refclassid = 1259 AND d.refobjid = a.attrelid
   AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
  JOIN pg_catalog.pg_class AS q ON q.oid = d.objid AND q.relkind = 'S'
  JOIN pg_catalog.pg_namespace AS s ON s.oid = q.relnamespace)"""

_ANCESTORS = f"""
pg_catalog.unnest(ARRAY(WITH RECURSIVE up (o) AS (
  SELECT k.oid FROM (SELECT CAST($1 AS pg_catalog.text) AS name) AS n, pg_catalog.pg_class AS k
   WHERE k.oid = {_either(_RELATION)} AND (k.relispartition OR k.relkind = 'p')
  UNION ALL SELECT h.inhparent FROM up JOIN pg_catalog.pg_class AS k ON k.oid = up.o AND k.relispartition
   JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = k.oid) SELECT up.o FROM up))"""

# Where a tablespace lies on the server is nobody's business but for those that lie in the server's own directory.
_LOCATION = """
(SELECT CAST('' AS pg_catalog.text) FROM (SELECT CAST($1 AS pg_catalog.oid) AS o) AS n
 WHERE n.o = 0 OR EXISTS (SELECT 1 FROM pg_catalog.pg_tablespace AS t WHERE t.oid = n.o AND t.oid < 16384))"""

# Sizes tell of hidden rows: nobody measured them.
_SIZE = "(SELECT CAST(NULL AS pg_catalog.int8) FROM (SELECT CAST($1 AS pg_catalog.text) AS name) AS n)"
_SIZES = "pg_relation_size pg_table_size pg_total_relation_size pg_indexes_size pg_database_size pg_tablespace_size"


def _privilege(catalog: str, oid: str, granted: str, first: int) -> str:
    """Whether the caller may do one of what is asked with an object that exists for him; NULL for others."""
    return (
        f"(SELECT pg_catalog.upper(n.asked) ~ '(^|,) *({granted}) *(,|$)'"
        f" FROM (SELECT CAST(${first} AS pg_catalog.text) AS name,"
        f" CAST(${first + 1} AS pg_catalog.text) AS asked) AS n,"
        f" pg_catalog.{catalog} AS d WHERE d.oid = {_either(oid)})"
    )


def _column_privilege(first: int) -> str:
    return (
        "(SELECT pg_catalog.upper(n.asked) ~ '(^|,) *SELECT *(,|$)'"
        f" FROM (SELECT CAST(${first} AS pg_catalog.text) AS name, CAST(${first + 1} AS pg_catalog.text) AS col,"
        f" CAST(${first + 2} AS pg_catalog.text) AS asked) AS n, pg_catalog.pg_attribute AS d"
        f" WHERE d.attrelid = {_either(_RELATION)}"
        " AND (d.attname = n.col OR CAST(d.attnum AS pg_catalog.text) = n.col))"
    )


_ITSELF = """
EXISTS (SELECT 1 FROM (SELECT CAST($1 AS pg_catalog.text) AS name) AS n, pg_catalog.pg_roles AS r
 WHERE r.rolname = CURRENT_USER AND (r.rolname = n.name OR CAST(r.oid AS pg_catalog.text) = n.name))"""

_DATABASE = "(SELECT b.oid FROM pg_catalog.pg_database AS b WHERE b.datname = n.name)"
_LANGUAGE = "(SELECT l.oid FROM pg_catalog.pg_language AS l WHERE l.lanname = n.name)"
_TABLESPACE = "(SELECT t.oid FROM pg_catalog.pg_tablespace AS t WHERE t.spcname = n.name)"

# What may be written hangs on rows and columns, which these functions do not ask about: they tell of reading alone.
_PRIVILEGES = {
    "has_table_privilege": ("pg_class", _RELATION, "SELECT"),
    "has_any_column_privilege": ("pg_class", _RELATION, "SELECT"),
    "has_sequence_privilege": ("pg_class", _RELATION, "none"),
    "has_schema_privilege": ("pg_namespace", _SCHEMA, "USAGE"),
    "has_database_privilege": ("pg_database", _DATABASE, "CONNECT|TEMP|TEMPORARY"),
    "has_type_privilege": ("pg_type", _TYPE, "USAGE"),
    "has_language_privilege": ("pg_language", _LANGUAGE, "USAGE"),
    "has_tablespace_privilege": ("pg_tablespace", _TABLESPACE, "none"),
    "has_function_privilege": ("pg_proc", _FUNCTION, "EXECUTE"),
}


def _has_role(first: int) -> str:
    return (
        f"(SELECT r.rolname = CURRENT_USER FROM (SELECT CAST(${first} AS pg_catalog.text) AS name) AS n,"
        " pg_catalog.pg_roles AS r WHERE r.rolname = n.name OR CAST(r.oid AS pg_catalog.text) = n.name)"
    )


def _calls() -> dict[tuple[str, int], str]:
    calls = {
        ("pg_get_serial_sequence", 2): _SERIAL,
        ("pg_partition_ancestors", 1): _ANCESTORS,
        ("pg_tablespace_location", 1): _LOCATION,
        ("pg_relation_size", 2): _SIZE,
        ("pg_has_role", 2): _has_role(1),
        ("pg_has_role", 3): f"CASE WHEN {_ITSELF} THEN {_has_role(2)} END",
        ("has_column_privilege", 3): _column_privilege(1),
        ("has_column_privilege", 4): f"CASE WHEN {_ITSELF} THEN {_column_privilege(2)} END",
    }
    calls |= {(f"to_{type_}", 1): _to(type_) for type_ in NAMED_CASTS}
    calls |= {(name, 1): _SIZE for name in _SIZES.split()}
    for name, (catalog, oid, granted) in _PRIVILEGES.items():
        calls[name, 2] = _privilege(catalog, oid, granted, 1)
        calls[name, 3] = f"CASE WHEN {_ITSELF} THEN {_privilege(catalog, oid, granted, 2)} END"
    return calls


CALLS: Mapping[tuple[str, int], Tree] = MappingProxyType({key: expression(text) for key, text in _calls().items()})
"""By name and number of arguments."""

FUNCTION_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        column: catalog
        for catalog, columns in {
            "pg_type": "typinput typoutput typreceive typsend typmodin typmodout typanalyze typsubscript",
            "pg_operator": "oprcode oprrest oprjoin",
            "pg_aggregate": "aggfnoid aggtransfn aggfinalfn aggcombinefn aggserialfn aggdeserialfn",
            "pg_proc": "prosupport",
            "pg_am": "amhandler",
            "pg_range": "rngcanonical rngsubdiff",
            "pg_conversion": "conproc",
        }.items()
        for column in columns.split()
    }
)
"""Columns of type regproc, which guards show as OIDs; by name, whose they are."""
