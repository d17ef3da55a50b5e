"""Judges which expressions of the caller cannot raise or talk, whatever row they meet.

An engine may run the caller's conditions before a guard's filter; an expression that fails on some value would then
tell of hidden rows. Leak-proof is what can never fail given its literal arguments. Unknown is leaky.

PostgreSQL's ``proleakproof`` is coarser (manual, 39.5): it knows neither literal arguments nor bounded numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations

from sqlglot import exp

from datagate.sql.dialect.nodes import (
    Call,
    Collation,
    Infix,
    KeywordCall,
    Quantified,
    RawString,
    Row,
    TypeName,
    ValueFunction,
)
from datagate.sql.patterns import ends_well


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of an expression's value.

    ``leakproof``; ``type``: internal type name, ``unknown`` for a literal or parameter that takes the other side's
    type, None where not known; ``digits``: bound on the integer digits of a number, None where not known;
    ``pieces``: of how many cells and literals a text is made;
    ``constant``: made of literals only, so that the engine folds it before it meets any row; ``parameter``: the number
    of the caller's parameter that it is.
    """

    leakproof: bool
    type: str | None = None
    digits: int | None = None
    constant: bool = False
    parameter: int | None = None
    pieces: int = 1


LEAKY = Knowledge(leakproof=False)
BOOLEAN = Knowledge(leakproof=True, type="bool")

Resolve = Callable[[exp.Column], Knowledge]
JudgeQuery = Callable[[exp.Expression], Knowledge]


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a caller's parameter must be for an expression with it not to fail: the frontend sees to it.

    ``type``: the type that it is cast to, of which its value is one; or ``PATTERN``: a text without a backslash; or of
    ``OPERANDS``, of arrays with ``[]``: sent with a type for which the engine does not cast the other side, in a way
    that could fail, to compare the two. ``once``: the parameter stands in one place, whose type it takes if it is sent
    without one.
    """

    parameter: int
    type: str
    once: bool = True

    @property
    def of_operand(self) -> bool:
        """Whether it is about what the parameter is compared with."""
        return self.type.removesuffix("[]") in OPERANDS.values()


Assume = Callable[[Assumption], bool]
"""Notes an assumption; False where none may be made, and then the cast is leaky."""

PATTERN = "pattern"
OPERANDS = {
    "int8": "operand of int8",
    "numeric": "operand of numeric",
    "float4": "operand of float8",
    "float8": "operand of float8",
}
"""By the type of what a parameter is compared with. (int8 with an oid is compared as oids, for example.)"""

_INTEGERS = {"int2": 5, "int4": 10, "int8": 19}
_NUMBERS = frozenset({*_INTEGERS, "numeric"})
_FLOATS = frozenset({"float4", "float8"})
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "unknown"})
_MOMENTS = frozenset({"date", "timestamp", "timestamptz", "time", "timetz", "interval"})
# Comparison operators of these types return for every pair of values (their btree operator classes must be total).
_COMPARABLE = (
    _NUMBERS | _FLOATS | _TEXTS | _MOMENTS | {"bool", "uuid", "inet", "cidr", "oid", "bytea", "char", "macaddr"}
)
# Types of which any two compare with each other without a cast that could fail (int8 to oid could).
_FAMILIES = (
    _NUMBERS,
    _FLOATS,
    _TEXTS,
    frozenset({"date", "timestamp", "timestamptz"}),
    frozenset({"time", "timetz"}),
    frozenset({"inet", "cidr"}),
    frozenset({"oid", "int2", "int4"}),
)
# What type a whole number has that stands in the text (manual, 4.1.2.6).
_LARGEST = {"int4": 2**31 - 1, "int8": 2**63 - 1}
_WIDENS = {
    ("int2", "int4"), ("int2", "int8"), ("int4", "int8"), ("varchar", "text"), ("bpchar", "text"), ("name", "text"),
    ("text", "varchar"), ("cidr", "inet"),
}  # fmt: skip
ASSUMABLE_TYPES = frozenset("int2 int4 int8 numeric text varchar date timestamp timestamptz uuid bool float8".split())
"""Types that a cast of the caller's parameter may name without being leaky, if its value is of that type."""

_SAFE_CONSTANT_TYPES = _COMPARABLE | {"json", "jsonb"}

# numeric overflows beyond 131072 digits before the point (manual, 8.1.2); so far below that nothing can raise.
_MOST_DIGITS = 1_000
_FRACTION_DIGITS = 16_383
# Beyond 308 digits a number does not fit a double.
_FLOAT_DIGITS = 300
_SUM_DIGITS = 20
_YEAR_DIGITS = 4
# The last date is in the year 5874897.
_YEARS_DIGITS = 7
# No table has more rows than this has digits.
_COUNT_DIGITS = 15
# How many digits a type holds whatever they are.
_HELD_DIGITS = {"int2": 4, "int4": 9, "int8": 18, "numeric": _MOST_DIGITS}
_RANKS = frozenset({"row_number", "rank", "dense_rank"})

_TEXT_FUNCTIONS = frozenset({"lower", "upper", "length", "char_length", "btrim", "ltrim", "rtrim", "md5", "reverse"})
_TOTAL_AGGREGATES = frozenset({"count", "min", "max", "sum", "avg", "bool_and", "bool_or", "every"})
_DATE_FIELDS = frozenset({"year", "month", "day", "quarter", "week", "dow", "doy"})
# A date has no hours: asking it for them raises, whatever date it is.
_EXTRACT_FIELDS = {
    "date": _DATE_FIELDS,
    "timestamp": _DATE_FIELDS | {"hour", "minute", "second"},
    "timestamptz": _DATE_FIELDS | {"hour", "minute", "second"},
}
# A text may have a gigabyte, and cells have megabytes at most.
_MOST_PIECES = 64
# A regular expression can be too long to be compiled.
_LONGEST_REGEX = 200
_PLAIN_REGEX = re.compile(r"\^?(?:[A-Za-z0-9_ @-]|\.)*\$?")
_SMALL_INTERVAL = re.compile(
    r"[+-]?(?:\d{1,3} *years?|\d{1,4}(?:\.\d{1,6})? *(?:(?:mon|month|week|day|hour|minute|second|min|sec)s?)?)",
    re.IGNORECASE,
)
"""Moves the present to where the calendar still goes: it begins in 4714 BC."""


def judge(node: exp.Expression, resolve: Resolve, query: JudgeQuery, assume: Assume) -> Knowledge:
    """What is known of the expression; ``resolve`` answers for columns, ``query`` for subqueries."""
    return _Judge(resolve, query, assume).judge(node)


@dataclass(frozen=True, slots=True)
class _Judge:
    resolve: Resolve
    query: JudgeQuery
    assume: Assume
    positive: frozenset[exp.Expression] = frozenset()
    nonzero: frozenset[exp.Expression] = frozenset()

    def judge(self, node: exp.Expression) -> Knowledge:
        match node:
            case exp.Column():
                return self.resolve(node)
            case exp.Literal() | exp.Null() | exp.Boolean() | RawString():
                return _constant(node)
            case exp.Parameter():
                return Knowledge(leakproof=True, type="unknown", parameter=int(node.name))
            case exp.Paren():
                return self.judge(node.this)
            case exp.And() | exp.Or():
                return self._all_boolean((node.this, node.expression))
            case exp.Not():
                return self._all_boolean((node.this,))
            case exp.Neg():
                return self._negation(self.judge(node.this))
            case exp.Is():
                return Knowledge(self.judge(node.this).leakproof and self.judge(node.expression).leakproof, "bool")
            case exp.Cast():
                return self._cast(node)
            case exp.Case():
                return self._case(node)
            case exp.Tuple() | Row():
                return self._tuple(node)
            case exp.Exists():
                return self.query(node)
            case exp.Subquery() | exp.Select() | exp.SetOperation():
                # As a value it raises where it gives more than one row.
                return self.query(node) if single_row(node) else LEAKY
            case ValueFunction():
                return _value_function(node)
            case Call():
                return self._call(node)
            case KeywordCall():
                return self._keyword_call(node)
            case Collation():
                return self.judge(node.this)
            case _:
                return self._operator(node)

    def _operator(self, node: exp.Expression) -> Knowledge:
        match node:
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._comparison(node.this, node.expression)
            case exp.NullSafeEQ() | exp.NullSafeNEQ():
                return self._comparison(node.this, node.expression)
            case exp.Between():
                low = self._comparison(node.this, node.args["low"])
                high = self._comparison(node.this, node.args["high"])
                return Knowledge(low.leakproof and high.leakproof, "bool")
            case exp.In():
                return self._in(node)
            case exp.Like() | exp.ILike():
                # An escape character of the caller's own can end the pattern, or be no single character.
                return LEAKY if node.args.get("escape") is not None else self._like(node.this, node.expression)
            case exp.Add() | exp.Sub() | exp.Mul():
                return self._arithmetic(node)
            case exp.Div():
                return self._division(node)
            case Quantified():
                return self._quantified(node)
            case Infix():
                return self._infix(node)
            case exp.DPipe():
                return self._joined(node)
            case _:
                return LEAKY

    def _joined(self, node: exp.Binary) -> Knowledge:
        sides = [self.judge(node.this), self.judge(node.expression)]
        pieces = sum(side.pieces for side in sides)
        texts = all(side.leakproof and side.type in _TEXTS for side in sides)
        return Knowledge(texts and pieces <= _MOST_PIECES, "text", pieces=pieces)

    def _all_boolean(self, nodes: Iterable[exp.Expression]) -> Knowledge:
        return Knowledge(all(self.judge(node).leakproof for node in nodes), "bool")

    def _negation(self, side: Knowledge) -> Knowledge:
        # -(-2147483648) overflows, so a column's negation is safe for numeric only.
        safe = side.leakproof and (side.constant or side.type in ("numeric", *_FLOATS))
        return Knowledge(safe, side.type, side.digits, side.constant)

    def _comparison(self, left: exp.Expression, right: exp.Expression) -> Knowledge:
        if isinstance(left, exp.Tuple | Row) and isinstance(right, exp.Tuple | Row):
            pairs = zip(left.expressions, right.expressions, strict=False)
            return Knowledge(all(self._comparison(a, b).leakproof for a, b in pairs), "bool")
        return Knowledge(self._comparable(self.judge(left), self.judge(right)), "bool")

    def _comparable(self, left: Knowledge, right: Knowledge) -> bool:
        """Whether the comparison cannot fail, given what may be assumed of a parameter."""
        return comparable(left, right) and self._operand(left, right) and self._operand(right, left)

    def _operand(self, one: Knowledge, other: Knowledge, array: str = "") -> bool:
        if one.parameter is None or other.type not in OPERANDS or (other.type == "numeric" and _bounded(other)):
            return True
        return self.assume(Assumption(one.parameter, OPERANDS[other.type] + array))

    def _in(self, node: exp.In) -> Knowledge:
        query = node.args.get("query")
        if query is not None:
            # Of a query that gives rows the types are not followed; a row compares with nothing here.
            return Knowledge(self._comparable(self.judge(node.this), self.query(query)), "bool")
        return Knowledge(all(self._comparison(node.this, item).leakproof for item in node.expressions), "bool")

    def _like(self, value: exp.Expression, pattern: exp.Expression) -> Knowledge:
        """LIKE raises only for a pattern that ends in its escape character (manual, 9.7.1)."""
        text, like = self.judge(value), self.judge(pattern)
        if not all(side.leakproof and side.type in _TEXTS for side in (text, like)):
            return LEAKY
        plain = like.parameter is not None and self.assume(Assumption(like.parameter, PATTERN))
        return Knowledge(plain or ends_well(pattern), "bool")

    def _quantified(self, node: Quantified) -> Knowledge:
        operator = node.args["operator"]
        side = self.judge(node.this)
        if operator not in ("=", "<>", "<", "<=", ">", ">=") or not _comparable(side):
            return LEAKY
        array = node.expression
        if isinstance(array, exp.Parameter):
            return Knowledge(self._operand(self.judge(array), side, "[]"), "bool")
        if isinstance(array, exp.Array):
            # The items become one type first, which may be another than that of the side.
            items = [self.judge(item) for item in array.expressions]
            alike = all(comparable(one, other) for one, other in combinations(dict.fromkeys(items), 2))
            return Knowledge(alike and all(self._comparable(side, item) for item in items), "bool")
        if isinstance(array, exp.Subquery | exp.Select | exp.SetOperation):
            return Knowledge(self._comparable(side, self.query(array)), "bool")
        return LEAKY

    def _infix(self, node: Infix) -> Knowledge:
        operator = node.args["operator"]
        if operator in ("~", "!~") and isinstance(node.expression, exp.Literal):
            text, pattern = self.judge(node.this), node.expression.this
            plain = len(pattern) <= _LONGEST_REGEX and _PLAIN_REGEX.fullmatch(pattern) is not None
            return Knowledge(text.leakproof and text.type in _TEXTS and plain, "bool")
        return self._joined(node) if operator == "||" else LEAKY

    def _arithmetic(self, node: exp.Binary) -> Knowledge:
        left, right = self.judge(node.this), self.judge(node.expression)
        if left.constant and right.constant and left.leakproof and right.leakproof:
            return _folded(left, right)
        if not (left.leakproof and right.leakproof):
            return LEAKY
        if left.type in ("date", "timestamp", "timestamptz") and left.digits is not None and right.constant:
            return _shifted(left, right)
        digits = _digits_of(node, left, right)
        wide = _wider(left.type, right.type)
        if digits is None or wide is None:
            return LEAKY
        return Knowledge(digits <= _HELD_DIGITS[wide], wide, digits)

    def _division(self, node: exp.Div) -> Knowledge:
        """Raises for a divisor of zero: safe where it is a literal, or where a CASE has just excluded zero."""
        left, right = self.judge(node.this), self.judge(node.expression)
        wide = _wider(left.type, right.type)
        if not (left.leakproof and right.leakproof) or wide is None or left.digits is None:
            return LEAKY
        divisor = node.expression
        literal = isinstance(divisor, exp.Literal) and re.search(r"[1-9]", str(divisor.this).lower().partition("e")[0])
        excluded = divisor in (self.positive if wide != "numeric" else self.positive | self.nonzero)
        if not literal and not excluded:
            return LEAKY
        # A positive whole divisor makes the quotient no larger; another has up to 16383 digits after its point.
        whole = wide != "numeric" or (literal and str(divisor.this).isdecimal())
        digits = left.digits if whole else left.digits + _FRACTION_DIGITS
        return Knowledge(wide != "numeric" or left.digits <= _MOST_DIGITS, wide, digits)

    def _cast(self, node: exp.Cast) -> Knowledge:
        target = node.to
        if not isinstance(target, TypeName) or target.args.get("dimensions"):
            return LEAKY
        if target.schema not in (None, "pg_catalog"):
            return LEAKY
        name = target.internal
        value = self.judge(node.this)
        if not value.leakproof or name not in _SAFE_CONSTANT_TYPES:
            return LEAKY
        if isinstance(node.this, exp.Parameter):
            plain = target.args.get("modifiers") is None and name in ASSUMABLE_TYPES
            return Knowledge(plain and self.assume(Assumption(int(node.this.name), name)), name)
        if isinstance(node.this, exp.Literal) and node.this.is_string:
            # The engine converts a quoted literal when it reads the statement, whatever rows there are.
            small = name == "interval" and _SMALL_INTERVAL.fullmatch(node.this.this.strip()) is not None
            return Knowledge(leakproof=True, type=name, digits=_YEAR_DIGITS if small else None, constant=True)
        if value.type == name and target.args.get("modifiers") is None:
            return replace(value, parameter=None)
        if name == "numeric" and value.type in _INTEGERS and target.args.get("modifiers") is None:
            return Knowledge(leakproof=True, type=name, digits=value.digits, constant=value.constant)
        if target.args.get("modifiers") is None and (str(value.type), name) in _WIDENS:
            return replace(value, type=name, parameter=None)
        if value.constant and isinstance(node.this, exp.Null):
            return Knowledge(leakproof=True, type=name, constant=True)
        return LEAKY

    def _case(self, node: exp.Case) -> Knowledge:
        results = []
        safe = True
        for arm in node.args.get("ifs") or []:
            condition = self._comparison(node.this, arm.this) if node.this is not None else self.judge(arm.this)
            safe = safe and condition.leakproof
            # An arm is computed for the rows of its condition alone (manual, 4.2.14).
            positive, nonzero = _proven(arm.this) if node.this is None else (frozenset(), frozenset())
            inside = replace(self, positive=self.positive | positive, nonzero=self.nonzero | nonzero)
            results.append(inside.judge(arm.args["true"]))
        if node.args.get("default") is not None:
            results.append(self.judge(node.args["default"]))
        return _merged(results, safe=safe)

    def _tuple(self, node: exp.Expression) -> Knowledge:
        return Knowledge(all(_comparable(self.judge(item)) for item in node.expressions), None)

    def _call(self, node: Call) -> Knowledge:
        if node.schema not in (None, "pg_catalog") or node.args.get("within_group"):
            return LEAKY
        name = node.name
        arguments = [item for item in node.expressions if not isinstance(item, exp.Star)]
        # An aggregate reads its arguments before any CASE around it has looked at its conditions.
        if _gathers(node) and (self.positive or self.nonzero):
            return replace(self, positive=frozenset(), nonzero=frozenset()).judge(node)
        values = [self.judge(item) for item in arguments]
        if not all(value.leakproof for value in values) or not self._modifiers(node):
            return LEAKY
        if node.args.get("over") is not None and name in _RANKS and not values:
            return Knowledge(leakproof=True, type="int8", digits=_COUNT_DIGITS)
        if name in _TOTAL_AGGREGATES:
            return _aggregate(name, values)
        if node.args.get("over") is not None:
            return LEAKY
        if name == "abs" and len(values) == 1 and values[0].type == "numeric":
            return values[0]
        if name in _TEXT_FUNCTIONS and len(values) == 1 and values[0].type in _TEXTS:
            return Knowledge(
                leakproof=True, type="int4" if "length" in name else "text", digits=10, pieces=values[0].pieces
            )
        if name in ("now", "statement_timestamp", "transaction_timestamp") and not values:
            return Knowledge(leakproof=True, type="timestamptz", digits=_YEAR_DIGITS)
        if name in ("substr", "left", "right") and values and values[0].type in _TEXTS:
            return Knowledge(all(whole_number(item) for item in arguments[1:]), "text", pieces=values[0].pieces)
        return LEAKY

    def _modifiers(self, node: Call) -> bool:
        """Whether FILTER, ORDER BY and OVER hold nothing leaky."""
        filter_ = node.args.get("filter")
        if filter_ is not None and not self.judge(filter_).leakproof:
            return False
        over = node.args.get("over")
        if isinstance(over, exp.Identifier) or (over is not None and over.args.get("frame") is not None):
            # A named window is judged where it is defined; the offsets of a frame raise when negative.
            return False
        parts = list(over.args.get("partition_by") or []) if over is not None else []
        for order in (node.args.get("order"), over.args.get("order") if over is not None else None):
            parts += [item.this for item in order.expressions] if order is not None else []
        return all(_comparable(self.judge(part)) for part in parts)

    def _keyword_call(self, node: KeywordCall) -> Knowledge:
        parts = [part for part in node.args.get("parts") or [] if isinstance(part, exp.Expression)]
        if node.this in ("COALESCE", "GREATEST", "LEAST"):
            values = [self.judge(part) for part in parts]
            total = node.this == "COALESCE" or all(self._comparable(values[0], value) for value in values)
            return _merged(values, safe=total)
        if node.this == "NULLIF" and len(parts) == 2:
            safe, first = self._comparison(parts[0], parts[1]).leakproof, self.judge(parts[0])
            return Knowledge(safe, first.type, pieces=first.pieces)
        if node.this == "SUBSTRING" and parts:
            text = self.judge(parts[0])
            whole = all(whole_number(part) for part in parts[1:])
            return Knowledge(text.leakproof and text.type in _TEXTS and whole, "text", pieces=text.pieces)
        if node.this == "EXTRACT" and len(parts) == 2:
            moment = self.judge(parts[1])
            known = parts[0].name.lower() in _EXTRACT_FIELDS.get(moment.type or "", ())
            return Knowledge(moment.leakproof and known, "numeric", _YEARS_DIGITS)
        return LEAKY


def _comparable(value: Knowledge) -> bool:
    return value.leakproof and value.type in _COMPARABLE


def comparable(left: Knowledge, right: Knowledge) -> bool:
    """Whether comparing the two returns for every pair of values, the casts that the engine puts in included."""
    if not (_comparable(left) and _comparable(right)):
        return False
    types = {left.type, right.type}
    if len(types) == 1 or "unknown" in types or any(types <= family for family in _FAMILIES):
        return True
    if types <= _NUMBERS | _FLOATS:
        # Compared as doubles, for which a numeric can be too large.
        numeric = left if left.type == "numeric" else right
        return "numeric" not in types or _bounded(numeric)
    return False


def _bounded(value: Knowledge) -> bool:
    """Whether a numeric certainly fits a double."""
    return value.digits is not None and value.digits <= _FLOAT_DIGITS


def _gathers(call: Call) -> bool:
    """Whether the call may be an aggregate or a window function, which sees rows before the expression around it."""
    return call.name in _TOTAL_AGGREGATES or call.args.get("over") is not None or call.args.get("filter") is not None


def _constant(node: exp.Expression) -> Knowledge:
    if isinstance(node, exp.Boolean):
        return Knowledge(leakproof=True, type="bool", constant=True)
    if isinstance(node, exp.Literal) and not node.is_string:
        text = str(node.this)
        if text.isdecimal():
            type_ = next((name for name, most in _LARGEST.items() if int(text) <= most), "numeric")
            return Knowledge(leakproof=True, type=type_, digits=len(text), constant=True)
        whole = text.partition(".")[0]
        bounded = len(whole) if (whole.isdecimal() or not whole) and "e" not in text.lower() else None
        return Knowledge(leakproof=True, type="numeric", digits=bounded, constant=True)
    return Knowledge(leakproof=True, type="unknown", constant=True)


def _folded(left: Knowledge, right: Knowledge) -> Knowledge:
    """Arithmetic on literals only: folded while planning, except where an operator is merely stable."""
    types = {left.type, right.type}
    if types <= _NUMBERS:
        both = [side.digits for side in (left, right)]
        digits = sum(side for side in both if side is not None) if None not in both else None
        wide = "numeric" if "numeric" in types else "int8" if "int8" in types else "int4"
        return Knowledge(leakproof=True, type=wide, digits=digits, constant=True)
    if types == {"date", "interval"} or types == {"timestamp", "interval"}:
        return Knowledge(leakproof=True, type="timestamp", constant=True)
    if types == {"date", "int4"}:
        return Knowledge(leakproof=True, type="date", constant=True)
    return LEAKY


def _merged(values: list[Knowledge], *, safe: bool) -> Knowledge:
    """Alternatives of one type: CASE, COALESCE."""
    types = {value.type for value in values} - {"unknown"}
    type_ = types.pop() if len(types) == 1 else _widest(types)
    if not types and not any(value.type != "unknown" for value in values):
        type_ = "unknown"
    digits = None if any(value.digits is None for value in values) else max((v.digits or 0) for v in values)
    known = type_ is not None
    pieces = max((value.pieces for value in values), default=1)
    return Knowledge(safe and known and all(value.leakproof for value in values), type_, digits, pieces=pieces)


def _aggregate(name: str, values: list[Knowledge]) -> Knowledge:
    if name == "count":
        return Knowledge(leakproof=True, type="int8", digits=_COUNT_DIGITS)
    if len(values) != 1:
        return LEAKY
    (value,) = values
    if name in ("min", "max"):
        return Knowledge(value.type in _COMPARABLE, value.type, value.digits, pieces=value.pieces)
    if name in ("bool_and", "bool_or", "every"):
        return BOOLEAN
    if value.type not in _NUMBERS or value.digits is None:
        return LEAKY
    if name == "sum" and value.type in ("int2", "int4"):
        return Knowledge(leakproof=True, type="int8", digits=19)
    return Knowledge(value.digits + _SUM_DIGITS <= _MOST_DIGITS, "numeric", value.digits + _SUM_DIGITS)


def _value_function(node: ValueFunction) -> Knowledge:
    types = {
        "CURRENT_DATE": "date",
        "CURRENT_TIMESTAMP": "timestamptz",
        "LOCALTIMESTAMP": "timestamp",
        "CURRENT_USER": "name",
        "SESSION_USER": "name",
    }
    type_ = types.get(str(node.this))
    return Knowledge(leakproof=type_ is not None, type=type_, digits=_YEAR_DIGITS)


def _shifted(moment: Knowledge, distance: Knowledge) -> Knowledge:
    """The present, moved by a small literal distance: far from the ends of the calendar."""
    if distance.type == "interval":
        shifted = "timestamp" if moment.type == "date" else moment.type
        return Knowledge(leakproof=distance.digits is not None, type=shifted)
    small = moment.type == "date" and distance.type == "int4" and (distance.digits or 0) <= _YEAR_DIGITS
    return Knowledge(leakproof=small, type="date")


def single_row(node: exp.Expression) -> bool:
    """Whether a query gives one row at most: an aggregate without GROUP BY, no FROM, or LIMIT 1."""
    while isinstance(node, exp.Subquery) and not node.args.get("with_"):
        node = node.this
    if not isinstance(node, exp.Select):
        return False
    limit = node.args.get("limit")
    if limit is not None and isinstance(limit.expression, exp.Literal) and limit.expression.this in ("0", "1"):
        return not limit.args.get("options")
    if any(node.args.get(key) for key in ("group", "limit", "offset", "distinct")):
        return False
    if node.args.get("from_") is None:
        return not any(isinstance(item, exp.Star) for item in node.expressions) and not _set_returning(node)
    return any(
        call.name in _TOTAL_AGGREGATES and not call.args.get("over")
        for item in node.expressions
        for call in own_calls(item)
    ) and not _set_returning(node)


def own_calls(node: exp.Expression) -> Iterable[Call]:
    """The calls in an expression, not those in its subqueries."""
    if isinstance(node, exp.Query):
        return
    if isinstance(node, Call):
        yield node
    for value in node.args.values():
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, exp.Expression):
                yield from own_calls(child)


def _set_returning(select: exp.Select) -> bool:
    """Whether the output might hold a set-returning function: any call that is not known to give one value."""
    return any(
        call.name not in _TOTAL_AGGREGATES | _TEXT_FUNCTIONS | {"substr", "left", "right", "abs", "round"}
        for item in select.expressions
        for call in own_calls(item)
    )


def _proven(condition: exp.Expression) -> tuple[frozenset[exp.Expression], frozenset[exp.Expression]]:
    """The expressions that are positive, and those that are not zero, where the condition holds."""
    nothing: frozenset[exp.Expression] = frozenset()
    match condition:
        case exp.And():
            left, right = _proven(condition.this), _proven(condition.expression)
            return left[0] | right[0], left[1] | right[1]
        case exp.Paren():
            return _proven(condition.this)
        case exp.GT() if _is_zero(condition.expression):
            return frozenset({condition.this}), nothing
        case exp.NEQ() if _is_zero(condition.expression):
            return nothing, frozenset({condition.this})
        case _:
            return nothing, nothing


def _is_zero(node: exp.Expression) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and node.this in ("0", "0.0")


def _widest(types: set[str | None]) -> str | None:
    """The number type that the engine chooses for alternatives of several."""
    widest = next(iter(types), None)
    for type_ in types:
        widest = _wider(widest, type_)
    return widest


def _wider(one: str | None, two: str | None) -> str | None:
    """The number type of an operation on two numbers."""
    order = ("int2", "int4", "int8", "numeric")
    if one not in order or two not in order:
        return None
    return order[max(order.index(one), order.index(two))]


def _digits_of(node: exp.Binary, left: Knowledge, right: Knowledge) -> int | None:
    if left.digits is None or right.digits is None:
        return None
    return left.digits + right.digits if isinstance(node, exp.Mul) else max(left.digits, right.digits) + 1


def whole_number(node: exp.Expression) -> bool:
    """Whether it is a whole number in the text, of less than ten digits and without a sign."""
    return (
        isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdecimal() and len(str(node.this)) < 10
    )
