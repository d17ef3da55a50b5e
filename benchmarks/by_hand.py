"""What somebody who writes the policies of ``policies/tpch_*`` into TPC-H's queries by hand would write.

Several ways to write the same, with literals, since which is the fastest depends on the query: each relation as a
subquery (``EXISTS``, ``IN`` or a join where rows are visible through others), as a CTE, or as a condition in the
query's own WHERE with masks in a subquery. The same policies once more as PostgreSQL has them: row-level security
behind views with ``security_barrier``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from datagate.sql.dialect import generate, parse_canonical
from datagate.sql.dialect.nodes import GuardText

NATIONS = (2, 3, 6, 7, 8, 9, 12, 18, 19, 20, 21, 23)
SINCE = "1993-06-01"
NATIVE = "native"

_MASKS: Mapping[str, Mapping[str, str]] = {
    "supplier": {
        "s_address": "'***'",
        "s_phone": "repeat('*', length(s_phone) - 4) || right(s_phone, 4)",
        "s_acctbal": "round(s_acctbal, -2)",
    },
    "customer": {
        "c_address": "'***'",
        "c_phone": "left(c_phone, 2) || repeat('*', length(c_phone) - 2)",
        "c_acctbal": "round(c_acctbal, -1)",
    },
    "partsupp": {"ps_supplycost": "round(ps_supplycost, -1)", "ps_comment": "'***'"},
    "orders": {"o_clerk": "'***'", "o_totalprice": "round(o_totalprice, -3)"},
    "lineitem": {"l_extendedprice": "round(l_extendedprice, -1)", "l_comment": "'***'"},
}
_NATIONS = ", ".join(map(str, NATIONS))
_OWN = {
    "supplier": f"s_nationkey IN ({_NATIONS})",
    "customer": f"c_nationkey IN ({_NATIONS})",
}
DIRECT: Mapping[str, str] = {
    **_OWN,
    "partsupp": "ps_availqty > 100",
    "orders": f"o_orderdate >= DATE '{SINCE}'",
    "lineitem": f"l_shipdate >= DATE '{SINCE}'",
}
"""Filters by columns of the relation itself."""

THROUGH: Mapping[str, Mapping[str, str]] = {
    "EXISTS": {
        **_OWN,
        "partsupp": f"EXISTS (SELECT FROM tpch.supplier WHERE s_suppkey = ps_suppkey AND {_OWN['supplier']})",
        "orders": f"EXISTS (SELECT FROM tpch.customer WHERE c_custkey = o_custkey AND {_OWN['customer']})",
        "lineitem": (
            "EXISTS (SELECT FROM tpch.orders WHERE o_orderkey = l_orderkey"
            f" AND EXISTS (SELECT FROM tpch.customer WHERE c_custkey = o_custkey AND {_OWN['customer']}))"
        ),
    },
    "IN": {
        **_OWN,
        "partsupp": f"ps_suppkey IN (SELECT s_suppkey FROM tpch.supplier WHERE {_OWN['supplier']})",
        "orders": f"o_custkey IN (SELECT c_custkey FROM tpch.customer WHERE {_OWN['customer']})",
        "lineitem": (
            "l_orderkey IN (SELECT o_orderkey FROM tpch.orders"
            f" JOIN tpch.customer ON c_custkey = o_custkey WHERE {_OWN['customer']})"
        ),
    },
}
"""Filters through what a row belongs to, as semi-joins."""

# Row-level security holds for what a policy reads, too: nobody repeats the conditions.
_NATIVE_THROUGH = {
    **_OWN,
    "partsupp": "EXISTS (SELECT FROM tpch.supplier WHERE s_suppkey = ps_suppkey)",
    "orders": "EXISTS (SELECT FROM tpch.customer WHERE c_custkey = o_custkey)",
    "lineitem": "EXISTS (SELECT FROM tpch.orders WHERE o_orderkey = l_orderkey)",
}
_JOINS = {
    "partsupp": ("JOIN tpch.supplier ON s_suppkey = ps_suppkey", _OWN["supplier"]),
    "orders": ("JOIN tpch.customer ON c_custkey = o_custkey", _OWN["customer"]),
    "lineitem": (
        "JOIN tpch.orders ON o_orderkey = l_orderkey JOIN tpch.customer ON c_custkey = o_custkey",
        _OWN["customer"],
    ),
}

Columns = Mapping[str, tuple[str, ...]]


def forms(policy: str, text: str, columns: Columns) -> dict[str, str]:
    """A query written by hand for a policy (``direct`` or ``through``) in each of the ways.

    ``columns``: those of every relation, in order.
    """
    ways = {"subquery": DIRECT} if policy == "direct" else {f"subquery, {way}": where for way, where in THROUGH.items()}
    out = {way: _inlined(text, _subqueries(where, columns, text)) for way, where in ways.items()}
    bodies = _subqueries(next(iter(ways.values())), columns, text)
    if policy == "through":
        bodies_by_join = {**bodies, **_joined(columns, text)}
        out["subquery, JOIN"] = _inlined(text, bodies_by_join)
        ctes = _through_ctes(columns, text)
        out["CTE"] = _with(text, ctes | {name: body for name, body in bodies.items() if name not in ctes})
    else:
        out["CTE"] = _with(text, bodies)
        out["WHERE"] = _in_where(text, columns)
    return out


def _targets(relation: str, columns: Columns, text: str) -> str:
    """The columns that the query names, masked: nobody writes the others by hand."""
    masks = _MASKS.get(relation, {})
    lower = text.lower()
    named = [column for column in columns[relation] if column in lower] or [columns[relation][0]]
    return ", ".join(f"{masks[column]} AS {column}" if column in masks else column for column in named)


def _subqueries(where: Mapping[str, str], columns: Columns, text: str) -> dict[str, str]:
    return {
        relation: f"SELECT {_targets(relation, columns, text)} FROM tpch.{relation} WHERE {condition}"
        for relation, condition in where.items()
    }


def _joined(columns: Columns, text: str) -> dict[str, str]:
    return {
        relation: f"SELECT {_targets(relation, columns, text)} FROM tpch.{relation} {join} WHERE {condition}"
        for relation, (join, condition) in _JOINS.items()
    }


def _through_ctes(columns: Columns, text: str) -> dict[str, str]:
    """Each CTE reads the one before it."""
    visible = "o_custkey IN (SELECT c_custkey FROM visible_customer)"
    return {
        "visible_customer": f"SELECT c_custkey FROM tpch.customer WHERE {_OWN['customer']}",
        "visible_order": f"SELECT o_orderkey FROM tpch.orders WHERE {visible}",
        "orders": f"SELECT {_targets('orders', columns, text)} FROM tpch.orders WHERE {visible}",
        "lineitem": f"SELECT {_targets('lineitem', columns, text)} FROM tpch.lineitem"
        " WHERE l_orderkey IN (SELECT o_orderkey FROM visible_order)",
    }


def _tables(tree: exp.Expression, relations: Mapping[str, object]) -> Iterator[exp.Table]:
    for table in list(tree.find_all(exp.Table)):
        if table.name in relations:
            yield table


def _inlined(text: str, bodies: Mapping[str, str]) -> str:
    """The query with each relation as a subquery."""
    tree = parse_canonical(text)
    for table in _tables(tree, bodies):
        alias = exp.TableAlias(this=exp.to_identifier(table.alias_or_name))
        table.replace(exp.Subquery(this=GuardText(this=bodies[table.name]), alias=alias))
    return generate(tree)


def _with(text: str, bodies: Mapping[str, str]) -> str:
    """The query with each relation as a CTE; PostgreSQL merges one that is named once."""
    ctes = ", ".join(f"{relation} AS ({body})" for relation, body in bodies.items())
    stripped = text.strip()
    if stripped.lower().startswith("with "):
        return f"WITH {ctes}, {stripped[5:]}"
    return f"WITH {ctes} {stripped}"


def _in_where(text: str, columns: Columns) -> str:
    """The filters in the WHERE of each SELECT; where a masked column is named, or a join is outer, a subquery."""
    tree = parse_canonical(text)
    bodies = _subqueries(DIRECT, columns, text)
    for table in _tables(tree, bodies):
        select = table.parent_select
        join = table.find_ancestor(exp.Join)
        masked = any(column in text.lower() for column in _MASKS.get(table.name, {}))
        if masked or join is not None or select is None:
            alias = exp.TableAlias(this=exp.to_identifier(table.alias_or_name))
            table.replace(exp.Subquery(this=GuardText(this=bodies[table.name]), alias=alias))
        else:
            _add(select, f"{table.alias_or_name}.{DIRECT[table.name]}")
    return generate(tree)


def _add(select: exp.Expression, condition: str) -> None:
    where = select.args.get("where")
    added = GuardText(this=condition)
    if where is None:
        select.set("where", exp.Where(this=added))
    else:
        where.set("this", exp.And(this=exp.Paren(this=where.this), expression=added))


def native(policy: str, columns: Columns) -> Iterator[str]:
    """Row-level security and masking views of the policy, for the role ``native``; the views are on its search path."""
    where = DIRECT if policy == "direct" else _NATIVE_THROUGH
    yield f"CREATE ROLE {NATIVE} LOGIN"
    yield f"CREATE SCHEMA {NATIVE} AUTHORIZATION {NATIVE}"
    yield f"GRANT USAGE ON SCHEMA tpch TO {NATIVE}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA tpch TO {NATIVE}"
    for relation in columns:
        if relation in where:
            yield f"ALTER TABLE tpch.{relation} ENABLE ROW LEVEL SECURITY"
            yield f"CREATE POLICY p ON tpch.{relation} TO {NATIVE} USING ({where[relation]})"
        masks = _MASKS.get(relation, {})
        targets = ", ".join(f"{masks[name]} AS {name}" if name in masks else name for name in columns[relation])
        yield f"CREATE VIEW {NATIVE}.{relation} WITH (security_barrier) AS SELECT {targets} FROM tpch.{relation}"
        # The owner's rights count inside a view, and row-level security binds this owner.
        yield f"ALTER VIEW {NATIVE}.{relation} OWNER TO {NATIVE}"


def drop_native(columns: Columns) -> Iterator[str]:
    """Undo `native`."""
    for relation in columns:
        yield f"DROP POLICY IF EXISTS p ON tpch.{relation}"
        yield f"ALTER TABLE tpch.{relation} DISABLE ROW LEVEL SECURITY"
    yield f"DROP OWNED BY {NATIVE} CASCADE"
    yield f"DROP ROLE {NATIVE}"
