"""Who asks: principal, actor, mandate, purpose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from datagate.model.names import MandateId, PrincipalId, Purpose
from datagate.model.narrowing import Narrowing


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

    ``narrowing``: what a token takes away from the mandate (None: nothing). ``valid_until``: the instant at which the
    caller's rights end by themselves, as those of a token do (None: they end when the state says so). ``prior_actors``:
    who acted before the actor, the latest first; they are recorded, and have no part in decisions (RFC 8693, 4.1).
    ``asserted_by``: the service that said who the principal is, and must be trusted by a policy to do so (None: a login
    of the principal's own, or the application's word).
    """

    principal: PrincipalId
    actor: Actor
    mandate: MandateId | None = None
    purpose: Purpose | None = None
    narrowing: Narrowing | None = None
    valid_until: datetime | None = None
    prior_actors: tuple[PrincipalId, ...] = ()
    asserted_by: PrincipalId | None = None

    @classmethod
    def from_token(cls, token: str, verifier: TokenVerifier) -> Caller:
        """The caller that a token names.

        Args:
            token: A JWT as its issuer gave it out, in the compact form.
            verifier: Checks it; `datagate.JwtVerifier` does.

        Raises:
            TokenRefused: It is not accepted; why, is in the error's ``audit_reason`` alone.
        """
        return verifier.caller(token)

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


class TokenVerifier(Protocol):
    """Turns a token into the caller that it names."""

    def caller(self, token: str) -> Caller:
        """The caller; TokenRefused for a token that is not accepted."""
        ...
