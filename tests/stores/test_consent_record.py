"""Consent records in the shape of ISO/IEC TS 27560: what goes out comes back, another shape is refused."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagate.errors import StateError
from datagate.model.names import Purpose
from datagate.stores import Consent, StateStore
from datagate.stores.consent_record import from_records, to_record
from tests.stores.conftest import NOW

_names = st.text(min_size=1, max_size=20)
_limits = st.none() | st.lists(_names, unique=True, max_size=3).map(lambda names: tuple(sorted(names)))
_instants = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def _consents(draw: st.DrawFn) -> Consent:
    granted = draw(st.booleans())
    start = draw(_instants)
    return Consent(
        draw(_names),
        Purpose(draw(_names)),
        granted,
        start,
        draw(
            st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=40000)).map(lambda long: start + long)
        ),
        draw(_limits) if granted else None,
        draw(_limits) if granted else None,
        draw(st.none() | _names),
    )


@given(_consents())
def test_what_goes_out_comes_back(answer: Consent) -> None:
    """Every answer survives export to JSON text and import, to the microsecond."""
    text = json.dumps([to_record(answer, controller="bank.example")])
    assert from_records(json.loads(text)) == [answer]


RECORD: dict[str, Any] = {
    "header": {"schema_version": "1.0", "record_id": "r-17", "pii_principal_id": "7"},
    "pii_processing": {
        "privacy_notice": "https://bank.example/notice",
        "purposes": [
            {"purpose": "marketing", "pii_information": [{"pii_type": "email"}, {"pii_type": "name"}]},
            {"purpose": "analytics", "recipient_third_parties": ["agency"]},
        ],
    },
    "party_identification": [{"party_id": "bank.example"}],
    "event": [
        {"event_time": "2026-01-31T00:00:00+00:00", "event_state": "given", "validity_duration": "P1M"},
        {"event_time": "2025-01-01T00:00:00Z", "event_state": "refused"},
    ],
}


def test_a_record_of_somebody_else(store: StateStore) -> None:
    """Purposes share the last event; the record's id is the evidence; a month ends with its last day."""
    store.record_consents(from_records([RECORD]), by="import")
    start, end = datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)
    assert store.list_consents() == [
        Consent("7", Purpose("analytics"), True, start, end, None, ("agency",), "r-17"),
        Consent("7", Purpose("marketing"), True, start, end, ("email", "name"), None, "r-17"),
    ]
    withdrawn = copy.deepcopy(RECORD)
    withdrawn["event"].append({"event_time": NOW.isoformat(), "event_state": "withdrawn"})
    store.record_consents(from_records([withdrawn]), by="import")
    assert [(each.granted, each.categories, each.valid_until) for each in store.list_consents()] == [
        (False, None, None)
    ] * 2
    assert {fact.recorded_by for fact in store.consent_history("7")} == {"import"}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("header", "pii_principal_id"), "", "header.pii_principal_id"),
        (("header",), None, "header"),
        (("pii_processing", "purposes"), [], "pii_processing.purposes"),
        (("event",), [], "event"),
        (("event", 0, "event_state"), "unknown", "event.0.event_state"),
        (("event", 0, "event_time"), "2026-01-01T00:00:00", "time zone|naive"),
        (("event", 0, "validity_duration"), "soon", "no duration"),
        (("event", 0, "validity_duration"), "P", "no duration"),
        (("event", 0, "validity_duration"), "P9999Y", "consent record 0"),
    ],
)
def test_what_is_of_another_shape_is_refused(path: tuple[Any, ...], value: Any, words: str) -> None:
    """Nothing is guessed of a record: the message says where it is wrong."""
    record = copy.deepcopy(RECORD)
    place: Any = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(StateError, match=words):
        from_records([record])
    with pytest.raises(StateError, match="array"):
        from_records(record)
