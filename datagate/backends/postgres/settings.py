"""Finds policies' expressions that mean something else under another session's settings, which callers may SET.

The server itself is asked, on temporary tables with the relations' columns. Each expression becomes a CHECK constraint
under several settings: a constant is turned into a value when it is parsed, so where the parsed trees differ, it reads
differently. Then the tree is walked: every function, operator and conversion in it must be immutable, or one of the few
that change with the clock or the catalog only. What the walk does not know is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from datagate.backends.postgres.guards import quote
from datagate.backends.postgres.mask_types import cast
from datagate.backends.postgres.node_tree import Node, read_node_tree
from datagate.backends.postgres.predicate import compile_predicate, sql_type
from datagate.errors import Problem
from datagate.model.catalog import Catalog, Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.mask import MaskKind
from datagate.model.policy import PolicySet, Predicate, Scope
from datagate.model.source import SourceRef
from datagate.model.values import ValueType

_NAMES = ("timezone", "datestyle", "intervalstyle", "extra_float_digits", "bytea_output", "xmloption")
SETTINGS = (
    ("UTC", "ISO, MDY", "postgres", "1", "hex", "content"),
    ("Pacific/Kiritimati", "German, DMY", "sql_standard", "-15", "escape", "document"),
    ("<UTC>+12", "SQL, YMD", "iso_8601", "3", "escape", "content"),
)
"""What constants are read under: values of _NAMES, 26 hours and every order of day and month apart."""

_STEADY = frozenset({"now", "statement_timestamp", "clock_timestamp", "enum_in", "enum_out"})
"""Not immutable, and yet no setting moves them: C names (pg_proc.prosrc)."""

MOVED = frozenset(
    {"float4out", "float8out", "byteaout", "interval_out", "timestamptz_age", "interval_in", "cash_out", "cash_in"}
)
"""Declared immutable, and yet settings move them: C names."""

_ZONES: Mapping[str, int] = MappingProxyType(
    {
        "timestamp_zone": 0,
        "timestamptz_zone": 0,
        "timetz_zone": 0,
        "timestamptz_trunc_zone": 2,
        "timestamptz_pl_interval_at_zone": 2,
        "timestamptz_mi_interval_at_zone": 2,
    }
)
"""Functions that take a time zone by its name: by C name, which argument it is."""
_ZONE = re.compile(r"[A-Z][A-Za-z_]+(/[A-Za-z_-]+)+")

_OWN_ABBREVIATIONS = 180000
_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]{1,10}(?![A-Za-z])")

_KNOWN_NODES = frozenset(
    """VAR CONST FUNCEXPR OPEXPR DISTINCTEXPR NULLIFEXPR SCALARARRAYOPEXPR BOOLEXPR RELABELTYPE COERCEVIAIO
    ARRAYCOERCEEXPR CASE CASEEXPR CASEWHEN WHEN CASETESTEXPR ARRAY ARRAYEXPR ROW ROWEXPR ROWCOMPARE ROWCOMPAREEXPR
    COALESCE COALESCEEXPR MINMAX MINMAXEXPR NULLTEST BOOLEANTEST SUBSCRIPTINGREF FIELDSELECT COLLATE COLLATEEXPR
    NAMEDARGEXPR CONVERTROWTYPEEXPR COERCETODOMAIN COERCETODOMAINVALUE""".split()
)

_BY_SHIFT = "write (… AT TIME ZONE 'UTC' - interval '90 days') AT TIME ZONE 'UTC', which counts by the clock of UTC"
_MENDS: Mapping[str, str] = MappingProxyType(
    {
        "timestamptz_pl_interval": _BY_SHIFT,
        "timestamptz_mi_interval": _BY_SHIFT,
        "timestamptz_age": "subtract one from the other",
        "text_concat": "write a || b",
        "text_concat_ws": "write a || b",
        "float4out": "cast to numeric first",
        "float8out": "cast to numeric first",
        "byteaout": "write encode(…, 'hex')",
        "interval_out": "write extract(epoch from …)",
    }
)
_MEND = "write moments with AT TIME ZONE 'UTC', and dates and numbers without going through text"
_CONSTANTS = (
    "a constant in it reads differently under other settings of the session (TimeZone, DateStyle, IntervalStyle …); "
    "write dates as 2026-01-31, moments with an offset as 2026-01-31 12:00+00, intervals with units, and no 'today'"
)


@dataclass(frozen=True, slots=True)
class _Expression:
    """One expression of the policies; ``bindings`` by placeholder, ``now`` apart; ``type``: that a mask is cast to."""

    text: str
    source: SourceRef
    bindings: tuple[tuple[str, Binding], ...]
    type: str | None

    def compiled(self) -> str:
        """A boolean over table g, with placeholders as columns of their types."""
        fragment = compile_predicate(self.text, "g", self.bindings)
        if self.type is not None:
            fragment = Fragment.of("(", cast(Fragment.of("(", fragment, ")"), self.type), ") IS NULL")
        return fragment.render(lambda binding: f"g.{_stand_in(binding)}")


def check_settings(connection: psycopg.Connection[Any], policies: PolicySet, catalog: Catalog) -> list[Problem]:
    """Predicates and sql masks that a caller could move by SET, sorted; none: all keep their meaning.

    The connection needs the right to make temporary tables; what is begun is rolled back.
    """
    problems: list[Problem] = []
    for name in policies.relations:
        relation = catalog.relations.get(name)
        expressions = list(_expressions(policies, relation)) if relation is not None else []
        if relation is not None and expressions:
            with (
                connection.transaction(force_rollback=True),
                psycopg.RawCursor(connection, row_factory=tuple_row) as cursor,
            ):
                problems += _Bench(connection, cursor).problems(relation, expressions)
    return sorted(set(problems))


def _expressions(policies: PolicySet, relation: Relation) -> Iterator[_Expression]:
    own = {column.name: column.base_type for column in relation.columns}
    for rule in policies.relations[relation.name].rules:
        if isinstance(rule.rows, Predicate):
            yield _predicate(rule.rows, policies, None)
        for column, mask in rule.masks:
            if mask.kind is MaskKind.SQL and column in own:
                yield _Expression(str(mask.option("expression")), mask.source, (), own[column])
    for scope in policies.scopes.values():
        part = scope.relations.get(relation.name)
        if part is not None and part.rows is not None:
            yield _predicate(part.rows, policies, scope)


def _predicate(rows: Predicate, policies: PolicySet, scope: Scope | None) -> _Expression:
    parameters = dict(scope.parameters) if scope is not None else {}

    def type_of(placeholder: str) -> ValueType:
        party, _, name = placeholder.partition(".")
        if party == "mandate":
            return parameters[name]
        return policies.attributes.get(name, ValueType.TEXT) if name not in {"id", "kind"} else ValueType.TEXT

    bindings = ((each, Binding(each, type_of(each))) for each in rows.placeholders if each != "now")
    return _Expression(rows.text, rows.source, tuple(bindings), None)


def _stand_in(binding: Binding) -> str:
    return quote(f":{binding.name}")


@dataclass(frozen=True, slots=True)
class _Bench:
    """A transaction in which expressions are tried."""

    connection: psycopg.Connection[Any]
    cursor: psycopg.RawCursor[tuple[Any, ...]]

    def problems(self, relation: Relation, expressions: Sequence[_Expression]) -> Iterator[Problem]:
        """What is wrong with a relation's expressions."""
        bindings = {binding for each in expressions for _, binding in each.bindings}
        columns = [
            *(f"{quote(column.name)} {column.type_text}" for column in relation.columns),
            *(f"{_stand_in(binding)} {sql_type(binding.type)}" for binding in bindings),
        ]
        try:
            with self.connection.transaction():
                self.cursor.execute("SET LOCAL search_path = ''")
                self.cursor.execute(f"CREATE TEMPORARY TABLE g ({', '.join(columns)})")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
            what = f"whether settings move it cannot be seen: {error.diag.message_primary}"
            yield Problem(expressions[0].source, f"{what}; GRANT TEMPORARY ON DATABASE to the role that opens the gate")
            return
        for each in expressions:
            fault = self._fault(each)
            if fault is not None:
                yield Problem(each.source, fault)

    def _fault(self, expression: _Expression) -> str | None:
        """Why the expression cannot be used; None where it can."""
        text = expression.compiled()
        try:
            plain = self._parsed(text, SETTINGS[0])
        except psycopg.Error as error:
            return f"PostgreSQL does not take it: {error.diag.message_primary}; mend the expression"
        for settings in (*SETTINGS[1:], *self._meanings(text)):
            try:
                moved = self._parsed(text, settings) != plain
            except psycopg.Error:
                moved = True
            if moved:
                return _CONSTANTS
        return self._moving(read_node_tree(plain))

    def _meanings(self, text: str) -> Iterator[Sequence[str]]:
        """Settings that give another meaning to what may be zones' abbreviations.

        From PostgreSQL 18 on, those of the session's own TimeZone count before all others.
        """
        if self.connection.info.server_version >= _OWN_ABBREVIATIONS:
            quoted = " ".join(text.split("'")[1::2])
            for word in sorted({word.upper() for word in _WORD.findall(quoted)}):
                yield (f"<{word}>+12", *SETTINGS[0][1:])

    def _parsed(self, text: str, settings: Sequence[str]) -> str:
        """PostgreSQL's tree of the expression, as it reads it under some settings."""
        with self.connection.transaction(force_rollback=True):
            for name, value in zip(_NAMES, settings, strict=True):
                self.cursor.execute("SELECT pg_catalog.set_config($1, $2, true)", [name, value])
            self.cursor.execute(f"ALTER TABLE pg_temp.g ADD CONSTRAINT c CHECK ({text})")
            found = self.cursor.execute(
                "SELECT conbin::pg_catalog.text FROM pg_catalog.pg_constraint"
                " WHERE conrelid = 'pg_temp.g'::pg_catalog.regclass AND conname = 'c'"
            ).fetchone()
        return str(found[0]) if found is not None else ""

    def _moving(self, tree: Node) -> str | None:
        """What in the tree depends on settings."""
        for node in tree.walk():
            unknown = node.kind == "COERCEVIAIO" and _argument(node).type_oid is None
            if unknown or node.kind not in _KNOWN_NODES:
                words = node.kind.removesuffix("EXPR").lower()
                return f"what {words} gives may depend on the session (its TimeZone, its formats); {_MEND}"
        for function in self._functions(tree):
            if function.moving:
                mend = _MENDS.get(function.source, function.default_mend)
                return f"{function.signature} depends on the session's settings; {mend}"
        for node in tree.walk():
            fault = self._zone_fault(node)
            if fault is not None:
                return fault
        return None

    def _functions(self, tree: Node) -> list[_Function]:
        """All functions that computing the tree calls."""
        functions: set[int] = set()
        operators: set[int] = set()
        conversions: set[tuple[int, int]] = set()
        for node in tree.walk():
            if node.kind == "COERCEVIAIO":
                conversions.add((_argument(node).type_oid or 0, node.type_oid or 0))
            functions.update(int(word) for word in (node.word("funcid"),) if word)
            operators.update(int(word) for word in (node.word("opno"),) if word)
            operators.update(int(word) for word in map(str, node.fields.get("opnos", ())) if word.isdigit())
        sources, targets = [source for source, _ in conversions], [target for _, target in conversions]
        rows = self.cursor.execute(_FUNCTIONS, [sorted(functions), sorted(operators), sources, targets]).fetchall()
        return [_Function(*row) for row in rows]

    def _zone_fault(self, node: Node) -> str | None:
        """Why a zone may not be named so."""
        if node.kind != "FUNCEXPR":
            return None
        (source,) = self.cursor.execute(
            "SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = $1", [int(node.word("funcid") or 0)]
        ).fetchone() or ("",)
        if source not in _ZONES:
            return None
        zone = _text(node.fields["args"][_ZONES[source]])
        if zone is not None and _ZONE.fullmatch(zone):
            return None
        return (
            "a time zone that the session may know by another meaning; write AT TIME ZONE 'UTC', "
            "or a full name such as 'Europe/Berlin'"
        )


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of pg_proc; ``own``: of PostgreSQL itself; ``pinned``: the settings that its SET clauses fix."""

    source: str
    volatile: str
    signature: str
    own: bool
    pinned: Sequence[str]

    @property
    def moving(self) -> bool:
        """Whether a session's settings may change what it gives."""
        if self.own:
            return self.source in MOVED or (self.volatile != "i" and self.source not in _STEADY)
        return self.volatile != "i" and not {name.lower() for name in self.pinned} >= set(_NAMES[:3])

    @property
    def default_mend(self) -> str:
        """What to do about it, where nothing more exact is known."""
        if self.own:
            return _MEND
        pins = " ".join(f"SET {name} = '{value}'" for name, value in zip(_NAMES[:3], SETTINGS[0][:3], strict=True))
        return f"declare it IMMUTABLE if it is, or ALTER FUNCTION … {pins}"


def _argument(node: Node) -> Node:
    """What a conversion converts."""
    (argument,) = (each for each in node.fields["arg"] if isinstance(each, Node))
    return argument


def _text(node: str | Node) -> str | None:
    """The value of a text constant; None for all else."""
    if not isinstance(node, Node) or node.kind != "CONST" or node.word("consttype") != "25":
        return None
    words = [str(word) for word in node.fields.get("constvalue", ()) if str(word).lstrip("-").isdigit()]
    # Length, and then the bytes of a varlena with a header of four.
    return bytes(int(word) % 256 for word in words[5:]).decode("utf-8", "replace")


_FUNCTIONS = """
WITH RECURSIVE wanted (source, target) AS (
    SELECT * FROM unnest($3::pg_catalog.oid[], $4::pg_catalog.oid[])
), base (root, type) AS (
    SELECT t.oid, t.oid FROM pg_catalog.pg_type AS t, wanted AS w WHERE t.oid IN (w.source, w.target)
    UNION SELECT b.root, t.typbasetype FROM base AS b JOIN pg_catalog.pg_type AS t ON t.oid = b.type
        WHERE t.typbasetype <> 0
), called (oid) AS (
    SELECT pg_catalog.unnest($1::pg_catalog.oid[])
    UNION SELECT o.oprcode FROM pg_catalog.pg_operator AS o WHERE o.oid = ANY($2::pg_catalog.oid[])
    UNION SELECT t.typoutput FROM wanted AS w JOIN base AS b ON b.root = w.source JOIN pg_catalog.pg_type AS t
        ON t.oid = b.type WHERE t.typbasetype = 0
    UNION SELECT t.typinput FROM wanted AS w JOIN base AS b ON b.root = w.target JOIN pg_catalog.pg_type AS t
        ON t.oid = b.type WHERE t.typbasetype = 0
)
SELECT p.prosrc, p.provolatile::pg_catalog.text, p.oid::pg_catalog.regprocedure::pg_catalog.text,
    p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace,
    ARRAY(SELECT pg_catalog.split_part(c, '=', 1) FROM pg_catalog.unnest(p.proconfig) AS c)
FROM called JOIN pg_catalog.pg_proc AS p ON p.oid = called.oid ORDER BY 3
"""
