"""The decision point: rules in play, then rows, then cells, then every narrower standing."""

from __future__ import annotations

from dataclasses import replace

from datagate.decision.binding import Ledger
from datagate.decision.cells import Coverage, Granted, columns_shown, intersect, settle
from datagate.decision.delegation import left_by_token, links_of
from datagate.decision.filters import FALSE, all_of, any_of, binding_names
from datagate.decision.in_play import in_play
from datagate.decision.rows import row_condition
from datagate.decision.standing import Link, Standing, actor_alone, lineage, under_chain
from datagate.decision.trust import distrusted
from datagate.decision.writes import columns_written, written_by_both
from datagate.model.decision import (
    ColumnDecision,
    Decision,
    Denial,
    DenyReason,
    Filter,
    Outcome,
    RefersTo,
    Request,
    RuleRef,
)
from datagate.model.facts import Facts
from datagate.model.names import RelationName
from datagate.model.policy import Action, Effect, PolicySet, Rule, Through

# A reference through more relations than these shows nothing; it bounds the depth of a decision.
MAX_REFERENCES = 16


def decide(request: Request, policies: PolicySet, facts: Facts) -> Decision:
    """Decide for one caller, relation, action and instant.

    Pure and total: the same arguments give the same decision, and anything that is unknown, missing or unfit
    gives a denial, never an exception.

    Args:
        request: who asks for what, and when.
        policies: the rules, read and checked.
        facts: what the state store knew of the caller at that instant.

    Returns:
        On PERMIT the row filter, the columns that exist for the caller and how their cells are shown, and the
        values of all bindings; on DENY the reason, for the audit.
    """
    caller = request.caller
    ended = _ended(request)
    if ended is not None:
        return _denied(request.relation, request.action, ended)
    purposes = () if caller.purpose is None else lineage(policies.purposes, caller.purpose)
    if purposes is None:
        denial = Denial(DenyReason.UNKNOWN_PURPOSE, f"no purpose {caller.purpose!r}")
        return _denied(request.relation, request.action, denial)
    distrust = distrusted(caller, purposes, policies, facts)
    if distrust is not None:
        return _denied(request.relation, request.action, distrust)
    links = links_of(caller, facts.chain, purposes, policies, request.instant)
    if isinstance(links, Denial):
        return _denied(request.relation, request.action, links)
    standing = under_chain(caller, purposes, facts, links)
    hearing = _Hearing(policies, actor_alone(caller, purposes, facts))
    decision = hearing.decide(request.relation, request.action, standing)
    if caller.narrowing is not None and decision.outcome is Outcome.PERMIT:
        left = left_by_token(caller.narrowing, decision)
        if isinstance(left, Denial):
            return _denied(request.relation, request.action, left)
        decision = left
    return _pruned(decision)


def _ended(request: Request) -> Denial | None:
    """Why the caller's rights are over by themselves, whatever the state says."""
    valid_until = request.caller.valid_until
    if valid_until is None:
        return None
    if valid_until.utcoffset() is None or request.instant.utcoffset() is None:
        return Denial(DenyReason.CALLER_ENDED, "a time without a zone is no instant")
    if valid_until <= request.instant:
        return Denial(DenyReason.CALLER_ENDED, f"the caller's token ended at {valid_until}")
    return None


class _Hearing:
    """One call of ``decide``: what it has found out so far of the relations that it came by."""

    def __init__(self, policies: PolicySet, actor: Standing) -> None:
        self._policies = policies
        self._actor = actor
        self._settled: dict[tuple[str, RelationName], Decision] = {}
        self._open: list[tuple[str, RelationName]] = []

    def decide(self, relation: RelationName, action: Action, standing: Standing) -> Decision:
        """What the standing gives: its own rules, within all wider standings and within its mandate's scope."""
        own = self._by_rules(relation, action, standing)
        if standing.wider is None or standing.link is None:
            return own
        decision = _both(self.decide(relation, action, standing.wider), own)
        decision = self._within_scope(decision, standing, standing.link)
        if standing.link.scope.intersect_actor:
            decision = _both(decision, self.decide(relation, action, self._actor))
        return decision

    def _by_rules(self, relation: RelationName, action: Action, standing: Standing) -> Decision:
        policy = self._policies.relations.get(relation)
        if policy is None:
            return _denied(relation, action, Denial(DenyReason.NO_POLICY, f"no policy for {relation}"))
        rules = in_play(policy, action, standing)
        ledger = Ledger(self._policies.attributes)

        def rows(rule: Rule) -> Filter:
            return row_condition(rule, policy, standing, ledger, lambda through: self._refer(through, standing, ledger))

        granted = [Granted(rule, rows(rule)) for rule in rules if rule.effect is Effect.PERMIT]
        restricts = [rule for rule in rules if rule.effect is Effect.RESTRICT]
        condition = all_of(any_of(*(grant.rows for grant in granted)), *map(rows, restricts))
        columns = columns_shown(policy, granted, restricts, condition)
        if ledger.denial is None and not (columns or (granted and action is not Action.SELECT)):
            what = "no column is shown" if granted else "no permit in play"
            ledger.deny(DenyReason.NO_PERMIT, f"{relation}: {what} ({standing.label})")
        if ledger.denial is not None:
            return _denied(relation, action, ledger.denial)
        refs = tuple(RuleRef(rule.name, rule.source) for rule in rules)
        writes = columns_written(policy, action, granted, restricts)
        return Decision(relation, action, Outcome.PERMIT, condition, columns, ledger.values, refs, None, writes)

    def _refer(self, through: Through, standing: Standing, ledger: Ledger) -> Filter:
        """True for rows whose counterpart the same standing sees; relations that refer in a circle show nothing."""
        key = (standing.label, through.relation)
        decision = self._settled.get(key)
        if decision is None:
            if key in self._open or len(self._open) >= MAX_REFERENCES:
                return FALSE
            self._open.append(key)
            decision = self.decide(through.relation, Action.SELECT, standing)
            self._open.pop()
            self._settled[key] = decision
        if decision.outcome is not Outcome.PERMIT or decision.filter == FALSE:
            return FALSE
        ledger.values.update(decision.bindings)
        return RefersTo(through.relation, through.on, decision.filter)

    def _within_scope(self, decision: Decision, standing: Standing, link: Link) -> Decision:
        if decision.outcome is not Outcome.PERMIT:
            return decision
        mandate = f"mandate {link.mandate.id}, scope {link.mandate.scope}"
        handed = link.scope.relations.get(decision.relation)
        if handed is None or decision.action not in handed.actions:
            detail = f"{mandate}: not to {decision.action.value} {decision.relation}"
            return _denied(decision.relation, decision.action, Denial(DenyReason.MANDATE_SCOPE, detail))
        ledger = Ledger(self._policies.attributes)
        ledger.values.update(decision.bindings)
        condition = decision.filter
        columns = tuple(each for each in decision.columns if handed.columns is None or each.name in handed.columns)
        writes = tuple(each for each in decision.writes if handed.columns is None or each.name in handed.columns)
        if handed.rows is not None:
            condition = all_of(condition, ledger.where(handed.rows, standing))
            coverage = Coverage(condition)
            columns = tuple(ColumnDecision(each.name, settle(each.cases, coverage)) for each in columns)
        if not columns and decision.action is Action.SELECT:
            ledger.deny(DenyReason.MANDATE_SCOPE, f"{mandate}: no column of {decision.relation} is left")
        if ledger.denial is not None:
            return _denied(decision.relation, decision.action, ledger.denial)
        return replace(decision, filter=condition, columns=columns, writes=writes, bindings=ledger.values)


def _both(wide: Decision, narrow: Decision) -> Decision:
    """What both decisions show; a denial of either denies."""
    if wide.outcome is not Outcome.PERMIT:
        return wide
    if narrow.outcome is not Outcome.PERMIT:
        return narrow
    rules = tuple(dict.fromkeys((*wide.rules, *narrow.rules)))
    bindings = {**wide.bindings, **narrow.bindings}
    if (wide.filter, wide.columns, wide.writes) == (narrow.filter, narrow.columns, narrow.writes):
        return replace(wide, rules=rules, bindings=bindings)
    condition = all_of(wide.filter, narrow.filter)
    columns = intersect(wide.columns, narrow.columns, condition)
    if not columns and wide.action is Action.SELECT:
        denial = Denial(DenyReason.NO_PERMIT, f"{wide.relation}: no column is shown in every standing")
        return _denied(wide.relation, wide.action, denial)
    writes = written_by_both(wide.writes, narrow.writes)
    return replace(wide, filter=condition, columns=columns, writes=writes, bindings=bindings, rules=rules)


def _denied(relation: RelationName, action: Action, denial: Denial) -> Decision:
    return Decision(relation, action, Outcome.DENY, FALSE, (), {}, (), denial)


def _pruned(decision: Decision) -> Decision:
    """The decision with the bindings that it names, so that values nobody reads tell no two shapes apart."""
    names = dict.fromkeys(binding_names(decision.filter))
    for column in decision.columns:
        for case in column.cases:
            names.update(dict.fromkeys(binding_names(case.when)))
    for write in decision.writes:
        names.update(dict.fromkeys(binding_names(write.when)))
    return replace(decision, bindings={name: decision.bindings[name] for name in names})
