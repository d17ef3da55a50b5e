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
    consent = _consent(rule, policy, standing, ledger) if rule.consent else TRUE
    match rule.rows:
        case Predicate():
            return all_of(ledger.where(rule.rows, standing), consent)
        case Through():
            return all_of(refer(rule.rows), consent)
        case None:
            return consent


def _consent(rule: Rule, policy: RelationPolicy, standing: Standing, ledger: Ledger) -> Filter:
    """A yes to the standing's purpose that takes in what the rule shows or writes, and names who would get it.

    In person that is the principal, under a mandate the actor; since a mandate only narrows, both must be named then.
    """
    if policy.data_subject is None or not standing.purposes:
        return FALSE
    touched = rule.show | rule.insert | rule.update
    # A restrict shows nothing by itself, and a permit to delete touches whole rows: all columns are meant.
    tags = {tag for column, tag in policy.columns if not touched or column in touched}
    recipients = (ledger.recipients(standing.actor),)
    return ConsentLive(policy.data_subject, standing.purposes, tuple(sorted(tags)), recipients)
