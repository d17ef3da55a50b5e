"""Typed values: what an attribute, a mandate parameter or a key is, and what it is as an SQL parameter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

Scalar = str | int | Decimal | bool | date | datetime | UUID | bytes
AttributeValue = Scalar | tuple[Scalar, ...]


class ValueType(Enum):
    """The types that attributes and mandate parameters may have; arrays have a ``[]`` of their own."""

    TEXT = "text"
    INT = "int"
    BIGINT = "bigint"
    NUMERIC = "numeric"
    BOOL = "bool"
    DATE = "date"
    TIMESTAMPTZ = "timestamptz"
    UUID = "uuid"
    BYTEA = "bytea"
    TEXT_ARRAY = "text[]"
    INT_ARRAY = "int[]"
    BIGINT_ARRAY = "bigint[]"
    NUMERIC_ARRAY = "numeric[]"
    DATE_ARRAY = "date[]"
    UUID_ARRAY = "uuid[]"

    @property
    def is_array(self) -> bool:
        """Whether a value of this type is a tuple."""
        return self.value.endswith("[]")


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A value together with its type; arrays are tuples; never None (a missing attribute refuses instead)."""

    type: ValueType
    value: AttributeValue
