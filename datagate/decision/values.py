"""Whether a value fits the type that the policy declared for it.

Stores hand attribute values on as they were recorded. A value that does not fit is refused here, before an engine
could coerce it into something that the steward did not mean.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from datagate.model.values import AttributeValue, Scalar, TypedValue, ValueType

# PostgreSQL, chapter "Numeric Types": digits before and after the point of an unconstrained numeric.
_NUMERIC_BEFORE, _NUMERIC_AFTER = 131072, 16383


def fit(value_type: ValueType, value: AttributeValue) -> TypedValue | None:
    """The value as one of the declared type, or None where it does not fit.

    Integers stand for numerics; nothing else is converted.
    """
    if not value_type.is_array:
        scalar = None if isinstance(value, tuple) else _SCALARS[value_type](value)
        return None if scalar is None else TypedValue(value_type, scalar)
    if not isinstance(value, tuple):
        return None
    element = _SCALARS[ValueType(value_type.value.removesuffix("[]"))]
    elements = tuple(fitted for fitted in map(element, value) if fitted is not None)
    return TypedValue(value_type, elements) if len(elements) == len(value) else None


def _text(value: Scalar) -> Scalar | None:
    # No engine stores NUL or lone surrogates in text.
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        return None
    return value


def _integer(bits: int) -> Callable[[Scalar], Scalar | None]:
    limit = 1 << (bits - 1)

    def fitting(value: Scalar) -> Scalar | None:
        # bool is an int in Python, and must not be one in a policy.
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if -limit <= value < limit else None

    return fitting


def _numeric(value: Scalar) -> Scalar | None:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    # Beyond this bound the conversion of a huge int would itself be slow, or fail.
    if isinstance(value, int) and value.bit_length() > 3 * _NUMERIC_BEFORE:
        return None
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    # NaN equals itself and exceeds all numbers in PostgreSQL: no steward means that.
    if not isinstance(exponent, int):
        return None
    return number if number.adjusted() < _NUMERIC_BEFORE and exponent >= -_NUMERIC_AFTER else None


def _bool(value: Scalar) -> Scalar | None:
    return value if isinstance(value, bool) else None


def _date(value: Scalar) -> Scalar | None:
    # datetime is a date in Python, and loses its time where a date is meant.
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def _timestamptz(value: Scalar) -> Scalar | None:
    return value if isinstance(value, datetime) and value.utcoffset() is not None else None


def _uuid(value: Scalar) -> Scalar | None:
    return value if isinstance(value, UUID) else None


def _bytea(value: Scalar) -> Scalar | None:
    return value if isinstance(value, bytes) else None


_SCALARS: dict[ValueType, Callable[[Scalar], Scalar | None]] = {
    ValueType.TEXT: _text,
    ValueType.INT: _integer(32),
    ValueType.BIGINT: _integer(64),
    ValueType.NUMERIC: _numeric,
    ValueType.BOOL: _bool,
    ValueType.DATE: _date,
    ValueType.TIMESTAMPTZ: _timestamptz,
    ValueType.UUID: _uuid,
    ValueType.BYTEA: _bytea,
}
