"""Masks on numbers: ``round`` and ``bucket``. Total: no value of the type overflows, underflows or divides by zero."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise

from datagate.backends.postgres.mask_types import (
    FLOAT_TYPES,
    INTEGER_RANGES,
    call,
    cast,
    choose,
    constant,
    misfit,
    operate,
)
from datagate.model.fragment import Fragment
from datagate.model.mask import Mask

LARGEST_STEP = Decimal(10) ** 18
SMALLEST_STEP = Decimal(10) ** -18
# Beyond this a numeric goes to infinity of its sign, since the sum of a number near the type's end (1e131072) and half
# a step could overflow. Not nearer to the end, since EXPLAIN prints all its digits.
_NUMERIC_LIMIT = "1e100"


def round_number(mask: Mask, operand: Fragment, type_name: str) -> Fragment:
    """The nearest multiple of ``to``, halves away from zero, in the column's own type.

    Integers: where the nearest multiple lies outside the type, the nearest one inside it. Infinities and NaN stay.
    Floats are rounded as the decimal of their 15 significant digits; one so large that its neighbours are more than
    a step apart has nothing to round and stays. A numeric beyond 1e100 becomes infinity of its sign.
    """
    step = _step(mask)
    if type_name in INTEGER_RANGES:
        return cast(_round_integer(mask, operand, type_name, step), type_name)
    if type_name == "numeric":
        beyond = operate(call("abs", operand), ">=", _NUMERIC_LIMIT)
        infinite = operate(call("sign", operand), "*", constant("Infinity", "numeric"))
        return choose((beyond, infinite), otherwise=_round_numeric(operand, step))
    if type_name in FLOAT_TYPES:
        double = operand if type_name == "float8" else cast(operand, "float8")
        limit = constant(f"{step * 2**53:f}", "float8")
        rounded = cast(_round_numeric(cast(double, "numeric"), step), type_name)
        return choose((operate(call("abs", double), ">=", limit), operand), otherwise=rounded)
    raise misfit(mask, type_name, "numbers (int2, int4, int8, numeric, float4, float8)")


def _step(mask: Mask) -> Decimal:
    """The option ``to``, checked."""
    value = mask.option("to")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(  # noqa: TRY004 - a wrong policy value, not a wrong call
            f"the mask round needs to, a positive number, not {value!r}; write for example {{round: 1000}}"
        )
    step = Decimal(value)
    if not step.is_finite() or not SMALLEST_STEP <= step <= LARGEST_STEP:
        raise ValueError(f"the mask round cannot round to {value}; give a number from 1e-18 to 1e18")
    return step


def _round_numeric(operand: Fragment, step: Decimal) -> Fragment:
    """``round(x, n)`` for a power of ten, else ``sign(x) * (to * div(abs(x) + to/2, to))``: exact.

    Both are right for infinities and NaN as they stand; the first is three times as fast.
    """
    _, digits, exponent = step.normalize().as_tuple()
    if digits == (1,) and isinstance(exponent, int):
        return call("round", operand, str(-exponent))
    with localcontext(prec=100):
        half = step / 2
    count = call("div", operate(call("abs", operand), "+", f"{half:f}"), f"{step:f}")
    return operate(call("sign", operand), "*", operate(f"{step:f}", "*", count))


def _round_integer(mask: Mask, operand: Fragment, type_name: str, step: Decimal) -> Fragment:
    """Towards zero by the remainder, then one step away from zero if that is nearer and still within the type."""
    if step != int(step):
        raise ValueError(
            f"the mask {mask.kind.value} cannot round type {type_name} to {step}: integers have no fractions; "
            "give a whole number"
        )
    to = int(step)
    lowest, highest = INTEGER_RANGES[type_name]
    top, bottom = highest // to * to, -(-lowest // to * to)
    half = (to + 1) // 2
    rest = operate(operand, "%", str(to))
    base = operate(operand, "-", rest)
    up = (operate(rest, ">=", str(half)), operate(operand, "<", str(top)))
    down = (operate(rest, "<=", str(-half)), operate(operand, ">", str(bottom)))
    return choose(
        (Fragment.join(" AND ", up), operate(base, "+", str(to))),
        (Fragment.join(" AND ", down), operate(base, "-", str(to))),
        otherwise=base,
    )


def bucket(mask: Mask, operand: Fragment, type_name: str) -> Fragment:
    """The greatest edge that is not above the value; NULL below the first edge.

    NaN and infinity sort above every number, as PostgreSQL sorts them, and show the last edge.
    """
    if type_name not in INTEGER_RANGES and type_name not in FLOAT_TYPES and type_name != "numeric":
        raise misfit(mask, type_name, "numbers (int2, int4, int8, numeric, float4, float8)")
    edges = constant("{" + ",".join(f"{edge:f}" for edge in _edges(mask, type_name)) + "}", f"_{type_name}")
    # The cast does nothing to a column of the base type, and makes a domain over it fit the polymorphic function.
    position = call("width_bucket", cast(operand, type_name), edges)
    return Fragment.of("(", edges, ")[", position, "]")


def _edges(mask: Mask, type_name: str) -> list[Decimal]:
    """The option ``edges``, checked against the type."""
    value = mask.option("edges")
    edges: list[Decimal] = []
    for edge in value if isinstance(value, tuple) else ():
        if isinstance(edge, bool) or not isinstance(edge, int | Decimal):
            raise ValueError(  # noqa: TRY004 - a wrong policy value, not a wrong call
                f"the mask bucket has an edge {edge!r} that is not a number; write for example [0, 18, 65]"
            )
        edges.append(Decimal(edge))
    if not edges or any(not edge.is_finite() or abs(edge) > LARGEST_STEP for edge in edges):
        raise ValueError("the mask bucket needs edges, a list of numbers up to 1e18; write for example [0, 18, 65]")
    if any(low >= high for low, high in pairwise(edges)):
        raise ValueError("the edges of the mask bucket do not ascend; sort them and drop repeated ones")
    if type_name in INTEGER_RANGES:
        lowest, highest = INTEGER_RANGES[type_name]
        for edge in edges:
            if edge != int(edge) or not lowest <= edge <= highest:
                raise ValueError(
                    f"the edge {edge} of the mask bucket is no value of type {type_name}; give one that is"
                )
        return [Decimal(int(edge)) for edge in edges]
    if any(edge != 0 and abs(edge) < SMALLEST_STEP for edge in edges):
        raise ValueError("the mask bucket has an edge smaller than 1e-18; use 0")
    return edges
