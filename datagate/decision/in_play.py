"""Which rules are in play: ``to``, ``for`` and ``when`` match, and a permit has the right that the action needs."""

from __future__ import annotations

from datagate.decision.standing import Standing
from datagate.model.policy import Action, Effect, RelationPolicy, Rule, When


def in_play(policy: RelationPolicy, action: Action, standing: Standing) -> tuple[Rule, ...]:
    """The policy's rules in play, in file order."""
    return tuple(rule for rule in policy.rules if _applies(rule, policy, action, standing))


def _applies(rule: Rule, policy: RelationPolicy, action: Action, standing: Standing) -> bool:
    if rule.to and rule.to.isdisjoint(standing.principal.entitlements.roles):
        return False
    if rule.purposes and rule.purposes.isdisjoint(standing.purposes):
        return False
    if not _holds(rule.when, standing):
        return False
    match rule.effect:
        case Effect.PERMIT:
            # Consent is for a purpose and by a data subject: without either there can be none.
            can_consent = bool(standing.purposes) and policy.data_subject is not None
            return has_right(rule, action) and (can_consent or not rule.consent)
        case Effect.RESTRICT:
            return True


def has_right(permit: Rule, action: Action) -> bool:
    """Whether a permit gives the right to the action at all; on which columns is not asked here."""
    match action:
        case Action.SELECT:
            return bool(permit.show)
        case Action.INSERT:
            return bool(permit.insert)
        case Action.UPDATE:
            return bool(permit.update)
        case Action.DELETE:
            return permit.delete


def _holds(when: When, standing: Standing) -> bool:
    if when.actor_kinds is not None and standing.kind not in when.actor_kinds:
        return False
    if when.delegated is not None and standing.delegated is not when.delegated:
        return False
    if when.scopes is not None:
        return standing.link is not None and standing.link.mandate.scope in when.scopes
    return True
