"""The names under which the state says at once that it changed.

Channel ``datagate_state`` (`datagate.stores.postgres`) tells of rights and consents. Epochs advance for principals and
actors and, as ``consent:PURPOSE``, for purposes for which some data subject's yes was taken back or narrowed. Channel
``datagate_policies``: read the policies again.
"""

from __future__ import annotations

from collections.abc import Iterable

from datagate.model.names import PrincipalId

POLICIES_CHANNEL = "datagate_policies"
POLICIES_PARTY = PrincipalId("policies:read-again")
"""The party whose epoch advances with each request to read the policies again."""

CONSENT = "consent:"


def consent_parties(purposes: Iterable[str]) -> tuple[PrincipalId, ...]:
    """The parties whose epochs tell of withdrawals for these purposes."""
    return tuple(PrincipalId(CONSENT + purpose) for purpose in dict.fromkeys(purposes))
