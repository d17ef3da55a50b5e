"""Whether a caller may act for the principal at all: the mandate chain at the instant, for the purpose."""

from __future__ import annotations

from datetime import datetime

from datagate.decision.standing import Link
from datagate.model.caller import Caller
from datagate.model.decision import Denial, DenyReason
from datagate.model.facts import Mandate
from datagate.model.names import Purpose
from datagate.model.policy import PolicySet

# Far beyond any honest chain; it bounds the depth of a decision.
MAX_LINKS = 32


def links_of(
    caller: Caller,
    chain: tuple[Mandate, ...],
    purposes: tuple[Purpose, ...],
    policies: PolicySet,
    instant: datetime,
) -> tuple[Link, ...] | Denial:
    """The chain's links with their scopes, the caller's own mandate first; or why the caller may not act.

    ``purposes`` is the lineage of the caller's purpose. No mandate and none needed: no links.
    """
    denial = _unfit(caller, chain) or _broken(caller, chain)
    if denial is not None:
        return denial
    links: list[Link] = []
    for index, mandate in enumerate(chain):
        denial = _dead(mandate, purposes, instant) or _not_for(mandate, caller)
        if denial is not None:
            return denial
        scope = policies.scopes.get(mandate.scope)
        if scope is None:
            return Denial(DenyReason.MANDATE_SCOPE, f"mandate {mandate.id}: no scope {mandate.scope!r}")
        links.append(Link(index, mandate, scope))
    return tuple(links)


def _unfit(caller: Caller, chain: tuple[Mandate, ...]) -> Denial | None:
    if caller.mandate is None:
        if caller.actor.id != caller.principal:
            return Denial(DenyReason.NO_MANDATE, f"{caller.actor.id} has no mandate of {caller.principal}")
        if chain:
            return Denial(DenyReason.MANDATE_CHAIN, "facts hold a chain for a caller without a mandate")
        return None
    if not chain:
        return Denial(DenyReason.NO_MANDATE, f"no mandate {caller.mandate}")
    if chain[0].id != caller.mandate:
        return Denial(DenyReason.MANDATE_CHAIN, f"the chain starts at {chain[0].id}, not at {caller.mandate}")
    if chain[0].holder != caller.actor.id:
        return Denial(DenyReason.MANDATE_CHAIN, f"mandate {caller.mandate} is not held by {caller.actor.id}")
    return None


def _broken(caller: Caller, chain: tuple[Mandate, ...]) -> Denial | None:
    """Every link hangs from the next, all are the same principal's, and each was allowed that many below it."""
    if len(chain) > MAX_LINKS or len({mandate.id for mandate in chain}) != len(chain):
        return Denial(DenyReason.MANDATE_CHAIN, f"the chain of mandate {caller.mandate} is too long, or a loop")
    for below, mandate in enumerate(chain):
        parent = chain[below + 1].id if below + 1 < len(chain) else None
        if mandate.parent != parent:
            return Denial(DenyReason.MANDATE_CHAIN, f"mandate {mandate.id} does not hang from {parent}")
        if mandate.principal != caller.principal:
            return Denial(DenyReason.MANDATE_CHAIN, f"mandate {mandate.id} is not one of {caller.principal}")
        if mandate.sub_delegable < below:
            return Denial(DenyReason.MANDATE_CHAIN, f"mandate {mandate.id} allows fewer than {below} links below it")
    return None


def _dead(mandate: Mandate, purposes: tuple[Purpose, ...], instant: datetime) -> Denial | None:
    times = (instant, mandate.valid_from, mandate.valid_until, mandate.revoked_at, mandate.suspended_at)
    if any(time is not None and time.utcoffset() is None for time in times):
        return Denial(DenyReason.MANDATE_CHAIN, f"mandate {mandate.id}: a time without a zone is no instant")
    if mandate.revoked_at is not None and mandate.revoked_at <= instant:
        return Denial(DenyReason.MANDATE_REVOKED, f"mandate {mandate.id} was revoked at {mandate.revoked_at}")
    if mandate.suspended_at is not None and mandate.suspended_at <= instant:
        return Denial(DenyReason.MANDATE_SUSPENDED, f"mandate {mandate.id} is suspended since {mandate.suspended_at}")
    if instant < mandate.valid_from:
        return Denial(DenyReason.MANDATE_NOT_YET, f"mandate {mandate.id} holds from {mandate.valid_from}")
    if mandate.valid_until is not None and mandate.valid_until <= instant:
        return Denial(DenyReason.MANDATE_ENDED, f"mandate {mandate.id} ended at {mandate.valid_until}")
    if mandate.purposes.isdisjoint(purposes):
        asked = purposes[0] if purposes else "none"
        return Denial(DenyReason.MANDATE_PURPOSE, f"mandate {mandate.id} is not for the purpose {asked}")
    return None


def _not_for(mandate: Mandate, caller: Caller) -> Denial | None:
    """Each link says what may act under it; a part of a mandate for persons is none for agents."""
    if caller.actor.kind in mandate.actor_kinds:
        return None
    return Denial(
        DenyReason.MANDATE_ACTOR, f"mandate {mandate.id} is not for an actor of kind {caller.actor.kind.value}"
    )
