"""Whether a caller may act for the principal at all: the mandate chain at the instant, for the purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from datagate.decision.standing import Link
from datagate.model.caller import Caller
from datagate.model.decision import Decision, Denial, DenyReason
from datagate.model.facts import Mandate
from datagate.model.names import MandateId, Purpose
from datagate.model.narrowing import Narrowing
from datagate.model.policy import Action, PolicySet

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

    ``purposes`` is the lineage of the caller's purpose. No mandate and none needed: no links. What a token takes away
    from the mandate is a link before all others, and like each of them can only narrow those that follow.
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
    if caller.narrowing is None:
        return tuple(links)
    if not links:
        return Denial(DenyReason.NO_MANDATE, "the token narrows a mandate, and names none")
    narrowed = _narrowed(caller.narrowing, links[0], len(links))
    if isinstance(narrowed, Denial):
        return narrowed
    denial = _dead(narrowed.mandate, purposes, instant)
    if denial is not None:
        return denial
    # Of equal parameters a further link would ask for the same once more.
    return (narrowed, *links) if caller.narrowing.parameters else tuple(links)


def _narrowed(narrowing: Narrowing, own: Link, index: int) -> Link | Denial:
    """The caller's mandate as the token leaves it: its principal, holder and scope, for less and for a shorter time.

    Which relations and columns are left, `left_by_token` says: not asked of relations that a row only refers to.
    """
    mandate = own.mandate
    unknown = sorted(name for name, _ in narrowing.parameters if name not in mandate.parameters)
    if unknown:
        return Denial(DenyReason.MANDATE_SCOPE, f"mandate {mandate.id} has no parameter {unknown[0]} to narrow")
    left = replace(
        mandate,
        id=MandateId(f"{mandate.id} as the token narrows it"),
        parameters={**mandate.parameters, **dict(narrowing.parameters)},
        purposes=mandate.purposes if narrowing.purposes is None else narrowing.purposes,
        valid_from=mandate.valid_from if narrowing.valid_from is None else narrowing.valid_from,
        valid_until=mandate.valid_until if narrowing.valid_until is None else narrowing.valid_until,
        parent=mandate.id,
        sub_delegable=0,
    )
    return Link(index, left, own.scope)


def left_by_token(narrowing: Narrowing, decision: Decision) -> Decision | Denial:
    """A permit with the columns that the token leaves; a row is deleted only where it leaves all of them."""
    if narrowing.relations is None:
        return decision
    relation, left = decision.relation, dict(narrowing.relations)
    names = left.get(relation, frozenset())
    if names is None:
        return decision
    columns = tuple(column for column in decision.columns if column.name in names)
    writes = tuple(column for column in decision.writes if column.name in names)
    if not names or decision.action is Action.DELETE or (decision.action is Action.SELECT and not columns):
        what = f"the token leaves no column of {relation} to {decision.action.value}"
        return Denial(DenyReason.MANDATE_SCOPE, what)
    return replace(decision, columns=columns, writes=writes)


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
