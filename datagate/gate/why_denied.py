"""What would have to change for a denied caller to see anything of a relation at all."""

from __future__ import annotations

from datagate.model.caller import Caller
from datagate.model.decision import Denial, DenyReason
from datagate.model.policy import Effect, RelationPolicy, Rule


def what_would_permit(denial: Denial, policy: RelationPolicy, caller: Caller) -> tuple[str, ...]:
    """In words for a steward, one way a line."""
    match denial.reason:
        case DenyReason.NO_PERMIT | DenyReason.NO_POLICY:
            return tuple(_permit(rule) for rule in policy.rules if rule.effect is Effect.PERMIT and rule.show)
        case DenyReason.UNKNOWN_PURPOSE:
            return ("a purpose that datagate.yaml names",)
        case DenyReason.CALLER_ENDED:
            return ("a new login",)
        case DenyReason.NOT_TRUSTED:
            return (f"trust in {caller.asserted_by} for this user and purpose: datagate.yaml, under services",)
        case DenyReason.NO_MANDATE:
            who, whom = caller.actor.id, caller.principal
            return (f"a mandate: datagate mandate issue {whom} {who} SCOPE --purpose {caller.purpose or 'PURPOSE'}",)
        case DenyReason.MISSING_ATTRIBUTE | DenyReason.BAD_ATTRIBUTE:
            return (f"the attribute: datagate entitle grant {caller.principal} --attribute NAME=VALUE",)
        case DenyReason.MISSING_PARAMETER:
            return ("a mandate with that parameter",)
        case DenyReason.MANDATE_PURPOSE:
            return (f"a mandate for the purpose {caller.purpose}",)
        case DenyReason.MANDATE_SCOPE:
            return (f"a mandate of a scope that hands over {policy.relation}, and a token that leaves it",)
        case DenyReason.MANDATE_ENDED | DenyReason.MANDATE_REVOKED | DenyReason.MANDATE_NOT_YET:
            return (f"a mandate in force now, in place of {caller.mandate}",)
        case DenyReason.MANDATE_USED_UP:
            return (f"a mandate with uses left, in place of {caller.mandate}",)
        case DenyReason.MANDATE_SUSPENDED:
            return (f"mandate {caller.mandate}, or the link above it that is suspended, resumed",)
        case DenyReason.MANDATE_ACTOR:
            return (f"a mandate for actors of the kind {caller.actor.kind.value}",)
        case DenyReason.MANDATE_CHAIN:
            return (f"a mandate of {caller.principal} held by {caller.actor.id}, allowed by each link above it",)


def _permit(rule: Rule) -> str:
    needs = []
    if rule.to:
        needs.append(f"role {' or '.join(sorted(rule.to))}")
    if rule.purposes:
        needs.append(f"purpose {' or '.join(sorted(rule.purposes))}")
    if rule.when.actor_kinds is not None or rule.when.delegated is not None or rule.when.scopes is not None:
        needs.append("what its when asks of the caller")
    return f"permit {rule.name} ({rule.source}) needs {' and '.join(needs) or 'nothing more'}"
