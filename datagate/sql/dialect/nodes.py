"""The nodes that our trees hold beside sqlglot's own.

sqlglot's classes are used where they lose nothing: Select, Union/Intersect/Except, Subquery, Values, Table, From, Join,
With, CTE, Column, Identifier, Literal, Parameter, And/Or/Not/Paren, EQ … GTE, Add … DPipe, Like/ILike/SimilarTo, In,
Between, Is, Case, Cast, Tuple, Bracket, Dot. Conventions of ours:

- ``Identifier.this`` is the name as the catalog keeps it (folded and cut to 63 bytes unless quoted).
- ``negate=True`` on Like, ILike, SimilarTo, In, Between, Is: the NOT inside the operator; ``exp.Not`` is one in front.
- ``escape`` on Like, ILike, SimilarTo.
- ``exp.Cast`` is ``x::type``; with ``call=True`` ``CAST(x AS type)``; with ``prefix=True`` ``type 'x'``.
- ``Ordered.desc`` and ``nulls_first`` are None where nothing is written; ``using`` is an operator's text.
- a comma in FROM is an ``exp.Join`` without method, side, kind, on and using.
- every relation reference, and nothing else, is an ``exp.Table``; functions in FROM are ``FunctionSource``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from sqlglot import exp

# What the grammar's own spellings of types stand for in pg_catalog (src/backend/parser/gram.y, SystemTypeName).
INTERNAL_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "int": "int4",
        "integer": "int4",
        "smallint": "int2",
        "bigint": "int8",
        "real": "float4",
        "double precision": "float8",
        "decimal": "numeric",
        "dec": "numeric",
        "numeric": "numeric",
        "boolean": "bool",
        "bit": "bit",
        "bit varying": "varbit",
        "character": "bpchar",
        "char": "bpchar",
        "nchar": "bpchar",
        "national character": "bpchar",
        "national char": "bpchar",
        "character varying": "varchar",
        "char varying": "varchar",
        "varchar": "varchar",
        "nchar varying": "varchar",
        "national character varying": "varchar",
        "national char varying": "varchar",
        "time": "time",
        "time without time zone": "time",
        "time with time zone": "timetz",
        "timestamp": "timestamp",
        "timestamp without time zone": "timestamp",
        "timestamp with time zone": "timestamptz",
        "interval": "interval",
        "json": "json",
    }
)

_FIRST_DOUBLE = 25


class TypeName(exp.Expression):
    """A type, verbatim.

    ``this``: the whole text; ``names``: identifiers of a generic name (schema first), else empty; ``keyword``: the
    grammar's own spelling in lower case (``timestamp with time zone``), else None; ``modifiers``: the text inside
    ``(…)``, else None; ``dimensions``: how many array dimensions; ``setof``.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "this": True,
        "names": False,
        "keyword": False,
        "modifiers": False,
        "dimensions": False,
        "setof": False,
    }

    @property
    def schema(self) -> str | None:
        """The schema, pg_catalog for the grammar's own spellings, None for an unqualified name."""
        if self.args.get("keyword"):
            return "pg_catalog"
        names = self.args["names"]
        return str(names[-2].this) if len(names) > 1 else None

    @property
    def internal(self) -> str:
        """The type's name in the catalog, without schema and dimensions."""
        keyword = self.args.get("keyword")
        if not keyword:
            return str(self.args["names"][-1].this)
        if keyword == "float":
            # float(1) to float(24) are real.
            digits = self.args.get("modifiers")
            return "float4" if digits and int(digits) < _FIRST_DOUBLE else "float8"
        return INTERNAL_TYPES[keyword]


class RawString(exp.Expression, exp.Condition):
    """A string constant in another than the plain form, verbatim.

    ``E''``, ``B''``, ``X''``, ``N''``, ``U&''``, ``$$``, or pieces on several lines.
    """


class Infix(exp.Expression, exp.Binary):
    """``this operator expression``; the operator's text is verbatim (``@>``, ``OPERATOR(pg_catalog.+)``)."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "operator": True, "expression": True}


class Prefix(exp.Expression, exp.Condition):
    """``operator this``, verbatim; also unary plus. Unary minus is exp.Neg."""

    arg_types: ClassVar[dict[str, bool]] = {"operator": True, "this": True}


class Quantified(exp.Expression, exp.Predicate):
    """``this operator quantifier (expression)``.

    ``operator`` also ``LIKE``, ``NOT ILIKE``; ``quantifier``: ANY, ALL, SOME; ``expression``: an array, or a query.
    """

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "operator": True, "quantifier": True, "expression": True}


class Overlaps(exp.Expression, exp.Predicate):
    """``row OVERLAPS row``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class Row(exp.Expression, exp.Condition):
    """``ROW(…)``. Without the word it is an exp.Tuple."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": False}


class Call(exp.Expression, exp.Condition):
    """A function call in the ordinary form.

    ``this``: the name's Identifier; ``qualifiers``: Identifiers before it (schema last); ``expressions``: the
    arguments, an exp.Star for ``f(*)``, NamedArgument, Variadic; ``distinct``: True for DISTINCT; ``order``: ORDER BY
    in the arguments; ``within_group``; ``filter``: its condition; ``over``: an Identifier or a WindowDefinition.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "this": True,
        "qualifiers": False,
        "expressions": False,
        "distinct": False,
        "order": False,
        "within_group": False,
        "filter": False,
        "over": False,
    }

    @property
    def schema(self) -> str | None:
        """The schema as written, or None."""
        qualifiers = self.args.get("qualifiers")
        return str(qualifiers[-1].this) if qualifiers else None


class NamedArgument(exp.Expression):
    """``this => expression``; ``operator`` is ``=>`` or ``:=``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "operator": True, "expression": True}


class Variadic(exp.Expression):
    """``VARIADIC this``."""


class KeywordCall(exp.Expression, exp.Condition):
    """What SQL spells with key words inside the parentheses: EXTRACT, TRIM, COALESCE, JSON_TABLE, XMLELEMENT ….

    ``this``: the name in upper case; ``parts``: expressions, types, names, and the key words and commas between them
    as str.
    """

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "parts": False, "filter": False, "over": False}


class ValueFunction(exp.Expression, exp.Condition):
    """CURRENT_DATE, LOCALTIMESTAMP(3), SESSION_USER …: ``this`` in upper case, ``precision`` its text or None."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "precision": False}


class Collation(exp.Expression):
    """``this COLLATE names``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "names": True}


class WindowDefinition(exp.Expression):
    """What stands in OVER (…) and after WINDOW w AS: ``this`` names the window it copies; ``frame`` a Frame."""

    arg_types: ClassVar[dict[str, bool]] = {"this": False, "partition_by": False, "order": False, "frame": False}


class NamedWindow(exp.Expression):
    """``this AS (definition)`` in the WINDOW clause."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "definition": True}


class Frame(exp.Expression):
    """``mode``: RANGE, ROWS, GROUPS; ``start``, ``end``: Bounds, no end without BETWEEN; ``exclude``: its words."""

    arg_types: ClassVar[dict[str, bool]] = {"mode": True, "start": True, "end": False, "exclude": False}


class Bound(exp.Expression):
    """``this`` an offset or None; ``words``: PRECEDING, UNBOUNDED FOLLOWING, CURRENT ROW …."""

    arg_types: ClassVar[dict[str, bool]] = {"this": False, "words": True}


class GroupingSet(exp.Expression):
    """An item of GROUP BY: ``this`` is ROLLUP, CUBE, GROUPING SETS, or empty for ``()``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expressions": False}


class FunctionSource(exp.Expression):
    """A function in FROM.

    ``expressions``: Call or KeywordCall, one unless ``rows_from``; each may be a DefinedFunction; ``lateral``,
    ``ordinality``, ``alias`` (a TableAlias, whose columns are Identifiers or ColumnDefinitions).
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "expressions": True,
        "rows_from": False,
        "lateral": False,
        "ordinality": False,
        "alias": False,
    }


class DefinedFunction(exp.Expression):
    """``this AS (columns)`` inside ROWS FROM."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "columns": True}


class ColumnDefinition(exp.Expression):
    """``this type [COLLATE collation]`` in a column definition list."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "type_name": True, "collation": False}


class JoinGroup(exp.Expression):
    """A joined table that is one item: ``(this joins) alias``; ``bare`` where it stands without parentheses."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "joins": True, "alias": False, "bare": False}


class Sample(exp.Expression):
    """``TABLESAMPLE names (expressions) REPEATABLE (seed)``."""

    arg_types: ClassVar[dict[str, bool]] = {"names": True, "expressions": True, "seed": False}


class RowLock(exp.Expression):
    """``FOR strength OF expressions wait``; the expressions are Identifiers: names of FROM items."""

    arg_types: ClassVar[dict[str, bool]] = {"strength": True, "expressions": False, "wait": False}


class Search(exp.Expression):
    """``SEARCH this FIRST BY expressions SET column``; this is DEPTH or BREADTH."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expressions": True, "column": True}


class Cycle(exp.Expression):
    """``CYCLE expressions SET mark [TO value DEFAULT default] USING path``."""

    arg_types: ClassVar[dict[str, bool]] = {
        "expressions": True,
        "mark": True,
        "value": False,
        "default": False,
        "path": True,
    }


class DefaultValue(exp.Expression):
    """The word DEFAULT in a VALUES row."""

    arg_types: ClassVar[dict[str, bool]] = {}


class Write(exp.Expression):
    """INSERT, UPDATE, DELETE or MERGE.

    ``action``: its word; ``target``: the Table that is written; ``with_``; ``columns``: Identifiers of INSERT's list,
    else None; ``override``: SYSTEM or USER; ``source``: INSERT's query, None for DEFAULT VALUES; ``conflict``;
    ``sets``: Assignments; ``from_``, ``joins``: the items of FROM or USING; ``where``; ``on`` and ``arms``: MERGE's
    condition and its MergeArms; ``returning``: its items, else None.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "action": True,
        "with_": False,
        "target": True,
        "columns": False,
        "override": False,
        "source": False,
        "conflict": False,
        "sets": False,
        "from_": False,
        "joins": False,
        "where": False,
        "on": False,
        "arms": False,
        "returning": False,
    }


class Assignment(exp.Expression):
    """``column = expression``, or with ``several`` columns ``(a, b) = expression``; ``columns`` are Identifiers."""

    arg_types: ClassVar[dict[str, bool]] = {"columns": True, "expression": True, "several": False}


class Conflict(exp.Expression):
    """``ON CONFLICT (keys) WHERE predicate`` or ``ON CONSTRAINT constraint``, then DO UPDATE of ``sets``, or nothing.

    ``keys``: IndexKeys; ``where``: the condition of DO UPDATE.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "keys": False,
        "predicate": False,
        "constraint": False,
        "sets": False,
        "where": False,
    }


class IndexKey(exp.Expression):
    """A key of ON CONFLICT: ``this`` a Column or an expression, ``collation`` and ``opclass`` names."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "collation": False, "opclass": False}


class MergeArm(exp.Expression):
    """``WHEN match AND condition THEN action``: UPDATE with ``sets``, INSERT, DELETE, or DO NOTHING.

    ``match``: MATCHED, NOT MATCHED, NOT MATCHED BY SOURCE; ``columns``, ``override`` and ``values`` are INSERT's, no
    values for DEFAULT VALUES.
    """

    arg_types: ClassVar[dict[str, bool]] = {
        "match": True,
        "condition": False,
        "action": True,
        "sets": False,
        "columns": False,
        "override": False,
        "values": False,
    }


class GuardText(exp.Expression):
    """A query's text, verbatim, for ``exp.Subquery(this=GuardText(this=…), alias=…)``; the parser never makes one."""
