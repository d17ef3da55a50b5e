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

from datagate.sql.calls import gathers, known_of_call, single_row
from datagate.sql.constants import constant, folded, shifted, value_function, whole_number
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
from datagate.sql.knowledge import (
    COMPARABLE,
    FLOATS,
    INTEGERS,
    LEAKY,
    MOST_DIGITS,
    OPERANDS,
    PATTERN,
    TEXTS,
    YEAR_DIGITS,
    Assumption,
    Knowledge,
    bounded,
    comparable,
    compares,
    merged,
    wider,
)
from datagate.sql.patterns import ends_well

Resolve = Callable[[exp.Column], Knowledge]
JudgeQuery = Callable[[exp.Expression], Knowledge]


Assume = Callable[[Assumption], bool]
"""Notes an assumption; False where none may be made, and then the cast is leaky."""

_WIDENS = {
    ("int2", "int4"), ("int2", "int8"), ("int4", "int8"), ("varchar", "text"), ("bpchar", "text"), ("name", "text"),
    ("text", "varchar"), ("cidr", "inet"),
}  # fmt: skip
ASSUMABLE_TYPES = frozenset("int2 int4 int8 numeric text varchar date timestamp timestamptz uuid bool float8".split())
"""Types that a cast of the caller's parameter may name without being leaky, if its value is of that type."""

_SAFE_CONSTANT_TYPES = COMPARABLE | {"json", "jsonb"}
_FRACTION_DIGITS = 16_383
# The last date is in the year 5874897.
_YEARS_DIGITS = 7
# How many digits a type holds whatever they are.
_HELD_DIGITS = {"int2": 4, "int4": 9, "int8": 18, "numeric": MOST_DIGITS}
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
                return constant(node)
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
                return value_function(node)
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
        texts = all(side.leakproof and side.type in TEXTS for side in sides)
        return Knowledge(texts and pieces <= _MOST_PIECES, "text", pieces=pieces)

    def _all_boolean(self, nodes: Iterable[exp.Expression]) -> Knowledge:
        return Knowledge(all(self.judge(node).leakproof for node in nodes), "bool")

    def _negation(self, side: Knowledge) -> Knowledge:
        # -(-2147483648) overflows, so a column's negation is safe for numeric only.
        safe = side.leakproof and (side.constant or side.type in ("numeric", *FLOATS))
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
        if one.parameter is None or other.type not in OPERANDS or (other.type == "numeric" and bounded(other)):
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
        if not all(side.leakproof and side.type in TEXTS for side in (text, like)):
            return LEAKY
        plain = like.parameter is not None and self.assume(Assumption(like.parameter, PATTERN))
        return Knowledge(plain or ends_well(pattern), "bool")

    def _quantified(self, node: Quantified) -> Knowledge:
        operator = node.args["operator"]
        side = self.judge(node.this)
        if operator not in ("=", "<>", "<", "<=", ">", ">=") or not compares(side):
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
            return Knowledge(text.leakproof and text.type in TEXTS and plain, "bool")
        return self._joined(node) if operator == "||" else LEAKY

    def _arithmetic(self, node: exp.Binary) -> Knowledge:
        left, right = self.judge(node.this), self.judge(node.expression)
        if left.constant and right.constant and left.leakproof and right.leakproof:
            return folded(left, right)
        if not (left.leakproof and right.leakproof):
            return LEAKY
        if left.type in ("date", "timestamp", "timestamptz") and left.digits is not None and right.constant:
            return shifted(left, right)
        digits = _digits_of(node, left, right)
        wide = wider(left.type, right.type)
        if digits is None or wide is None:
            return LEAKY
        return Knowledge(digits <= _HELD_DIGITS[wide], wide, digits)

    def _division(self, node: exp.Div) -> Knowledge:
        """Raises for a divisor of zero: safe where it is a literal, or where a CASE has just excluded zero."""
        left, right = self.judge(node.this), self.judge(node.expression)
        wide = wider(left.type, right.type)
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
        return Knowledge(wide != "numeric" or left.digits <= MOST_DIGITS, wide, digits)

    def _cast(self, node: exp.Cast) -> Knowledge:
        target, operand = node.to, node.this
        if not isinstance(target, TypeName) or target.args.get("dimensions"):
            return LEAKY
        name = target.internal
        value = self.judge(operand)
        if target.schema not in (None, "pg_catalog") or not value.leakproof or name not in _SAFE_CONSTANT_TYPES:
            return LEAKY
        plain = target.args.get("modifiers") is None
        if isinstance(operand, exp.Parameter):
            assumable = plain and name in ASSUMABLE_TYPES
            return Knowledge(assumable and self.assume(Assumption(int(operand.name), name)), name)
        if isinstance(operand, exp.Literal) and operand.is_string:
            # The engine converts a quoted literal when it reads the statement, whatever rows there are.
            small = name == "interval" and _SMALL_INTERVAL.fullmatch(operand.this.strip()) is not None
            return Knowledge(leakproof=True, type=name, digits=YEAR_DIGITS if small else None, constant=True)
        if plain and (value.type == name or (value.type, name) in _WIDENS):
            return replace(value, type=name, parameter=None)
        if plain and name == "numeric" and value.type in INTEGERS:
            return Knowledge(leakproof=True, type=name, digits=value.digits, constant=value.constant)
        if value.constant and isinstance(operand, exp.Null):
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
        return merged(results, safe=safe)

    def _tuple(self, node: exp.Expression) -> Knowledge:
        return Knowledge(all(compares(self.judge(item)) for item in node.expressions), None)

    def _call(self, node: Call) -> Knowledge:
        if node.schema not in (None, "pg_catalog") or node.args.get("within_group"):
            return LEAKY
        arguments = [item for item in node.expressions if not isinstance(item, exp.Star)]
        # An aggregate reads its arguments before any CASE around it has looked at its conditions.
        if gathers(node) and (self.positive or self.nonzero):
            return replace(self, positive=frozenset(), nonzero=frozenset()).judge(node)
        values = [self.judge(item) for item in arguments]
        if not all(value.leakproof for value in values) or not self._modifiers(node):
            return LEAKY
        return known_of_call(node, arguments, values)

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
        return all(compares(self.judge(part)) for part in parts)

    def _keyword_call(self, node: KeywordCall) -> Knowledge:
        parts = [part for part in node.args.get("parts") or [] if isinstance(part, exp.Expression)]
        if node.this in ("COALESCE", "GREATEST", "LEAST"):
            values = [self.judge(part) for part in parts]
            total = node.this == "COALESCE" or all(self._comparable(values[0], value) for value in values)
            return merged(values, safe=total)
        if node.this == "NULLIF" and len(parts) == 2:
            safe, first = self._comparison(parts[0], parts[1]).leakproof, self.judge(parts[0])
            return Knowledge(safe, first.type, pieces=first.pieces)
        if node.this == "SUBSTRING" and parts:
            text = self.judge(parts[0])
            whole = all(whole_number(part) for part in parts[1:])
            return Knowledge(text.leakproof and text.type in TEXTS and whole, "text", pieces=text.pieces)
        if node.this == "EXTRACT" and len(parts) == 2:
            moment = self.judge(parts[1])
            known = parts[0].name.lower() in _EXTRACT_FIELDS.get(moment.type or "", ())
            return Knowledge(moment.leakproof and known, "numeric", _YEARS_DIGITS)
        return LEAKY


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


def _digits_of(node: exp.Binary, left: Knowledge, right: Knowledge) -> int | None:
    if left.digits is None or right.digits is None:
        return None
    return left.digits + right.digits if isinstance(node, exp.Mul) else max(left.digits, right.digits) + 1
