"""Which columns and rows the rules let a caller write, and what delegation leaves of that."""

from __future__ import annotations

from collections.abc import Iterable

from datagate.decision.writes import insertable, not_writable, touchable
from datagate.model.decision import TRUE, AllOf, AnyOf, Decision, DenyReason, Filter, Where
from datagate.model.mask import MaskKind
from datagate.model.policy import Action, PolicySet
from tests.decision.builders import (
    BOT,
    CUSTOMERS,
    ask,
    customers,
    entitled,
    facts,
    handed,
    mandate,
    mask,
    permit,
    reason,
    restrict,
    scope,
)

KNOWN = facts(entitled())
EU, OWN = "region = 'EU'", "name = 'ann'"


def texts(condition: Filter) -> set[str]:
    """The predicates in a conjunction; a disjunction is one, joined by a bar."""
    match condition:
        case AllOf(parts):
            return {text for part in parts for text in texts(part)}
        case AnyOf(parts):
            return {" | ".join(sorted(text for part in parts for text in texts(part)))}
        case Where():
            return {condition.predicate.text}
        case _:
            raise AssertionError(condition)


def both(policy_set: PolicySet, action: Action) -> tuple[Decision, Decision]:
    """The decisions on reading and on the action."""
    return ask(policy_set, KNOWN), ask(policy_set, KNOWN, action=action)


def refused(policy_set: PolicySet, action: Action, columns: Iterable[str]) -> list[str]:
    """Columns that may not be set at all."""
    return not_writable(*both(policy_set, action), columns)


def test_an_action_needs_a_permit_of_its_own() -> None:
    """Reading gives no right to write, nor one write to another."""
    policy_set = customers(permit("r", show="customer_id name", update="name"))
    assert reason(policy_set, KNOWN, action=Action.UPDATE) is None
    assert reason(policy_set, KNOWN, action=Action.INSERT) is DenyReason.NO_PERMIT
    assert reason(policy_set, KNOWN, action=Action.DELETE) is DenyReason.NO_PERMIT


def test_a_permit_may_grant_writes_alone() -> None:
    """What is seen may come from another permit."""
    policy_set = customers(permit("see", show="customer_id name"), permit("write", EU, update="name", delete=True))
    assert texts(touchable(*both(policy_set, Action.UPDATE), ["name"])) == {EU}
    assert texts(touchable(*both(policy_set, Action.DELETE), [])) == {EU}
    assert refused(policy_set, Action.UPDATE, ["name"]) == []


def test_columns_that_are_not_listed_are_not_writable() -> None:
    """Each action has its own list."""
    policy_set = customers(permit("w", show="customer_id name region", update="name", insert="customer_id"))
    assert refused(policy_set, Action.UPDATE, ["name", "region", "customer_id"]) == ["customer_id", "region"]
    assert refused(policy_set, Action.INSERT, ["name", "customer_id"]) == ["name"]


def test_a_masked_or_hidden_column_is_not_writable() -> None:
    """Whoever masks it: the permit itself, another that shows it first, a restrict; or nobody shows it."""
    redact = mask(MaskKind.REDACT)
    seen_masked = customers(permit("see", show="name", masks={"name": redact}), permit("write", update="name"))
    restricted = customers(permit("w", show="name", update="name"), restrict("r", masks={"name": redact}))
    hidden = customers(permit("w", show="customer_id", update="name"))
    for policy_set in (seen_masked, restricted, hidden):
        assert refused(policy_set, Action.UPDATE, ["name"]) == ["name"]


def test_a_cell_that_is_raw_in_some_rows_is_writable_there() -> None:
    """Raw where it is one's own, masked in the region: writable where it is one's own."""
    policy_set = customers(
        permit("region", EU, show="customer_id name", masks={"name": mask(MaskKind.REDACT)}),
        permit("own", OWN, show="customer_id name", update="name"),
    )
    assert refused(policy_set, Action.UPDATE, ["name"]) == []
    assert texts(touchable(*both(policy_set, Action.UPDATE), ["name"])) == {OWN}


def test_each_column_needs_a_permit_that_lists_it_in_that_row() -> None:
    """Two permits, two lists: setting both columns is for rows of both."""
    policy_set = customers(
        permit("a", EU, show="customer_id name region", update="name"),
        permit("b", OWN, show="customer_id name region", update="region"),
    )
    decisions = both(policy_set, Action.UPDATE)
    assert texts(touchable(*decisions, ["name"])) == {EU}
    assert texts(touchable(*decisions, ["region"])) == {OWN}
    assert texts(touchable(*decisions, ["name", "region"])) == {EU, OWN}


def test_restricts_hold_for_writes() -> None:
    """A row that a restrict hides can be neither touched nor made."""
    policy_set = customers(permit("w", show="customer_id name", update="name", insert="name"), restrict("r", EU))
    assert texts(touchable(*both(policy_set, Action.UPDATE), ["name"])) == {EU}
    assert texts(insertable(*both(policy_set, Action.INSERT), ["name"], returning=False)) == {EU}


def test_a_new_row_must_be_seen_only_where_it_is_shown() -> None:
    """INSERT asks its own permit; with RETURNING the row must be one that the caller sees."""
    policy_set = customers(
        permit("see", EU, show="name"), permit("add", OWN, insert="name"), permit("all", insert="region")
    )
    decisions = both(policy_set, Action.INSERT)
    assert OWN in texts(insertable(*decisions, ["name"], returning=False))
    assert EU in texts(insertable(*decisions, ["name"], returning=True))


def test_without_conditions_nothing_is_asked_of_rows() -> None:
    """So that such writes carry no check."""
    policy_set = customers(permit("w", show="customer_id name", update="name"))
    assert touchable(*both(policy_set, Action.UPDATE), ["name"]) == TRUE


def test_a_mandate_hands_over_writes_only_where_its_scope_says_so() -> None:
    """The scope's actions, columns and rows narrow what the principal may write."""
    rules = [permit("w", show="customer_id name region", update="name region")]
    reading = customers(*rules, scopes=[scope("s")])
    writing = customers(
        *rules, scopes=[scope("s", {CUSTOMERS: handed("customer_id name", EU, [Action.SELECT, Action.UPDATE])})]
    )
    known = facts(entitled(), mandate("s"))
    assert reason(reading, known, BOT, action=Action.UPDATE) is DenyReason.MANDATE_SCOPE
    seen, decided = ask(writing, known, BOT), ask(writing, known, BOT, action=Action.UPDATE)
    assert not_writable(seen, decided, ["name", "region"]) == ["region"]
    assert texts(touchable(seen, decided, ["name"])) == {EU}


def test_shapes_tell_decisions_apart_that_differ_in_what_may_be_written() -> None:
    """Callers of one shape share rewritten SQL."""
    one = customers(permit("w", show="customer_id name", update="name"))
    other = customers(permit("w", show="customer_id name", update="customer_id"))
    assert both(one, Action.UPDATE)[1].shape != both(other, Action.UPDATE)[1].shape
