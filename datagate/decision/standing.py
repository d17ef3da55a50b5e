"""The standings in which rules are read: the principal in person, under each mandate of the chain, the actor alone.

"Delegation narrows, never widens" holds by construction: what a mandate's holder gets is what the rules give under
that mandate, intersected with what they give in the next wider standing, up to the principal in person. So neither a
permit ``when: {delegated: true}`` nor a predicate over ``:actor`` or ``:mandate`` can hand over more than there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from datagate.model.caller import ActorKind, Caller
from datagate.model.facts import Entitlements, Facts, Mandate
from datagate.model.names import PrincipalId, Purpose
from datagate.model.policy import PurposeTree, Scope


@dataclass(frozen=True, slots=True)
class Party:
    """One whose attributes predicates may name; ``prefix`` is that of its bindings."""

    prefix: str
    id: PrincipalId
    entitlements: Entitlements


@dataclass(frozen=True, slots=True)
class Link:
    """One mandate of the chain with its scope; ``index`` 0 is the caller's own."""

    index: int
    mandate: Mandate
    scope: Scope


@dataclass(frozen=True, slots=True)
class Standing:
    """Who is principal and actor to the rules.

    ``purposes`` runs from the caller's purpose up to the root, empty without one. ``wider``: the standing that a
    mandate was given from. ``label`` tells standings of one caller apart, and names them in denials.
    """

    label: str
    principal: Party
    actor: Party
    kind: ActorKind
    delegated: bool
    purposes: tuple[Purpose, ...]
    link: Link | None
    wider: Standing | None


def lineage(tree: PurposeTree, purpose: Purpose) -> tuple[Purpose, ...] | None:
    """The purpose and its ancestors up to the root, or None where the tree does not know one of them."""
    out: list[Purpose] = []
    step: Purpose | None = purpose
    while step is not None:
        # A loop among the parents has no root: such a purpose is as good as unknown.
        if step not in tree.parents or step in out:
            return None
        out.append(step)
        step = tree.parents[step]
    return tuple(out)


def in_person(caller: Caller, purposes: tuple[Purpose, ...], facts: Facts) -> Standing:
    """The principal acting without mandate, through the same kind of actor."""
    principal = Party("principal", caller.principal, facts.principal)
    return Standing("in person", principal, principal, caller.actor.kind, False, purposes, None, None)


def actor_alone(caller: Caller, purposes: tuple[Purpose, ...], facts: Facts) -> Standing:
    """The actor on its own entitlements; what rules call the principal is bound under ``actor`` then."""
    actor = Party("actor", caller.actor.id, facts.actor)
    return Standing("actor alone", actor, actor, caller.actor.kind, False, purposes, None, None)


def under_chain(caller: Caller, purposes: tuple[Purpose, ...], facts: Facts, links: tuple[Link, ...]) -> Standing:
    """The caller's standing: the principal in person, narrowed by each link from the principal's own grant down."""
    standing = in_person(caller, purposes, facts)
    principal = standing.principal
    actor = Party("actor", caller.actor.id, facts.actor)
    delegated = caller.actor.id != caller.principal
    for link in reversed(links):
        label = f"mandate.{link.index}"
        standing = Standing(label, principal, actor, caller.actor.kind, delegated, purposes, link, standing)
    return standing
