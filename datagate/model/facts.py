"""What the state store knows of one caller at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from datagate.model.caller import ActorKind
from datagate.model.names import MandateId, PrincipalId, Purpose
from datagate.model.values import AttributeValue


@dataclass(frozen=True, slots=True)
class Entitlements:
    """Roles and attributes in force. Attribute values are untyped here: the policy set says the type."""

    roles: frozenset[str]
    attributes: Mapping[str, AttributeValue]


ANY_KIND = frozenset(ActorKind)

NO_ENTITLEMENTS = Entitlements(frozenset(), {})


@dataclass(frozen=True, slots=True)
class Mandate:
    """A principal's authority handed to an actor; ``parent`` is the mandate it was sub-delegated from.

    ``purposes`` empty: none. ``valid_until`` None: no end was set. ``revoked_at`` None: not revoked.
    ``sub_delegable``: how many further links may hang below this one. ``suspended_at`` None: not suspended; it rests
    from then on until it is resumed. ``actor_kinds``: what its holder, and whoever holds a part of it, may be.
    ``max_uses``: how many sessions may start under it or a part of it, counted by the state; None: no number was set.
    """

    id: MandateId
    principal: PrincipalId
    holder: PrincipalId
    scope: str
    parameters: Mapping[str, AttributeValue]
    purposes: frozenset[Purpose]
    valid_from: datetime
    valid_until: datetime | None
    revoked_at: datetime | None
    parent: MandateId | None
    sub_delegable: int
    suspended_at: datetime | None = None
    actor_kinds: frozenset[ActorKind] = ANY_KIND
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """How far the state had come when the facts were read: the parties concerned and the sum of their counters."""

    parties: tuple[PrincipalId, ...]
    value: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Input to a decision. ``chain``: the caller's mandate first, then its parent, up to the principal's own grant.

    ``valid_until``: the first instant after the reading at which an entitlement or mandate in here starts or
    ends by itself (None: never); decisions from these facts must not be used from then on.
    """

    principal: Entitlements
    actor: Entitlements
    chain: tuple[Mandate, ...]
    epoch: Epoch
    valid_until: datetime | None
