"""What is known of the values that hang on no row: literals, arithmetic on them, and the present."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.nodes import ValueFunction
from datagate.sql.knowledge import LEAKY, NUMBERS, YEAR_DIGITS, Knowledge

# What type a whole number has that stands in the text (manual, 4.1.2.6).
_LARGEST = {"int4": 2**31 - 1, "int8": 2**63 - 1}


def constant(node: exp.Expression) -> Knowledge:
    """Of a literal, true, false or NULL."""
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


def folded(left: Knowledge, right: Knowledge) -> Knowledge:
    """Arithmetic on literals only: folded while planning, except where an operator is merely stable."""
    types = {left.type, right.type}
    if types <= NUMBERS:
        both = [side.digits for side in (left, right)]
        digits = sum(side for side in both if side is not None) if None not in both else None
        wide = "numeric" if "numeric" in types else "int8" if "int8" in types else "int4"
        return Knowledge(leakproof=True, type=wide, digits=digits, constant=True)
    if types == {"date", "interval"} or types == {"timestamp", "interval"}:
        return Knowledge(leakproof=True, type="timestamp", constant=True)
    if types == {"date", "int4"}:
        return Knowledge(leakproof=True, type="date", constant=True)
    return LEAKY


def value_function(node: ValueFunction) -> Knowledge:
    """Of the present and the session's user."""
    types = {
        "CURRENT_DATE": "date",
        "CURRENT_TIMESTAMP": "timestamptz",
        "LOCALTIMESTAMP": "timestamp",
        "CURRENT_USER": "name",
        "SESSION_USER": "name",
    }
    type_ = types.get(str(node.this))
    return Knowledge(leakproof=type_ is not None, type=type_, digits=YEAR_DIGITS)


def shifted(moment: Knowledge, distance: Knowledge) -> Knowledge:
    """The present, moved by a small literal distance: far from the ends of the calendar."""
    if distance.type == "interval":
        shifted = "timestamp" if moment.type == "date" else moment.type
        return Knowledge(leakproof=distance.digits is not None, type=shifted)
    small = moment.type == "date" and distance.type == "int4" and (distance.digits or 0) <= YEAR_DIGITS
    return Knowledge(leakproof=small, type="date")


def whole_number(node: exp.Expression) -> bool:
    """Whether it is a whole number in the text, of less than ten digits and without a sign."""
    return (
        isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdecimal() and len(str(node.this)) < 10
    )
