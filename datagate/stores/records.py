"""What administration reads back from the state. Decisions read `Facts` instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from datagate.model.names import PrincipalId, Purpose
from datagate.model.values import AttributeValue


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
    """A data subject's answer for a purpose; ``granted`` is false where it was refused or withdrawn."""

    data_subject: str
    purpose: Purpose
    granted: bool
    valid_from: datetime
    valid_until: datetime | None
