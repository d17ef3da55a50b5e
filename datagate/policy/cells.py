"""Values in examples: what YAML can say of a cell or an attribute, and what it means by it.

YAML here has text, numbers, true and false, lists and mappings; dates, times, uuids and bytes are written as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from datagate.model.values import AttributeValue, Scalar, ValueType

Cell = str | int | bool | Decimal | list["Cell"] | dict[str, "Cell"] | None
"""A cell as a policy file writes it; text stands for every type that YAML has no word for."""


def attribute_value(value: object, type_: ValueType) -> AttributeValue:
    """The value of a declared type; ValueError, saying what is wanted, for any other."""
    if not type_.is_array:
        return _scalar(value, type_)
    if not isinstance(value, list):
        raise ValueError(f"a list is wanted here, for {type_.value}")  # noqa: TRY004 - a steward's value, not a type
    element = ValueType(type_.value.removesuffix("[]"))
    return tuple(_scalar(item, element) for item in value)


def _scalar(value: object, type_: ValueType) -> Scalar:
    kind, read = _READERS[type_]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = "text in quotes" if kind is str else "true or false" if kind is bool else "a number without quotes"
        raise ValueError(f"{wanted} is wanted here, for {type_.value}")
    try:
        return read(value)
    except ValueError:
        raise ValueError(f"{value!r} is no {type_.value}") from None


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return instant


def _within(bits: int) -> Callable[[int], int]:
    def check(value: int) -> int:
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise ValueError(value)
        return value

    return check


_Kind = type[object] | tuple[type[object], ...]
_READERS: Mapping[ValueType, tuple[_Kind, Callable[..., Scalar]]] = {
    ValueType.TEXT: (str, str),
    ValueType.INT: (int, _within(32)),
    ValueType.BIGINT: (int, _within(64)),
    ValueType.NUMERIC: ((int, Decimal), Decimal),
    ValueType.BOOL: (bool, bool),
    ValueType.DATE: (str, date.fromisoformat),
    ValueType.TIMESTAMPTZ: (str, _instant),
    ValueType.UUID: (str, UUID),
    ValueType.BYTEA: (str, bytes.fromhex),
}


def same(wanted: Cell, shown: object) -> bool:
    """Whether a cell that was read from the engine is the one that the example names."""
    if wanted is None or shown is None:
        return wanted is None and shown is None
    if isinstance(wanted, bool) or isinstance(shown, bool):
        return wanted is shown
    if isinstance(wanted, dict):
        return (
            isinstance(shown, Mapping)
            and wanted.keys() == shown.keys()
            and all(same(value, shown[key]) for key, value in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(shown, list | tuple)
            and len(wanted) == len(shown)
            and all(same(left, right) for left, right in zip(wanted, shown, strict=True))
        )
    if isinstance(wanted, int | Decimal):
        return isinstance(shown, int | float | Decimal) and _equal_numbers(wanted, shown)
    return _same_text(wanted, shown)


def _equal_numbers(wanted: int | Decimal, shown: float | Decimal) -> bool:
    try:
        return Decimal(wanted) == Decimal(str(shown))
    except InvalidOperation:
        return False


def _same_text(wanted: str, shown: object) -> bool:
    if isinstance(shown, str):
        return wanted == shown
    if isinstance(shown, bytes | bytearray | memoryview):
        return wanted == bytes(shown).hex()
    if isinstance(shown, datetime):
        try:
            instant = datetime.fromisoformat(wanted)
        except ValueError:
            return False
        return (instant.tzinfo is None) == (shown.tzinfo is None) and instant == shown
    if isinstance(shown, Mapping | list):
        return wanted == json.dumps(shown)
    # Dates, uuids, addresses and networks all print as PostgreSQL does.
    return wanted == str(shown)
