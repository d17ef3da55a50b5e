"""The mandate that a token names, and what of it the token leaves (RFC 9396, ``authorization_details``).

::

    {"type": "datagate_mandate", "mandate": "tax-1", "purposes": ["tax"],
     "relations": {"bank.accounts": ["kind", "balance"], "bank.customers": "all"},
     "parameters": {"customer_id": 7}, "valid_from": 1767225600, "valid_until": 1798761600}

All but the first two may be left out. A member that is not known is refused: it might mean to take something away.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from datagate.identity.compact import Json, refusal
from datagate.model.names import MandateId, Purpose, RelationName
from datagate.model.narrowing import Narrowing
from datagate.model.values import AttributeValue, Scalar

TYPE = "datagate_mandate"
_MEMBERS = frozenset({"type", "mandate", "purposes", "relations", "parameters", "valid_from", "valid_until"})
_MOST_DETAILS = 32
_MOST_VALUES = 1000
_LONGEST_NAME = 255
_LAST_SECOND = 253_402_300_799


def granted(details: Json) -> tuple[MandateId | None, Narrowing | None]:
    """The mandate and what is left of it; entries of other types are other services' business.

    Raises:
        TokenRefused: Malformed, or more than one mandate: a session has one.
    """
    if details is None:
        return None, None
    if not isinstance(details, list) or len(details) > _MOST_DETAILS:
        raise refusal("authorization_details are no short list")
    ours = []
    for each in details:
        if not isinstance(each, dict) or not isinstance(each.get("type"), str):
            raise refusal("authorization_details hold what has no type")
        if each["type"] == TYPE:
            ours.append(each)
    if not ours:
        return None, None
    if len(ours) > 1:
        raise refusal("authorization_details hold more than one mandate")
    (detail,) = ours
    unknown = sorted(detail.keys() - _MEMBERS)
    if unknown:
        raise refusal(f"{TYPE}: {unknown[0]!a:.40} is not known")
    mandate = MandateId(_text(detail.get("mandate"), "mandate"))
    return mandate, _narrowing(detail)


def _narrowing(detail: dict[str, Json]) -> Narrowing | None:
    if detail.keys() <= {"type", "mandate"}:
        return None
    purposes = detail.get("purposes")
    parameters = detail.get("parameters", {})
    if not isinstance(parameters, dict):
        raise refusal(f"{TYPE}: parameters are no object")
    return Narrowing(
        purposes=None if "purposes" not in detail else frozenset(map(Purpose, _texts(purposes, "purposes"))),
        relations=None if "relations" not in detail else _relations(detail["relations"]),
        parameters=tuple((name, _value(value, name)) for name, value in sorted(parameters.items())),
        valid_from=_instant(detail, "valid_from"),
        valid_until=_instant(detail, "valid_until"),
    )


def _relations(value: Json) -> tuple[tuple[RelationName, frozenset[str] | None], ...]:
    if not isinstance(value, dict) or len(value) > _MOST_VALUES:
        raise refusal(f"{TYPE}: relations are no object of columns by relation")
    found: list[tuple[RelationName, frozenset[str] | None]] = []
    for name, columns in sorted(value.items()):
        try:
            relation = RelationName.parse(name)
        except ValueError:
            raise refusal(f"{TYPE}: {name!a:.40} is not of the form schema.name") from None
        found.append((relation, None if columns == "all" else frozenset(_texts(columns, "columns"))))
    return tuple(found)


def _texts(value: Json, what: str) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST_VALUES:
        raise refusal(f"{TYPE}: {what} are no list of texts")
    return [_text(each, what) for each in value]


def _text(value: Json, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST_NAME or not value.isprintable():
        raise refusal(f"{TYPE}: {what} is no text of 1 to {_LONGEST_NAME} characters")
    return value


def _instant(detail: dict[str, Json], name: str) -> datetime | None:
    if name not in detail:
        return None
    value = detail[name]
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value <= _LAST_SECOND:
        raise refusal(f"{TYPE}: {name} is no time")
    return datetime.fromtimestamp(int(value), UTC)


def _value(value: Json, name: str) -> AttributeValue:
    if isinstance(value, list):
        if len(value) > _MOST_VALUES:
            raise refusal(f"{TYPE}: parameter {name!a:.40} has too many values")
        return tuple(_scalar(each, name) for each in value)
    return _scalar(value, name)


def _scalar(value: Json, name: str) -> Scalar:
    """As the state spells values: a type that JSON has no like of is an object with one key that names it."""
    if isinstance(value, str | int | Decimal):
        return value
    if isinstance(value, dict) and len(value) == 1:
        (tag, text), *_ = value.items()
        try:
            match tag, text:
                case "date", str():
                    return date.fromisoformat(text)
                case "timestamptz", str():
                    return datetime.fromisoformat(text)
                case "uuid", str():
                    return UUID(text)
                case "numeric", str():
                    return Decimal(text)
        except (ValueError, ArithmeticError):
            pass
    raise refusal(f"{TYPE}: parameter {name!a:.40} has no value that parameters may have")
