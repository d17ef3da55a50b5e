"""What is known of calls: aggregates, window functions, and functions of one row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from datagate.sql.constants import whole_number
from datagate.sql.dialect.nodes import Call
from datagate.sql.knowledge import (
    BOOLEAN,
    COMPARABLE,
    COUNT_DIGITS,
    LEAKY,
    MOST_DIGITS,
    NUMBERS,
    TEXTS,
    YEAR_DIGITS,
    Knowledge,
)

_SUM_DIGITS = 20
_RANKS = frozenset({"row_number", "rank", "dense_rank"})

_TEXT_FUNCTIONS = frozenset({"lower", "upper", "length", "char_length", "btrim", "ltrim", "rtrim", "md5", "reverse"})
_TOTAL_AGGREGATES = frozenset({"count", "min", "max", "sum", "avg", "bool_and", "bool_or", "every"})
_PRESENT = frozenset({"now", "statement_timestamp", "transaction_timestamp"})
_PARTS = frozenset({"substr", "left", "right"})


def known_of_call(call: Call, arguments: Sequence[exp.Expression], values: Sequence[Knowledge]) -> Knowledge:
    """Of a call whose arguments (``values``), FILTER, ORDER BY and OVER are leak-proof."""
    name, over = call.name, call.args.get("over") is not None
    if over and name in _RANKS and not values:
        return Knowledge(leakproof=True, type="int8", digits=COUNT_DIGITS)
    if name in _TOTAL_AGGREGATES:
        return _aggregate(name, values)
    if not over and not values and name in _PRESENT:
        return Knowledge(leakproof=True, type="timestamptz", digits=YEAR_DIGITS)
    return LEAKY if over or not values else _of_one_row(name, arguments, values)


def _of_one_row(name: str, arguments: Sequence[exp.Expression], values: Sequence[Knowledge]) -> Knowledge:
    first = values[0]
    if name == "abs" and len(values) == 1 and first.type == "numeric":
        return first
    if first.type not in TEXTS:
        return LEAKY
    if name in _TEXT_FUNCTIONS and len(values) == 1:
        return Knowledge(True, "int4" if "length" in name else "text", digits=10, pieces=first.pieces)
    if name in _PARTS:
        return Knowledge(all(whole_number(item) for item in arguments[1:]), "text", pieces=first.pieces)
    return LEAKY


def _aggregate(name: str, values: Sequence[Knowledge]) -> Knowledge:
    if name == "count":
        return Knowledge(leakproof=True, type="int8", digits=COUNT_DIGITS)
    if len(values) != 1:
        return LEAKY
    (value,) = values
    if name in ("min", "max"):
        return Knowledge(value.type in COMPARABLE, value.type, value.digits, pieces=value.pieces)
    if name in ("bool_and", "bool_or", "every"):
        return BOOLEAN
    if value.type not in NUMBERS or value.digits is None:
        return LEAKY
    if name == "sum" and value.type in ("int2", "int4"):
        return Knowledge(leakproof=True, type="int8", digits=19)
    return Knowledge(value.digits + _SUM_DIGITS <= MOST_DIGITS, "numeric", value.digits + _SUM_DIGITS)


def gathers(call: Call) -> bool:
    """Whether the call may be an aggregate or a window function, which sees rows before the expression around it."""
    return call.name in _TOTAL_AGGREGATES or call.args.get("over") is not None or call.args.get("filter") is not None


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
        call.name not in _TOTAL_AGGREGATES | _TEXT_FUNCTIONS | _PARTS | {"abs", "round"}
        for item in select.expressions
        for call in own_calls(item)
    )
