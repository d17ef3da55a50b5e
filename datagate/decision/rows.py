"""A rule's row condition: its ``rows``, and consent where it requires it."""

from __future__ import annotations

from collections.abc import Callable

from datagate.decision.binding import Ledger
from datagate.decision.filters import FALSE, TRUE, all_of
from datagate.decision.standing import Standing
from datagate.model.decision import ConsentLive, Filter
from datagate.model.policy import Predicate, RelationPolicy, Rule, Through

Refer = Callable[[Through], Filter]


def row_condition(rule: Rule, policy: RelationPolicy, standing: Standing, ledger: Ledger, refer: Refer) -> Filter:
    """The rows that a rule is true for; ``refer`` answers what a row of another relation says."""
    consent = _consent(policy, standing) if rule.consent else TRUE
    match rule.rows:
        case Predicate():
            return all_of(ledger.where(rule.rows, standing), consent)
        case Through():
            return all_of(refer(rule.rows), consent)
        case None:
            return consent


def _consent(policy: RelationPolicy, standing: Standing) -> Filter:
    if policy.data_subject is None or not standing.purposes:
        return FALSE
    return ConsentLive(policy.data_subject, standing.purposes)
