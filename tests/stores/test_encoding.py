"""Values as JSON text: what goes in comes out, and nothing else does."""

from __future__ import annotations

from datetime import UTC, date
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagate.errors import StateError
from datagate.model.values import AttributeValue
from datagate.stores.encoding import decode, decode_parameters, decode_purposes, encode, encode_parameters

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_SCALARS = st.one_of(
    _TEXTS,
    st.integers(),
    st.booleans(),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.binary(),
)
_VALUES = st.one_of(_SCALARS, st.lists(_SCALARS).map(tuple))


def _typed(value: AttributeValue) -> object:
    """The value with its type, since 1, True and Decimal(1) are equal in Python."""
    return [_typed(each) for each in value] if isinstance(value, tuple) else (type(value), str(value))


@given(_VALUES)
def test_every_value_survives(value: AttributeValue) -> None:
    """Value and type come back, digits after the point included."""
    assert _typed(decode(encode(value))) == _typed(value)


@given(st.dictionaries(_TEXTS, _VALUES))
def test_parameters_survive(parameters: dict[str, AttributeValue]) -> None:
    """Names and values come back, in whatever order they went in."""
    found = decode_parameters(encode_parameters(parameters))
    assert {name: _typed(value) for name, value in found.items()} == {
        name: _typed(value) for name, value in parameters.items()
    }


@given(st.text())
def test_any_text_is_a_value_or_an_error_of_ours(text: str) -> None:
    """Whatever plain SQL wrote: no stray exception, and never None."""
    for read in (decode, decode_parameters, decode_purposes):
        try:
            assert read(text) is not None
        except StateError:
            continue


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"date": "2026-01-31"}', date(2026, 1, 31)),
        ('{"numeric": "1.50"}', Decimal("1.50")),
        ("1.50", Decimal("1.50")),
        ('{"uuid": "00000000-0000-0000-0000-000000000007"}', UUID(int=7)),
        ('{"bytea": "c0ffee"}', b"\xc0\xff\xee"),
        ('["EU", "US"]', ("EU", "US")),
    ],
)
def test_the_spelling_is_fixed(text: str, value: AttributeValue) -> None:
    """Administrators write these by hand; a state that was written stays readable."""
    assert _typed(decode(text)) == _typed(value)


def test_deep_nesting_is_an_error_of_ours() -> None:
    """A text that exhausts the parser's stack is garbage like any other."""
    with pytest.raises(StateError):
        decode("[" * 100_000)
