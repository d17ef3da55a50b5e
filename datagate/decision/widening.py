"""Whether a role that somebody is given can take anything away from what he saw."""

from __future__ import annotations

from collections.abc import Sequence

from datagate.decision.values import fit
from datagate.model.facts import Entitlements
from datagate.model.mask import Mask, MaskKind
from datagate.model.policy import Effect, PolicySet, Predicate, Rule


def only_widens(role: str, held: Entitlements, policies: PolicySet) -> bool:
    """Whether one more role can only show more to a principal who acts in person; False where it cannot be told.

    It takes something away where a restrict names it; where one of its permits asks for what the principal does not
    have, which refuses the whole relation; and where a permit of its own comes before another one and masks a column
    that both mask, since the first that matches a row says how.
    """
    return all(
        _widens(rule, policy.rules[place + 1 :], held, policies)
        for policy in policies.relations.values()
        for place, rule in enumerate(policy.rules)
        if role in rule.to
    )


def _widens(rule: Rule, later: Sequence[Rule], held: Entitlements, policies: PolicySet) -> bool:
    if rule.effect is not Effect.PERMIT:
        return False
    if rule.rows is not None and not _can_be_asked(rule.rows, held, policies):
        return False
    return not any(
        _masks(rule.mask(column)) and column in other.show and _masks(other.mask(column))
        for other in later
        if other.effect is Effect.PERMIT
        for column in rule.show
    )


def _can_be_asked(rows: object, held: Entitlements, policies: PolicySet) -> bool:
    """Whether all that a condition names is there; of what is visible through another relation, that is not told."""
    if not isinstance(rows, Predicate):
        return False
    for placeholder in rows.placeholders:
        head, _, name = placeholder.partition(".")
        type_, value = policies.attributes.get(name), held.attributes.get(name)
        if placeholder == "principal.id":
            continue
        if head != "principal" or type_ is None or value is None or fit(type_, value) is None:
            return False
    return True


def _masks(mask: Mask | None) -> bool:
    return mask is not None and mask.kind is not MaskKind.HIDE
