"""What administration reads back from the state. Decisions read `Facts` instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

from datagate.model.names import PrincipalId, Purpose
from datagate.model.values import AttributeValue

Noun = TypeVar("Noun")


class EntitlementKind(Enum):
    """What an entitlement grants."""

    ROLE = "role"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A standing grant to a principal: a role, or an attribute with its value (None for a role)."""

    principal: PrincipalId
    kind: EntitlementKind
    name: str
    value: AttributeValue | None
    valid_from: datetime
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class Consent:
    """A data subject's answer for a purpose; ``granted`` is false where it was refused or withdrawn.

    A yes may be limited. ``categories``: it counts for a rule only if these tags take in those of every column that the
    rule shows; what a rule shows masked counts as shown. ``recipients``: it counts only for a caller whose principal or
    actor is named here, by id or by a role in force. None: not limited so. ``evidence`` says where it can be shown.
    """

    data_subject: str
    purpose: Purpose
    granted: bool
    valid_from: datetime
    valid_until: datetime | None
    categories: tuple[str, ...] | None = None
    recipients: tuple[str, ...] | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class Fact(Generic[Noun]):
    """One entry of the history: what stood from ``recorded_at`` on, or, where ``present`` is false, stood no more.

    ``number`` orders facts as they were recorded; ``recorded_by`` and ``why`` as they were told.
    """

    number: int
    recorded_at: datetime
    recorded_by: str
    why: str | None
    present: bool
    what: Noun
