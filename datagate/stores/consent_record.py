"""Consents as JSON in the shape of ISO/IEC TS 27560:2023 consent records: header, PII processing, parties, events.

What of a record is kept (6.3.2 to 6.3.7 of the specification name the fields):

* ``header.pii_principal_id``: the data subject. ``header.record_id``: the evidence of answers that bring no other.
* ``pii_processing.purposes[].purpose``: the purpose; each gets the record's answer.
* ``pii_processing.purposes[].pii_information[].pii_type``: categories, as tags; without the field, not limited.
* ``pii_processing.purposes[].recipient_third_parties``: recipients; without the field, not limited.
* ``event``: the last one by ``event_time`` is the answer. ``event_state`` is ``given``, ``refused``, ``withdrawn`` or
  ``expired``, ``validity_duration`` an ISO 8601 duration. ``evidence`` is an extension of ours.

Fields beyond these (notice, jurisdictions, legal bases …) are the record keeper's, and are not stored; a record that is
not of this shape is refused whole, as is one whose last event is of a state that is not known.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datagate.errors import StateError
from datagate.model.names import Purpose
from datagate.stores.records import Consent

SCHEMA_VERSION = "27560-1:2023"
_OURS = "datagate:"
_Text = Annotated[str, Field(min_length=1)]
_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,6})?)S)?)?"
)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Header(_Shape):
    schema_version: _Text
    record_id: _Text
    pii_principal_id: _Text


class _Information(_Shape):
    pii_type: _Text


class _Purpose(_Shape):
    purpose: _Text
    pii_information: list[_Information] | None = None
    recipient_third_parties: list[_Text] | None = None


class _Processing(_Shape):
    purposes: Annotated[list[_Purpose], Field(min_length=1)]


class _Event(_Shape):
    event_time: datetime
    event_state: Literal["given", "refused", "withdrawn", "expired"]
    validity_duration: _Text | None = None
    evidence: _Text | None = None


class _Record(_Shape):
    header: _Header
    pii_processing: _Processing
    event: Annotated[list[_Event], Field(min_length=1)]


def to_record(answer: Consent, *, controller: str) -> dict[str, Any]:
    """One answer as a consent record; ``controller`` identifies who keeps it."""
    key = f"{len(answer.data_subject)}:{answer.data_subject}:{answer.purpose}"
    purpose: dict[str, Any] = {"purpose": answer.purpose, "lawful_basis": "consent", "pii_controllers": [controller]}
    parties = [{"party_id": controller, "party_role": "controller"}]
    if answer.categories is not None:
        purpose["pii_information"] = [{"pii_type": category} for category in answer.categories]
    if answer.recipients is not None:
        purpose["recipient_third_parties"] = list(answer.recipients)
        parties += [{"party_id": each, "party_role": "recipient"} for each in answer.recipients]
    event: dict[str, Any] = {
        "event_time": answer.valid_from.isoformat(),
        "event_type": "explicit",
        "event_state": "given" if answer.granted else "withdrawn",
        "entity_id": answer.data_subject,
    }
    if answer.valid_until is not None:
        event["validity_duration"] = _spelled(answer.valid_until - answer.valid_from)
    if answer.evidence is not None:
        event["evidence"] = answer.evidence
    return {
        "header": {
            "schema_version": SCHEMA_VERSION,
            "record_id": f"{_OURS}{uuid5(NAMESPACE_URL, key)}",
            "pii_principal_id": answer.data_subject,
        },
        "pii_processing": {"purposes": [purpose]},
        "party_identification": parties,
        "event": [event],
    }


def from_records(records: object) -> list[Consent]:
    """The answers of a list of consent records, in order; StateError says where one is of another shape."""
    if not isinstance(records, list):
        raise StateError("consent records are a JSON array of objects")
    return [answer for number, record in enumerate(records) for answer in _answers(number, record)]


def _answers(number: int, record: object) -> Iterable[Consent]:
    try:
        read = _Record.model_validate(record)
        event = max(read.event, key=lambda each: each.event_time)
        if any(each.event_time.utcoffset() is None for each in read.event):
            raise StateError(f"consent record {number}: event_time has no time zone")
        until = None if event.validity_duration is None else _after(event.event_time, event.validity_duration)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StateError(f"consent record {number}: {where or 'record'}: {first['msg']}") from None
    except (TypeError, OverflowError, ValueError) as error:
        raise StateError(f"consent record {number}: {error}") from None
    granted = event.event_state == "given"
    ours = read.header.record_id.startswith(_OURS)
    for purpose in read.pii_processing.purposes:
        limits = purpose.pii_information, purpose.recipient_third_parties
        categories, recipients = limits if granted else (None, None)
        yield Consent(
            data_subject=read.header.pii_principal_id,
            purpose=Purpose(purpose.purpose),
            granted=granted,
            valid_from=event.event_time,
            valid_until=until,
            categories=None if categories is None else tuple(sorted({each.pii_type for each in categories})),
            recipients=None if recipients is None else tuple(sorted(set(recipients))),
            evidence=event.evidence if event.evidence is not None or ours else read.header.record_id,
        )


def _spelled(duration: timedelta) -> str:
    """An ISO 8601 duration in days, seconds and microseconds, which means the same everywhere.

    >>> _spelled(timedelta(days=1, seconds=2, microseconds=3)), _spelled(timedelta(days=365))
    ('P1DT2.000003S', 'P365D')
    """
    seconds = f"T{duration.seconds}.{duration.microseconds:06}S" if duration.microseconds else f"T{duration.seconds}S"
    return f"P{duration.days}D{seconds if duration.seconds or duration.microseconds else ''}"


def _after(start: datetime, duration: str) -> datetime:
    """An instant later by an ISO 8601 duration; a month has as many days as it has, at most those of its end."""
    match = _DURATION.fullmatch(duration)
    if match is None or not any(match.groups()):
        raise ValueError(f"{duration!r} is no duration like P1Y or P30DT12H")
    years, months, weeks, days, hours, minutes = (int(each or 0) for each in match.groups()[:6])
    turned, month = divmod(start.month - 1 + months, 12)
    year = start.year + years + turned
    moved = start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))
    seconds = timedelta(microseconds=round(float(match[7] or 0) * 1_000_000))
    return moved + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes) + seconds
