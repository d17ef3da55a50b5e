"""What may be known of a value before any row is read, and which values compare without failing."""

from __future__ import annotations

from dataclasses import dataclass


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


PATTERN = "pattern"
OPERANDS = {
    "int8": "operand of int8",
    "numeric": "operand of numeric",
    "float4": "operand of float8",
    "float8": "operand of float8",
}
"""By the type of what a parameter is compared with. (int8 with an oid is compared as oids, for example.)"""

INTEGERS = {"int2": 5, "int4": 10, "int8": 19}
NUMBERS = frozenset({*INTEGERS, "numeric"})
FLOATS = frozenset({"float4", "float8"})
TEXTS = frozenset({"text", "varchar", "bpchar", "name", "unknown"})
_MOMENTS = frozenset({"date", "timestamp", "timestamptz", "time", "timetz", "interval"})
# Comparison operators of these types return for every pair of values (their btree operator classes must be total).
COMPARABLE = NUMBERS | FLOATS | TEXTS | _MOMENTS | {"bool", "uuid", "inet", "cidr", "oid", "bytea", "char", "macaddr"}
# Types of which any two compare with each other without a cast that could fail (int8 to oid could).
_FAMILIES = (
    NUMBERS,
    FLOATS,
    TEXTS,
    frozenset({"date", "timestamp", "timestamptz"}),
    frozenset({"time", "timetz"}),
    frozenset({"inet", "cidr"}),
    frozenset({"oid", "int2", "int4"}),
)
# numeric overflows beyond 131072 digits before the point (manual, 8.1.2); so far below that nothing can raise.
MOST_DIGITS = 1_000
# Beyond 308 digits a number does not fit a double.
_FLOAT_DIGITS = 300
YEAR_DIGITS = 4
# No table has more rows than this has digits.
COUNT_DIGITS = 15


def compares(value: Knowledge) -> bool:
    """Whether the value is of a type of which any two compare."""
    return value.leakproof and value.type in COMPARABLE


def comparable(left: Knowledge, right: Knowledge) -> bool:
    """Whether comparing the two returns for every pair of values, the casts that the engine puts in included."""
    if not (compares(left) and compares(right)):
        return False
    types = {left.type, right.type}
    if len(types) == 1 or "unknown" in types or any(types <= family for family in _FAMILIES):
        return True
    if types <= NUMBERS | FLOATS:
        # Compared as doubles, for which a numeric can be too large.
        numeric = left if left.type == "numeric" else right
        return "numeric" not in types or bounded(numeric)
    return False


def bounded(value: Knowledge) -> bool:
    """Whether a numeric certainly fits a double."""
    return value.digits is not None and value.digits <= _FLOAT_DIGITS


def merged(values: list[Knowledge], *, safe: bool) -> Knowledge:
    """Alternatives of one type: CASE, COALESCE."""
    types = {value.type for value in values} - {"unknown"}
    type_ = types.pop() if len(types) == 1 else _widest(types)
    if not types and not any(value.type != "unknown" for value in values):
        type_ = "unknown"
    digits = None if any(value.digits is None for value in values) else max((v.digits or 0) for v in values)
    known = type_ is not None
    pieces = max((value.pieces for value in values), default=1)
    return Knowledge(safe and known and all(value.leakproof for value in values), type_, digits, pieces=pieces)


def _widest(types: set[str | None]) -> str | None:
    """The number type that the engine chooses for alternatives of several."""
    widest = next(iter(types), None)
    for type_ in types:
        widest = wider(widest, type_)
    return widest


def wider(one: str | None, two: str | None) -> str | None:
    """The number type of an operation on two numbers."""
    order = ("int2", "int4", "int8", "numeric")
    if one not in order or two not in order:
        return None
    return order[max(order.index(one), order.index(two))]
