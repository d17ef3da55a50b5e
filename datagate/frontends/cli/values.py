"""What the command line takes for names, attribute values and mandate parameters: of the policies' words and types."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

import typer

from datagate.errors import StateError
from datagate.model.policy import PolicySet
from datagate.model.values import AttributeValue, ValueType
from datagate.policy.cells import attribute_value
from datagate.policy.report import suggestion
from datagate.stores.encoding import decode


def known_names(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    """StateError for the first name that the policies do not know."""
    for name in names:
        if name not in known:
            raise StateError(f"the policies know no {kind} {name!r}; {suggestion(name, known)}")


def scope_parameters(known: PolicySet, scope: str) -> Mapping[str, ValueType]:
    """The parameters of a scope and their types; StateError where there is no such scope."""
    known_names("scope", [scope], known.scopes)
    return dict(known.scopes[scope].parameters)


def values_of(given: Sequence[str], types: Mapping[str, ValueType] | None, kind: str) -> dict[str, AttributeValue]:
    """The values in ``name=value`` pairs; of the declared types, where those are known."""
    out: dict[str, AttributeValue] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{pair!r} is not of the form name=value", param_hint=f"--{kind}")
        if types is None:
            out[name] = _untyped(text)
        else:
            known_names(kind, [name], types)
            out[name] = _typed(name, text, types[name], kind)
    return out


def _untyped(text: str) -> AttributeValue:
    """What JSON says, with the state's own tags for dates and the like; what is no JSON is text."""
    try:
        return decode(text)
    except StateError:
        return text


def _typed(name: str, text: str, type_: ValueType, kind: str) -> AttributeValue:
    try:
        found: object = json.loads(text, parse_float=Decimal)
    except ValueError:
        found = text
    # A plain number is text where text is declared.
    if not type_.is_array and not isinstance(found, str) and type_ in _SPELLED_AS_TEXT:
        found = text
    try:
        return attribute_value(found, type_)
    except ValueError as error:
        raise StateError(f"{kind} {name!r}: {error}") from None


_SPELLED_AS_TEXT = frozenset({ValueType.TEXT, ValueType.DATE, ValueType.TIMESTAMPTZ, ValueType.UUID, ValueType.BYTEA})
