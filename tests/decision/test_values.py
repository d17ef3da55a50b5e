from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from datagate.decision.values import fit
from datagate.model.values import AttributeValue, TypedValue, ValueType

UUID_1 = UUID(int=1)
DAY = date(2026, 3, 1)
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType.TEXT, "ünï"),
        (ValueType.TEXT, ""),
        (ValueType.INT, 2**31 - 1),
        (ValueType.INT, -(2**31)),
        (ValueType.BIGINT, 2**63 - 1),
        (ValueType.BIGINT, -(2**63)),
        (ValueType.NUMERIC, Decimal("-1.50")),
        (ValueType.NUMERIC, Decimal("1e131071")),
        (ValueType.NUMERIC, Decimal("1e-16383")),
        (ValueType.BOOL, False),
        (ValueType.DATE, DAY),
        (ValueType.TIMESTAMPTZ, MOMENT),
        (ValueType.UUID, UUID_1),
        (ValueType.BYTEA, b"\0"),
        (ValueType.TEXT_ARRAY, ("EU", "US")),
        (ValueType.TEXT_ARRAY, ()),
        (ValueType.INT_ARRAY, (1, 2)),
        (ValueType.BIGINT_ARRAY, (2**40,)),
        (ValueType.NUMERIC_ARRAY, (Decimal(1),)),
        (ValueType.DATE_ARRAY, (DAY,)),
        (ValueType.UUID_ARRAY, (UUID_1,)),
    ],
)
def test_a_fitting_value_is_kept_as_it_is(value_type: ValueType, value: AttributeValue) -> None:
    """Each type takes its own values, to the edges of its range."""
    assert fit(value_type, value) == TypedValue(value_type, value)


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType.TEXT, 1),
        (ValueType.TEXT, "a\0b"),
        (ValueType.TEXT, "\ud800"),
        (ValueType.INT, True),
        (ValueType.INT, 2**31),
        (ValueType.INT, -(2**31) - 1),
        (ValueType.INT, "1"),
        (ValueType.BIGINT, 2**63),
        (ValueType.BIGINT, False),
        (ValueType.NUMERIC, True),
        (ValueType.NUMERIC, Decimal("NaN")),
        (ValueType.NUMERIC, Decimal("-Infinity")),
        (ValueType.NUMERIC, Decimal("1e131072")),
        (ValueType.NUMERIC, Decimal("1e-16384")),
        pytest.param(ValueType.NUMERIC, 1 << 3 * 131073, id="huge"),
        (ValueType.NUMERIC, "1"),
        (ValueType.BOOL, 1),
        (ValueType.DATE, MOMENT),
        (ValueType.DATE, "2026-03-01"),
        (ValueType.TIMESTAMPTZ, DAY),
        (ValueType.TIMESTAMPTZ, MOMENT.replace(tzinfo=None)),
        (ValueType.UUID, str(UUID_1)),
        (ValueType.BYTEA, "x"),
        (ValueType.TEXT, ("x",)),
        (ValueType.TEXT_ARRAY, "x"),
        (ValueType.TEXT_ARRAY, ("x", 1)),
        (ValueType.INT_ARRAY, (1, True)),
    ],
)
def test_a_value_of_another_type_does_not_fit(value_type: ValueType, value: AttributeValue) -> None:
    """Nothing is coerced: what a type cannot hold exactly is no value of it."""
    assert fit(value_type, value) is None


def test_an_integer_stands_for_a_numeric() -> None:
    """A whole number needs no decimal point in the store, and travels as a numeric."""
    fitted = fit(ValueType.NUMERIC, 5)
    assert fitted == TypedValue(ValueType.NUMERIC, Decimal(5))
    assert fitted is not None
    assert isinstance(fitted.value, Decimal)
