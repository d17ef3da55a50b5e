"""Which rows and columns of PostgreSQL's catalogs a caller may see, catalog by catalog.

PostgreSQL manual, chapter 53. Every filter follows from the relations and columns that exist for the caller; what is
not listed here is denied. A catalog that no caller needs is listed with no rows, so that tools which ask it go on.
"""

from __future__ import annotations

from collections.abc import Mapping

from datagate.backends.postgres.statements import SHOWN_SETTINGS
from datagate.model.fragment import Binding, Fragment
from datagate.model.values import ValueType

FIRST_USER_OID = 16384
COLUMN_STRIDE = 65536
"""A column's number in the list of visible ones: its relation's OID times this, plus its attnum."""

RELATIONS = Binding("catalog.relations", ValueType.BIGINT_ARRAY)
COLUMNS = Binding("catalog.columns", ValueType.BIGINT_ARRAY)
WHOLE = Binding("catalog.whole", ValueType.BIGINT_ARRAY)
DEFINED = Binding("catalog.defined", ValueType.BIGINT_ARRAY)
"""Views of which all that they are made of exists for the caller, so that their definition may be read."""
SCHEMAS = Binding("catalog.schemas", ValueType.TEXT_ARRAY)

_EVERYTHING = Fragment.of("true")
_NOTHING = Fragment.of("false")


def _is(expression: str, binding: Binding) -> Fragment:
    return Fragment.of(f"{expression} OPERATOR(pg_catalog.=) ANY(", binding, ")")


def _system(column: str = "g.oid") -> Fragment:
    """The engine's own object."""
    return Fragment.of(f"{column}::pg_catalog.int8 OPERATOR(pg_catalog.<) {FIRST_USER_OID}")


def _system_or(column: str, binding: Binding) -> Fragment:
    return Fragment.of("(", _system(column), " OR ", _is(f"{column}::pg_catalog.int8", binding), ")")


def _relation(column: str) -> Fragment:
    """The relation of that OID is the engine's own, or in the caller's sight."""
    return _system_or(column, RELATIONS)


def _whole(column: str) -> Fragment:
    """Every column of the relation is in the caller's sight."""
    return _system_or(column, WHOLE)


def _number(relation: str, number: str) -> str:
    return (
        f"({relation}::pg_catalog.int8 OPERATOR(pg_catalog.*) {COLUMN_STRIDE}"
        f" OPERATOR(pg_catalog.+) {number}::pg_catalog.int8)"
    )


def _column(relation: str, number: str) -> Fragment:
    """The column is the engine's own, or in the caller's sight; numbers below one are system columns."""
    return Fragment.of(
        "(",
        _system(relation),
        f" OR ({number} OPERATOR(pg_catalog.<) 1 AND ",
        _is(f"{relation}::pg_catalog.int8", RELATIONS),
        ") OR ",
        _is(_number(relation, number), COLUMNS),
        ")",
    )


def _keys(relation: str, keys: str) -> Fragment:
    """Every column number in the array is visible, and so is the relation."""
    return Fragment.of(
        "(",
        _system(relation),
        " OR (",
        _is(f"{relation}::pg_catalog.int8", RELATIONS),
        f" AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest({keys}::pg_catalog.int2[]) AS n WHERE n"
        " OPERATOR(pg_catalog.<>) 0 AND NOT ",
        _is(_number(relation, "n"), COLUMNS),
        ")))",
    )


def _index(alias: str) -> Fragment:
    """All that it is over is visible; of an expression that is not worked out, so the whole relation must be."""
    return Fragment.of(
        _keys(f"{alias}.indrelid", f"{alias}.indkey"),
        f" AND (({alias}.indexprs IS NULL AND {alias}.indpred IS NULL) OR ",
        _whole(f"{alias}.indrelid"),
        ")",
    )


def _owned_sequence(oid: str) -> Fragment:
    """A sequence that belongs to a column in the caller's sight (serial, identity, OWNED BY)."""
    return Fragment.of(
        "EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d WHERE d.classid OPERATOR(pg_catalog.=) 1259 AND d.objid"
        f" OPERATOR(pg_catalog.=) {oid} AND d.refclassid OPERATOR(pg_catalog.=) 1259 AND d.refobjsubid"
        " OPERATOR(pg_catalog.>) 0 AND d.deptype OPERATOR(pg_catalog.=) ANY ('{a,i}'::pg_catalog.\"char\"[]) AND ",
        _column("d.refobjid", "d.refobjsubid"),
        # An index depends on its columns in the same way.
        f" AND EXISTS (SELECT 1 FROM pg_catalog.pg_sequence AS q WHERE q.seqrelid OPERATOR(pg_catalog.=) {oid}))",
    )


def _no_user_function(catalog: int, oid: str) -> Fragment:
    """What it says names no function but the engine's own, on which nothing is recorded to depend."""
    return Fragment.of(
        f"NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d WHERE d.classid OPERATOR(pg_catalog.=) {catalog}"
        f" AND d.objid OPERATOR(pg_catalog.=) {oid} AND d.refclassid OPERATOR(pg_catalog.=) 1255)"
    )


# An index is a relation of its own; it is visible as its row in pg_index is.
_CLASS = Fragment.of(
    "(",
    _relation("g.oid"),
    " OR (g.relkind OPERATOR(pg_catalog.=) ANY ('{i,I}'::pg_catalog.\"char\"[]) AND EXISTS (SELECT 1 FROM"
    " pg_catalog.pg_index AS i WHERE i.indexrelid OPERATOR(pg_catalog.=) g.oid AND ",
    _index("i"),
    ")) OR (g.relkind OPERATOR(pg_catalog.=) 'S' AND ",
    _owned_sequence("g.oid"),
    "))",
)

# Columns of a relation, of an index and of a sequence.
_ATTRIBUTE = Fragment.of(
    "(",
    _column("g.attrelid", "g.attnum"),
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_index AS i WHERE i.indexrelid OPERATOR(pg_catalog.=) g.attrelid AND ",
    _index("i"),
    ") OR ",
    _owned_sequence("g.attrelid"),
    ")",
)

# A default or a generation expression: all columns in it are visible, and the sequence belongs to such a column.
_DEFAULT = Fragment.of(
    _column("g.adrelid", "g.adnum"),
    " AND ",
    _no_user_function(2604, "g.oid"),
    " AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS r WHERE r.classid OPERATOR(pg_catalog.=) 2604 AND r.objid"
    " OPERATOR(pg_catalog.=) g.oid AND r.refclassid OPERATOR(pg_catalog.=) 1259 AND NOT ((r.refobjsubid"
    " OPERATOR(pg_catalog.>) 0 AND ",
    _column("r.refobjid", "r.refobjsubid"),
    ") OR ",
    _owned_sequence("r.refobjid"),
    "))",
)


def seen_constraint(alias: str) -> Fragment:
    """All columns of both sides are visible, and a check calls no function of somebody's own."""
    return Fragment.of(
        f"({alias}.conrelid OPERATOR(pg_catalog.=) 0 OR ",
        _keys(f"{alias}.conrelid", f"{alias}.conkey"),
        f") AND ({alias}.confrelid OPERATOR(pg_catalog.=) 0 OR ",
        _keys(f"{alias}.confrelid", f"{alias}.confkey"),
        f") AND ({alias}.contype OPERATOR(pg_catalog.<>) 'c' OR (",
        _no_user_function(2606, f"{alias}.oid"),
        f" AND ({alias}.conrelid OPERATOR(pg_catalog.=) 0 OR pg_catalog.cardinality({alias}.conkey)"
        " OPERATOR(pg_catalog.>) 0 OR ",
        _whole(f"{alias}.conrelid"),
        f"))) AND ({alias}.contype OPERATOR(pg_catalog.<>) 'x' OR ",
        _whole(f"{alias}.conrelid"),
        ")",
    )


# A row type, or an array of one, is named like its relation.
_TYPE = Fragment.of(
    "((g.typrelid OPERATOR(pg_catalog.=) 0 OR ",
    _relation("g.typrelid"),
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) g.typrelid"
    " AND c.relkind OPERATOR(pg_catalog.=) 'c')) AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type AS e JOIN"
    " pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) e.typrelid WHERE e.oid OPERATOR(pg_catalog.=) g.typelem"
    " AND c.relkind OPERATOR(pg_catalog.<>) 'c' AND NOT ",
    _relation("c.oid"),
    "))",
)

_DESCRIPTION = Fragment.of(
    "(",
    _system("g.objoid"),
    " OR (g.classoid OPERATOR(pg_catalog.=) 1259 AND ",
    _column("g.objoid", "g.objsubid"),
    ") OR (g.classoid OPERATOR(pg_catalog.=) 2606 AND EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k"
    " WHERE k.oid OPERATOR(pg_catalog.=) g.objoid AND ",
    seen_constraint("k"),
    ")))",
)

# The engine's own triggers (of foreign keys) on tables that are visible whole; others call what is not.
_TRIGGER = Fragment.of(
    _whole("g.tgrelid"),
    " AND (g.tgconstrrelid OPERATOR(pg_catalog.=) 0 OR ",
    _whole("g.tgconstrrelid"),
    ") AND ",
    _system("g.tgfoid"),
)

# What sequences and constraints belong to and use; of everything else only between the engine's own objects.
_DEPEND = Fragment.of(
    "((",
    _system("g.objid"),
    " AND ",
    _system("g.refobjid"),
    ") OR (g.classid OPERATOR(pg_catalog.=) 1259 AND g.refclassid OPERATOR(pg_catalog.=) 1259 AND g.refobjsubid"
    " OPERATOR(pg_catalog.>) 0 AND g.deptype OPERATOR(pg_catalog.=) ANY ('{a,i}'::pg_catalog.\"char\"[]) AND ",
    _column("g.refobjid", "g.refobjsubid"),
    " AND EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) g.objid AND c.relkind"
    " OPERATOR(pg_catalog.=) 'S')) OR (g.classid OPERATOR(pg_catalog.=) 2606"
    " AND g.refclassid OPERATOR(pg_catalog.=) 1259"
    " AND EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k WHERE k.oid OPERATOR(pg_catalog.=) g.objid AND ",
    seen_constraint("k"),
    ") AND (",
    _column("g.refobjid", "g.refobjsubid"),
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_index AS i WHERE i.indexrelid OPERATOR(pg_catalog.=) g.refobjid AND ",
    _index("i"),
    "))) OR (g.classid OPERATOR(pg_catalog.=) 1259 AND g.refclassid OPERATOR(pg_catalog.=) 2606"
    " AND EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k WHERE k.oid OPERATOR(pg_catalog.=) g.refobjid AND ",
    seen_constraint("k"),
    ")))",
)

# The engine's own functions, and those that an extension brought.
_FUNCTION = Fragment.of(
    "(",
    _system(),
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d WHERE d.classid OPERATOR(pg_catalog.=) 1255 AND d.objid"
    " OPERATOR(pg_catalog.=) g.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'))",
)

_SETTINGS = ", ".join(f"'{name}'" for name in sorted(SHOWN_SETTINGS))

FILTERS: Mapping[str, Fragment] = {
    "pg_namespace": Fragment.of(
        "(g.nspname OPERATOR(pg_catalog.=) ANY ('{pg_catalog,pg_toast,information_schema}'::pg_catalog.name[]) OR ",
        _is("g.nspname::pg_catalog.text", SCHEMAS),
        ")",
    ),
    "pg_class": _CLASS,
    "pg_attribute": _ATTRIBUTE,
    "pg_attrdef": _DEFAULT,
    "pg_index": _index("g"),
    "pg_constraint": seen_constraint("g"),
    "pg_inherits": Fragment.of(_relation("g.inhrelid"), " AND ", _relation("g.inhparent")),
    "pg_description": _DESCRIPTION,
    "pg_type": _TYPE,
    "pg_proc": _FUNCTION,
    "pg_rewrite": _system_or("g.ev_class", DEFINED),
    "pg_trigger": _TRIGGER,
    "pg_sequence": Fragment.of("(", _system("g.seqrelid"), " OR ", _owned_sequence("g.seqrelid"), ")"),
    "pg_statistic_ext": Fragment.of(_keys("g.stxrelid", "g.stxkeys"), " AND g.stxexprs IS NULL"),
    "pg_partitioned_table": _whole("g.partrelid"),
    "pg_foreign_table": _relation("g.ftrelid"),
    "pg_depend": _DEPEND,
    "pg_database": Fragment.of("g.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"),
    "pg_settings": Fragment.of(f"g.name OPERATOR(pg_catalog.=) ANY (ARRAY[{_SETTINGS}])"),
    # The engine's own roles and the one that the statement runs under; others are nobody's business.
    "pg_roles": Fragment.of("(", _system(), " OR g.rolname OPERATOR(pg_catalog.=) CURRENT_USER)"),
    # Names of types and their parts tell nothing of rows.
    "pg_enum": _EVERYTHING,
    "pg_range": _EVERYTHING,
    "pg_collation": _EVERYTHING,
    "pg_am": _EVERYTHING,
    "pg_opclass": _EVERYTHING,
    "pg_opfamily": _EVERYTHING,
    "pg_operator": _EVERYTHING,
    "pg_cast": _EVERYTHING,
    "pg_language": _EVERYTHING,
    "pg_tablespace": _EVERYTHING,
    "pg_extension": _EVERYTHING,
    "pg_foreign_data_wrapper": _EVERYTHING,
    "pg_timezone_names": _EVERYTHING,
    "pg_timezone_abbrevs": _EVERYTHING,
    "pg_aggregate": _system("g.aggfnoid::pg_catalog.oid"),
    "pg_amop": _system(),
    "pg_amproc": _system(),
    "pg_conversion": _system(),
    "pg_ts_config": _system(),
    "pg_ts_dict": _system(),
    "pg_ts_parser": _system(),
    "pg_ts_template": _system(),
    # Nothing of these is the caller's: row security, replication, servers, memberships, rights of roles.
    "pg_policy": _NOTHING,
    "pg_publication": _NOTHING,
    "pg_publication_rel": _NOTHING,
    "pg_publication_namespace": _NOTHING,
    "pg_foreign_server": _NOTHING,
    "pg_event_trigger": _NOTHING,
    "pg_auth_members": _NOTHING,
    "pg_default_acl": _NOTHING,
    "pg_db_role_setting": _NOTHING,
    "pg_publication_tables": _NOTHING,
    "pg_seclabels": _NOTHING,
    "pg_shseclabel": _NOTHING,
    "pg_transform": _NOTHING,
    "pg_policies": _NOTHING,
    "pg_rules": _NOTHING,
    "pg_prepared_xacts": _NOTHING,
    # What runs elsewhere; of this session, nothing of what its statement became on its way.
    "pg_prepared_statements": _NOTHING,
    "pg_cursors": _NOTHING,
    "pg_locks": _NOTHING,
    "pg_replication_slots": _NOTHING,
    "pg_stat_activity": Fragment.of("g.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"),
    "pg_statio_all_tables": _relation("g.relid"),
    "pg_stat_ssl": _NOTHING,
    "pg_stat_gssapi": _NOTHING,
    "pg_stat_replication": _NOTHING,
    "pg_stat_wal_receiver": _NOTHING,
    "pg_stat_subscription": _NOTHING,
    "pg_shdescription": _NOTHING,
    "pg_seclabel": _NOTHING,
}
