"""Who asks: principal, actor, mandate, purpose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from datagate.model.names import MandateId, PrincipalId, Purpose


class ActorKind(Enum):
    """What is really connected."""

    PERSON = "person"
    SERVICE = "service"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is really connected (RFC 8693 ``act``)."""

    id: PrincipalId
    kind: ActorKind = ActorKind.PERSON


@dataclass(frozen=True, slots=True)
class Caller:
    """Principal + actor + mandate (or none) + purpose; fixed for one session.

    Without delegation the actor is the principal; with an actor other than the principal a mandate is
    needed, else every statement is refused.
    """

    principal: PrincipalId
    actor: Actor
    mandate: MandateId | None = None
    purpose: Purpose | None = None

    @classmethod
    def of(
        cls,
        principal: str,
        *,
        actor: str | None = None,
        actor_kind: ActorKind | str = ActorKind.PERSON,
        mandate: str | None = None,
        purpose: str | None = None,
    ) -> Caller:
        """Build a caller from plain strings; ValueError for an empty id or an unknown actor kind."""
        acting = actor if actor is not None else principal
        if not principal or not acting:
            raise ValueError("principal and actor need a non-empty id")
        return cls(
            principal=PrincipalId(principal),
            actor=Actor(PrincipalId(acting), ActorKind(actor_kind)),
            mandate=MandateId(mandate) if mandate is not None else None,
            purpose=Purpose(purpose) if purpose is not None else None,
        )
