"""Attribute values and mandate parameters as JSON text, such that each comes back as the type that it had.

Text, integers and booleans are themselves, lists are lists; the rest is an object with one key that names its type:
``{"date": "2026-01-31"}``, ``{"numeric": "1.50"}``, ``{"timestamptz": …}``, ``{"uuid": …}``, ``{"bytea": "c0ffee"}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from datagate.errors import StateError
from datagate.model.names import Purpose
from datagate.model.values import AttributeValue, Scalar

_Json = str | int | Decimal | bool | None | list["_Json"] | dict[str, "_Json"]
_TAGS: dict[str, Callable[[str], Scalar]] = {
    "numeric": Decimal,
    "date": date.fromisoformat,
    "timestamptz": datetime.fromisoformat,
    "uuid": UUID,
    "bytea": bytes.fromhex,
}


def encode(value: AttributeValue) -> str:
    """One value as JSON text.

    Raises:
        StateError: No type that attributes may have, or text that no engine stores.
    """
    return json.dumps(_to_json(value))


def decode(text: str) -> AttributeValue:
    """One value from JSON text; StateError where plain SQL wrote what is none."""
    return _from_json(_parse(text))


def encode_parameters(parameters: Mapping[str, AttributeValue]) -> str:
    """A mandate's parameters as a JSON object."""
    return json.dumps({name: _to_json(value) for name, value in sorted(parameters.items())})


def decode_parameters(text: str) -> dict[str, AttributeValue]:
    """A mandate's parameters; StateError where they are no JSON object of values."""
    found = _parse(text)
    if not isinstance(found, dict):
        raise StateError("a mandate's parameters are a JSON object")
    return {name: _from_json(value) for name, value in found.items()}


def encode_purposes(purposes: Iterable[str]) -> str:
    """A mandate's purposes as a JSON array."""
    return json.dumps(sorted(set(purposes)))


def decode_purposes(text: str) -> frozenset[Purpose]:
    """A mandate's purposes; StateError where they are no JSON array of texts."""
    found = _parse(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise StateError("a mandate's purposes are a JSON array of texts")
    return frozenset(Purpose(each) for each in found if isinstance(each, str))


def _to_json(value: AttributeValue) -> _Json:
    if isinstance(value, tuple):
        return [_scalar(each) for each in value]
    return _scalar(value)


def _scalar(value: Scalar) -> _Json:
    # bool is an int and datetime a date in Python: the narrower type first.
    match value:
        case bool() | int():
            return value
        case str():
            return storable(value)
        case datetime():
            if value.utcoffset() is None:
                raise StateError(f"{value} has no time zone")
            return {"timestamptz": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case Decimal():
            return {"numeric": str(value)}
        case UUID():
            return {"uuid": str(value)}
        case bytes():
            return {"bytea": value.hex()}
        case _:
            raise StateError(f"a {type(value).__name__} is no value of an attribute; None means: leave it out")


def storable(text: str) -> str:
    """The text itself; StateError where it holds NUL or half a surrogate pair, which no engine stores."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise StateError("text must not hold NUL or lone surrogates")
    return text


def _parse(text: str) -> _Json:
    try:
        found: _Json = json.loads(
            text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise StateError(f"the state holds what is not JSON: {error}") from error
    return found


def _no_constant(name: str) -> Scalar:
    raise ValueError(f"{name} is no number")


def _without_duplicates(pairs: list[tuple[str, _Json]]) -> dict[str, _Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _from_json(value: _Json) -> AttributeValue:
    if isinstance(value, list):
        return tuple(_scalar_from_json(each) for each in value)
    return _scalar_from_json(value)


def _scalar_from_json(value: _Json) -> Scalar:
    if isinstance(value, (str, int, Decimal)):
        return value
    if isinstance(value, dict) and len(value) == 1:
        tag, text = next(iter(value.items()))
        if tag in _TAGS and isinstance(text, str):
            try:
                return _TAGS[tag](text)
            except (ValueError, InvalidOperation) as error:
                raise StateError(f"the state holds no {tag} where it says so") from error
    raise StateError('a value is text, a number, true, false, {"date": "2026-01-31"} and the like, or a list of those')
