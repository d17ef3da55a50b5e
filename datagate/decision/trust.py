"""Whether a service that says who the principal is may be believed."""

from __future__ import annotations

from datagate.model.caller import Caller
from datagate.model.decision import Denial, DenyReason
from datagate.model.facts import Facts
from datagate.model.names import Purpose
from datagate.model.policy import PolicySet


def distrusted(caller: Caller, purposes: tuple[Purpose, ...], policies: PolicySet, facts: Facts) -> Denial | None:
    """Why the caller is not who a service says it is; None where it is, or where no service said anything.

    ``purposes`` is the lineage of the caller's purpose: trust for a purpose is trust for what it contains.
    """
    service = caller.asserted_by
    if service is None:
        return None
    trust = policies.services.get(service)
    if trust is None:
        return Denial(DenyReason.NOT_TRUSTED, f"no policy trusts {service} to say who the principal is")
    if caller.principal not in trust.principals and trust.roles.isdisjoint(facts.principal.roles):
        return Denial(DenyReason.NOT_TRUSTED, f"{service} is not trusted to speak for {caller.principal}")
    if trust.purposes.isdisjoint(purposes):
        return Denial(DenyReason.NOT_TRUSTED, f"{service} is not trusted for purpose {caller.purpose}")
    return None
