"""What the service role may do beyond what the policies need, and what mends it.

Each check is one query on the catalog, which any role may read; it gives a place and the SQL that mends it there.
PostgreSQL manual, chapters 5.8 (Privileges), 21 (Database Roles), 38.3 (security of functions), 53 (System Catalogs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import psycopg

OLDEST_SERVER = 150000


class Severity(Enum):
    """How bad: SERIOUS opens a way past the gate, or could; ADVICE does not."""

    SERIOUS = "serious"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend; ``mend`` is SQL to run as the owner or a superuser, or a sentence where no SQL does it."""

    severity: Severity
    what: str
    where: str
    why: str
    mend: str


@dataclass(frozen=True, slots=True)
class _Check:
    severity: Severity
    what: str
    why: str
    query: str


_SERIOUS, _ADVICE = Severity.SERIOUS, Severity.ADVICE

# What every query may speak of: the role itself (me), and each role that it is or can become (am).
_WITH = """
WITH me AS (SELECT * FROM pg_catalog.pg_roles WHERE rolname = current_user),
am AS (SELECT r.oid FROM pg_catalog.pg_roles r, me WHERE r.oid = me.oid
       OR (NOT me.rolsuper AND pg_catalog.pg_has_role(me.oid, r.oid, 'MEMBER'))),
boss AS (SELECT pg_catalog.quote_ident(rolname) AS boss FROM pg_catalog.pg_roles WHERE oid = 10),
mine AS (SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n
         WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
"""

_FROM = "CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END"
_GRANTED = "(a.grantee = 0 OR a.grantee IN (SELECT oid FROM am))"
_CALLABLE = """
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang, me
 WHERE p.oid >= 16384 AND n.nspname <> 'datagate' AND NOT me.rolsuper
   AND pg_catalog.has_function_privilege(me.oid, p.oid, 'EXECUTE')
"""
_REVOKE_CALL = """
pg_catalog.format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC, %I', p.oid::regprocedure, me.rolname)
"""

_CHECKS: tuple[_Check, ...] = (
    *(
        _Check(
            _SERIOUS,
            f"the role has {word}",
            why,
            f"SELECT rolname::text, format('ALTER ROLE %I NO{word}', rolname) FROM me WHERE {column}",
        )
        for word, column, why in (
            ("SUPERUSER", "rolsuper", "no privilege and no row security holds it back"),
            ("BYPASSRLS", "rolbypassrls", "the row security behind the gate does not hold for it"),
            ("CREATEROLE", "rolcreaterole", "it can make roles and give itself theirs"),
            ("CREATEDB", "rolcreatedb", "it can copy databases that it may connect to"),
            ("REPLICATION", "rolreplication", "it can read every change of every table"),
        )
    ),
    _Check(
        _SERIOUS,
        "the role is a member of another role",
        "it has, or can take on by SET ROLE, all that the other may do",
        "SELECT g.rolname::text, format('REVOKE %I FROM %I', g.rolname, me.rolname) FROM me"
        " JOIN pg_catalog.pg_auth_members m ON m.member = me.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid",
    ),
    _Check(
        _SERIOUS,
        "the role owns the database",
        "an owner can change and grant all",
        # What it had been granted itself goes with the ownership.
        "SELECT datname::text, format('ALTER DATABASE %1$I OWNER TO %2$s; GRANT CONNECT, TEMPORARY ON DATABASE %1$I TO"
        " %3$I', datname, boss, me.rolname) FROM pg_catalog.pg_database, boss, me"
        " WHERE datname = current_database() AND datdba <> 10 AND datdba IN (SELECT oid FROM am)",
    ),
    _Check(
        _SERIOUS,
        "the role owns a schema",
        "an owner can put objects into it that stand in for others",
        "SELECT nspname::text, format('ALTER SCHEMA %I OWNER TO %s', nspname, boss) FROM mine, boss"
        " WHERE nspowner <> 10 AND nspowner IN (SELECT oid FROM am)",
    ),
    _Check(
        _SERIOUS,
        "the role owns a relation",
        "an owner is bound by no privilege and no row security",
        "SELECT c.oid::regclass::text, format('ALTER %s %s OWNER TO %s', CASE relkind WHEN 'v' THEN 'VIEW'"
        " WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,"
        " c.oid::regclass, boss) FROM pg_catalog.pg_class c JOIN mine n ON n.oid = c.relnamespace, boss"
        " WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relowner <> 10 AND relowner IN (SELECT oid FROM am)",
    ),
    _Check(
        _SERIOUS,
        "the role may create in the database",
        "it can make schemas, and objects in them that stand in for others",
        f"SELECT datname::text, format('REVOKE CREATE ON DATABASE %I FROM %s', datname, {_FROM})"
        " FROM pg_catalog.pg_database, pg_catalog.aclexplode(datacl) a"
        f" WHERE datname = current_database() AND a.privilege_type = 'CREATE' AND {_GRANTED}",
    ),
    _Check(
        _ADVICE,
        "the role may make temporary objects",
        "a temporary object is found before others by unqualified names",
        f"SELECT datname::text, format('REVOKE TEMPORARY ON DATABASE %I FROM %s', datname, {_FROM})"
        " FROM pg_catalog.pg_database,"
        " pg_catalog.aclexplode(COALESCE(datacl, pg_catalog.acldefault('d', datdba))) a"
        f" WHERE datname = current_database() AND a.privilege_type = 'TEMPORARY' AND {_GRANTED}",
    ),
    _Check(
        _SERIOUS,
        "the role may create in a schema",
        "what it creates can stand in for functions, operators and tables of others",
        f"SELECT nspname::text, format('REVOKE CREATE ON SCHEMA %I FROM %s', nspname, {_FROM}) FROM mine,"
        f" pg_catalog.aclexplode(nspacl) a WHERE a.privilege_type = 'CREATE' AND {_GRANTED}"
        " AND a.grantee <> 10",
    ),
    _Check(
        _SERIOUS,
        "the role may call a function of an untrusted language",
        "such a function can do whatever the server's process can",
        f"SELECT p.oid::regprocedure::text, {_REVOKE_CALL} {_CALLABLE} AND NOT l.lanpltrusted"
        " AND l.lanname NOT IN ('c', 'internal')",
    ),
    _Check(
        _SERIOUS,
        "the role may call a function of a dangerous extension",
        "it reaches files, other servers or large objects, which no policy governs",
        f"SELECT p.oid::regprocedure::text, {_REVOKE_CALL} {_CALLABLE} AND EXISTS ("
        " SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid"
        " WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'"
        " AND e.extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'adminpack', 'lo', 'pageinspect', 'tablefunc'))",
    ),
    _Check(
        _SERIOUS,
        "a SECURITY DEFINER function without a search_path of its own",
        "it runs as its owner and finds names by the caller's search_path",
        "SELECT p.oid::regprocedure::text, format('ALTER ROUTINE %s SET search_path = pg_catalog, pg_temp',"
        f" p.oid::regprocedure) {_CALLABLE} AND p.prosecdef"
        " AND NOT EXISTS (SELECT 1 FROM unnest(p.proconfig) c WHERE c LIKE 'search\\_path=%')",
    ),
    _Check(
        _SERIOUS,
        "a cast that nobody has to name calls a function of somebody's own",
        "it runs wherever the types meet, and no list of functions is asked",
        "SELECT format('%s AS %s', castsource::regtype, casttarget::regtype),"
        " format('DROP CAST (%s AS %s)', castsource::regtype, casttarget::regtype) FROM pg_catalog.pg_cast"
        " WHERE oid >= 16384 AND castfunc >= 16384 AND castcontext IN ('i', 'a')"
        " AND castsource < 16384 AND casttarget < 16384",
    ),
    *(
        _Check(
            severity,
            f"{name} is {wrong}",
            why,
            f"SELECT '{name}'::text, format('ALTER ROLE %I SET {name} = {right}', rolname) FROM me"
            f" WHERE pg_catalog.current_setting('{name}') = '{wrong}'",
        )
        for severity, name, wrong, right, why in (
            (_SERIOUS, "standard_conforming_strings", "off", "on", "literals end elsewhere than the gate reads"),
            (_SERIOUS, "row_security", "off", "on", "statements fail where row security would have filtered"),
            (_SERIOUS, "backslash_quote", "on", "safe_encoding", "a quote can hide behind a backslash"),
            (_ADVICE, "transform_null_equals", "on", "off", "comparisons with NULL change their meaning"),
        )
    ),
    _Check(
        _ADVICE,
        "the server logs the values of parameters",
        "policy values and keys of masks travel as parameters",
        "SELECT 'log_parameter_max_length'::text, format('ALTER ROLE %I SET log_parameter_max_length = 0', rolname)"
        " FROM me WHERE pg_catalog.current_setting('log_parameter_max_length') <> '0'"
        " AND (pg_catalog.current_setting('log_statement') = 'all'"
        " OR pg_catalog.current_setting('log_min_duration_statement') <> '-1')",
    ),
)

_GRANTS = f"""
{_WITH}
SELECT n.nspname::text, c.relname::text, c.relkind::text, g.column_name, g.privilege,
       format('REVOKE %s%s ON TABLE %s FROM %s', g.privilege, ' (' || quote_ident(g.column_name) || ')',
              c.oid::regclass, g.grantee)
  FROM pg_catalog.pg_class c JOIN mine n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT NULL::text AS column_name, a.privilege_type AS privilege, {_FROM} AS grantee
      FROM pg_catalog.aclexplode(c.relacl) a WHERE {_GRANTED}
    UNION ALL
    SELECT t.attname::text, a.privilege_type, {_FROM}
      FROM pg_catalog.pg_attribute t, pg_catalog.aclexplode(t.attacl) a
     WHERE t.attrelid = c.oid AND NOT t.attisdropped AND {_GRANTED}) g
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS (SELECT 1 FROM am WHERE am.oid = c.relowner)
 ORDER BY 1, 2, 4, 5
"""

_RELATIONS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text, c.relrowsecurity,
       EXISTS (SELECT 1 FROM pg_catalog.pg_publication_tables t
                WHERE t.schemaname = n.nspname AND t.tablename = c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('information_schema', 'datagate') ORDER BY 1, 2
"""

_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table"}
Needs = Mapping[tuple[str, str], frozenset[str]]
"""The privileges that the policies need, by schema and relation; a relation that is not in it has no policy."""


def examine(connection: psycopg.Connection[Any], needs: Needs) -> list[Finding]:
    """Everything that is found of the role that is connected.

    Args:
        connection: as the service role, in autocommit.
        needs: what the policies need.

    Raises:
        psycopg.Error: the server refuses to be looked at.
    """
    with connection.transaction():
        connection.execute("SET LOCAL search_path = ''")
        found = [*_of_server(connection), *_of_role(connection), *_of_grants(connection, needs)]
        return [*found, *_of_relations(connection, needs)]


def _of_server(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        why = "texts and names are not what the gate takes them for"
        mend = "dump the database, and restore it into one with ENCODING 'UTF8'"
        yield Finding(_SERIOUS, f"the database's encoding is {encoding}", connection.info.dbname, why, mend)
    if connection.info.server_version < OLDEST_SERVER:
        why = "datagate is not tested with it"
        yield Finding(_SERIOUS, "the server is too old", connection.info.host, why, "upgrade to PostgreSQL 15 or later")


def _of_role(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    for check in _CHECKS:
        for where, mend in connection.execute(f"{_WITH} {check.query} ORDER BY 1, 2".encode()):
            yield Finding(check.severity, check.what, where, check.why, " ".join(mend.split()))


def _of_grants(connection: psycopg.Connection[Any], needs: Needs) -> Iterator[Finding]:
    for schema, name, kind, column, privilege, mend in connection.execute(_GRANTS.encode()):
        where = f"{schema}.{name}" + (f".{column}" if column else "")
        needed = needs.get((schema, name), frozenset())
        if privilege in needed:
            continue
        if (schema, name) in needs:
            yield Finding(_SERIOUS, f"the role may {privilege}", where, "no rule of a policy needs it", mend)
        else:
            why = f"no policy governs this {_KINDS.get(kind, 'table')}, so nothing stands behind the gate"
            yield Finding(_SERIOUS, f"the role may {privilege}", where, why, mend)


def _of_relations(connection: psycopg.Connection[Any], needs: Needs) -> Iterator[Finding]:
    for schema, name, kind, secured, published in connection.execute(_RELATIONS.encode()):
        where = f"{schema}.{name}"
        if (schema, name) not in needs:
            what = f"a {_KINDS.get(kind, 'table')} without a policy"
            why = "the gate denies it, or a view is seen through where all that it reads is visible"
            yield Finding(_ADVICE, what, where, why, "write a policy file for it if somebody shall see it")
        elif secured:
            why = "its policies filter behind the gate too, and must let the role see what datagate's rules show"
            yield Finding(_ADVICE, "row security is on", where, why, "check that both say the same")
        if published:
            why = "a publication hands its rows out past every policy"
            yield Finding(
                _ADVICE, "published for replication", where, why, "drop it from the publication if not wanted"
            )
