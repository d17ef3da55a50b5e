"""DESIGN §3: delegation narrows, never widens; a sub-mandate is the intersection of its whole chain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from datagate.model.caller import ActorKind, Caller
from datagate.model.decision import TRUE, AllOf, AnyOf, CellCase, Decision, DenyReason, Filter, RefersTo, Where
from datagate.model.facts import Mandate
from datagate.model.mask import MaskKind
from datagate.model.names import MandateId, PrincipalId
from datagate.model.policy import Action, PolicySet, When
from datagate.model.values import TypedValue, ValueType
from tests.decision.builders import (
    ACCOUNTS,
    BOT,
    CUSTOMERS,
    NOON,
    ask,
    customers,
    entitled,
    facts,
    handed,
    mandate,
    mask,
    permit,
    policies,
    predicate,
    reason,
    restrict,
    scope,
    table,
    through,
)

EU, US = (Where(predicate(text), ()) for text in ("region = 'EU'", "region = 'US'"))
SECOND = timedelta(seconds=1)
HASH, REDACT = mask(MaskKind.HASH), mask(MaskKind.REDACT)


def simple(*, delete: bool = False) -> PolicySet:
    """All customers to everybody, and a scope over all of it."""
    return customers(permit("p", show="customer_id name region", delete=delete), scopes=[scope("all")])


def kinds(decision: Decision, column: str) -> list[tuple[Filter, list[MaskKind]]]:
    """The column's cases with the kinds of their masks."""
    (shown,) = (each for each in decision.columns if each.name == column)
    return [(case.when, [each.kind for each in case.masks]) for case in shown.cases]


def test_a_live_mandate_permits() -> None:
    """The near miss of all refusals below."""
    assert reason(simple(), facts(entitled(), mandate("all")), BOT) is None


def test_an_actor_without_a_mandate_is_refused() -> None:
    """None named, or none found."""
    nobody = replace(BOT, mandate=None)
    assert reason(simple(), facts(), nobody) is DenyReason.NO_MANDATE
    assert reason(simple(), facts(), BOT) is DenyReason.NO_MANDATE
    assert reason(simple(), facts(entitled(), mandate("all")), nobody) is DenyReason.NO_MANDATE


def test_facts_of_a_mandate_that_the_caller_does_not_name_are_refused() -> None:
    """Facts and caller must speak of the same session."""
    assert reason(simple(), facts(entitled(), mandate("all"))) is DenyReason.MANDATE_CHAIN


def test_an_own_mandate_narrows_the_principal() -> None:
    """A session opened under a mandate keeps to it, and the holder must be the one connected."""
    policy_set = customers(permit("p", show="name region"), scopes=[scope("s", {CUSTOMERS: handed("name")})])
    caller = Caller.of("ann", mandate="m1", purpose="tax")
    decision = ask(policy_set, facts(entitled(), mandate("s", holder="ann")), caller)
    assert [column.name for column in decision.columns] == ["name"]
    assert reason(policy_set, facts(entitled(), mandate("s")), caller) is DenyReason.MANDATE_CHAIN


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"id": MandateId("m2")}, DenyReason.MANDATE_CHAIN),
        ({"holder": PrincipalId("eve")}, DenyReason.MANDATE_CHAIN),
        ({"principal": PrincipalId("eve")}, DenyReason.MANDATE_CHAIN),
        ({"parent": MandateId("m0")}, DenyReason.MANDATE_CHAIN),
        ({"scope": "gone"}, DenyReason.MANDATE_SCOPE),
        ({"purposes": frozenset()}, DenyReason.MANDATE_PURPOSE),
        ({"purposes": frozenset({"analytics"})}, DenyReason.MANDATE_PURPOSE),
        ({"valid_from": NOON + SECOND}, DenyReason.MANDATE_NOT_YET),
        ({"valid_until": NOON}, DenyReason.MANDATE_ENDED),
        ({"revoked_at": NOON}, DenyReason.MANDATE_REVOKED),
        ({"valid_from": datetime(2026, 1, 1)}, DenyReason.MANDATE_CHAIN),  # noqa: DTZ001 - that is the point
    ],
)
def test_a_mandate_with_one_thing_wrong_is_refused(wrong: dict[str, object], expected: DenyReason) -> None:
    """Each check on its own, alone and as a parent, whose end is the end of all below."""
    good = mandate("all")
    bad = replace(good, **wrong)  # type: ignore[arg-type]
    assert reason(simple(), facts(entitled(), bad), BOT) is expected
    parent = replace(mandate("all", id="m0", holder="eve", sub_delegable=1))
    child = replace(good, parent=parent.id)
    assert reason(simple(), facts(entitled(), child, parent), BOT) is None
    if "holder" not in wrong:
        assert reason(simple(), facts(entitled(), child, replace(parent, **wrong)), BOT) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize("edge", [{"valid_from": NOON}, {"valid_until": NOON + SECOND}, {"revoked_at": NOON + SECOND}])
def test_the_edges_of_validity(edge: dict[str, datetime]) -> None:
    """From its first instant, up to but not at its last, and until the instant it is revoked."""
    assert reason(simple(), facts(entitled(), replace(mandate("all"), **edge)), BOT) is None  # type: ignore[arg-type]


def test_an_instant_without_a_zone_is_refused_under_a_mandate() -> None:
    """It cannot be compared, and must not raise."""
    naive = NOON.replace(tzinfo=None)
    assert reason(simple(), facts(entitled(), mandate("all")), BOT, instant=naive) is DenyReason.MANDATE_CHAIN


def test_a_mandate_serves_purposes_below_its_own() -> None:
    """One for marketing serves marketing.email; a caller without purpose has none of them."""
    known = facts(entitled(), mandate("all", purposes="marketing"))
    below = replace(BOT, purpose=Caller.of("x", purpose="marketing.email").purpose)
    assert reason(simple(), known, below) is None
    assert reason(simple(), known, replace(BOT, purpose=None)) is DenyReason.MANDATE_PURPOSE


def test_a_scope_hands_over_the_actions_it_lists() -> None:
    """To read is not to delete."""
    policy_set = simple(delete=True)
    known = facts(entitled(), mandate("all"))
    assert reason(policy_set, known, BOT, action=Action.DELETE) is DenyReason.MANDATE_SCOPE
    wider = scope("all", {CUSTOMERS: handed(actions=[Action.DELETE])})
    assert reason(replace(policy_set, scopes={"all": wider}), known, BOT, action=Action.DELETE) is None


def chain_of(*allowed: int) -> list[Mandate]:
    """A chain over scope all; the caller's own first, each with its right to sub-delegate."""
    last = len(allowed) - 1
    return [
        mandate(
            "all",
            id=f"m{number + 1}",
            holder="bot" if number == 0 else f"h{number}",
            parent=None if number == last else f"m{number + 2}",
            sub_delegable=depth,
        )
        for number, depth in enumerate(allowed)
    ]


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ((0,), None),
        ((0, 1), None),
        ((0, 0), DenyReason.MANDATE_CHAIN),
        ((0, 1, 2), None),
        ((0, 5, 1), DenyReason.MANDATE_CHAIN),
        ((0, 0, 2), DenyReason.MANDATE_CHAIN),
        (tuple(range(32)), None),
        (tuple(range(33)), DenyReason.MANDATE_CHAIN),
    ],
)
def test_depth_is_bounded_by_every_ancestor(allowed: tuple[int, ...], expected: DenyReason | None) -> None:
    """Each link says how many may hang below it; no chain is longer than the house allows."""
    assert reason(simple(), facts(entitled(), *chain_of(*allowed)), BOT) is expected


def test_a_chain_must_hang_together() -> None:
    """Each link's parent is the next; a link missing, swapped or repeated breaks it."""
    one, two, three = chain_of(0, 1, 2)
    for broken in ([one, three], [one, two], [one, three, two], [one, two, two], [one, one]):
        assert reason(simple(), facts(entitled(), *broken), BOT) is DenyReason.MANDATE_CHAIN


def test_a_mandate_that_is_its_own_parent_is_refused() -> None:
    """Every link fits the next, and yet it is a loop."""
    above = mandate("all", sub_delegable=1)
    assert reason(simple(), facts(entitled(), replace(above, parent=above.id), above), BOT) is DenyReason.MANDATE_CHAIN


def test_columns_and_rows_intersect_with_every_scope() -> None:
    """Of the whole chain, not only the caller's own."""
    scopes = [
        scope("own", {CUSTOMERS: handed("name region", "region = 'EU'")}),
        scope("above", {CUSTOMERS: handed("name customer_id", "region = 'US'")}),
    ]
    policy_set = customers(permit("p", show="customer_id name region"), scopes=scopes)
    chain = (mandate("own", parent="m0"), mandate("above", id="m0", holder="eve", sub_delegable=1))
    decision = ask(policy_set, facts(entitled(), *chain), BOT)
    assert [column.name for column in decision.columns] == ["name"]
    assert decision.filter == AllOf((US, EU))


def test_a_scope_that_leaves_no_column_refuses() -> None:
    """As a relation without any column would."""
    policy_set = customers(permit("p", show="name"), scopes=[scope("s", {CUSTOMERS: handed("region")})])
    assert reason(policy_set, facts(entitled(), mandate("s")), BOT) is DenyReason.MANDATE_SCOPE


def test_restricts_on_the_actor_narrow_after_the_scope() -> None:
    """An agent gets the principal's cells under the agents' mask as well."""
    agents = When(actor_kinds=frozenset({ActorKind.AGENT}))
    policy_set = customers(
        permit("p", show="name", masks={"name": HASH}),
        restrict("agents", when=agents, masks={"name": REDACT}),
        scopes=[scope("all")],
    )
    decision = ask(policy_set, facts(entitled(), mandate("all")), BOT)
    assert kinds(decision, "name") == [(TRUE, [MaskKind.HASH, MaskKind.REDACT])]


@pytest.mark.parametrize("when", [When(delegated=True), When(scopes=frozenset({"all"}))])
def test_a_permit_for_delegates_alone_hands_over_nothing(when: When) -> None:
    """The principal could not see it in person, so nobody can in the principal's name."""
    own = permit("own", "region = 'EU'", show="name")
    extra = permit("extra", "region = 'US'", show="name region", when=when)
    known = facts(entitled(), mandate("all"))
    assert reason(customers(extra, scopes=[scope("all")]), known, BOT) is DenyReason.NO_PERMIT
    decision = ask(customers(own, extra, scopes=[scope("all")]), known, BOT)
    assert decision.filter == EU
    assert [column.name for column in decision.columns] == ["name"]


def test_a_permit_for_the_principal_in_person_is_not_handed_over() -> None:
    """`when: {delegated: false}` says so."""
    in_person = permit("own", show="name", when=When(delegated=False))
    assert reason(customers(in_person, scopes=[scope("all")]), facts(entitled(), mandate("all")), BOT) is not None
    assert reason(customers(in_person), facts()) is None


@pytest.mark.parametrize("when", [When(delegated=False), When(scopes=frozenset({"above"}))])
def test_a_restrict_on_a_wider_standing_narrows_all_below(when: When) -> None:
    """What binds the principal in person, or the holder above, binds the delegate."""
    policy_set = customers(
        permit("p", show="name"), restrict("r", "region = 'EU'", when=when), scopes=[scope("own"), scope("above")]
    )
    chain = (mandate("own", parent="m0"), mandate("above", id="m0", holder="eve", sub_delegable=1))
    assert ask(policy_set, facts(entitled(), *chain), BOT).filter == EU


def test_a_predicate_over_the_actor_widens_nothing() -> None:
    """Rows of the actor's region are shown only if they are of the principal's as well."""
    policy_set = customers(permit("p", "region = :actor.region", show="name"), scopes=[scope("all")])
    known = facts(entitled(region="EU"), mandate("all"), actor=entitled(region="US"))
    decision = ask(policy_set, known, BOT)
    rows = predicate("region = :actor.region")
    assert decision.filter == AllOf(
        (Where(rows, (("actor.region", "principal.region"),)), Where(rows, (("actor.region", "actor.region"),)))
    )


def test_a_scope_may_intersect_the_actors_own_entitlements() -> None:
    """Rows of both, columns of both, masks of both, the principal's first; the actor's values as the actor's."""
    rules = (
        permit("customer", "region = :principal.region", to="customer", show="name region", masks={"name": HASH}),
        permit("analyst", "id = :principal.id", to="analyst", show="customer_id name", masks={"name": REDACT}),
    )
    known = facts(entitled("customer", region="EU"), mandate("s"), actor=entitled("analyst"))
    decision = ask(customers(*rules, scopes=[scope("s", intersect_actor=True)]), known, BOT)
    assert [column.name for column in decision.columns] == ["name"]
    assert kinds(decision, "name") == [(TRUE, [MaskKind.HASH, MaskKind.REDACT])]
    assert dict(decision.bindings) == {
        "principal.region": TypedValue(ValueType.TEXT, "EU"),
        "actor.id": TypedValue(ValueType.TEXT, "bot"),
    }
    assert [rule.name for rule in decision.rules] == ["customer", "analyst"]
    alone = ask(customers(*rules, scopes=[scope("s")]), known, BOT)
    assert [column.name for column in alone.columns] == ["name", "region"]


def test_an_actor_that_may_see_nothing_on_its_own_sees_nothing() -> None:
    """Where the scope asks for the actor's own entitlements."""
    rule = permit("customer", to="customer", show="name")
    known = facts(entitled("customer"), mandate("s"), actor=entitled())
    assert reason(customers(rule, scopes=[scope("s", intersect_actor=True)]), known, BOT) is DenyReason.NO_PERMIT
    assert reason(customers(rule, scopes=[scope("s")]), known, BOT) is None


def test_a_mask_that_both_sides_put_on_a_cell_is_put_once() -> None:
    """A pseudonym of a pseudonym would join with nothing."""
    policy_set = customers(
        permit("p", show="name", masks={"name": HASH}),
        restrict("r", masks={"name": REDACT}),
        scopes=[scope("s", intersect_actor=True)],
    )
    decision = ask(policy_set, facts(entitled(), mandate("s")), BOT)
    assert kinds(decision, "name") == [(TRUE, [MaskKind.HASH, MaskKind.REDACT])]


def test_cells_of_both_sides_are_matched_row_by_row() -> None:
    """The first true case of the principal's meets the first true case of the actor's."""
    rules = (
        permit("raw", "region = 'EU'", to="customer", show="name"),
        permit("hashed", "open", to="customer", show="name", masks={"name": HASH}),
        permit("all", to="analyst", show="name", masks={"name": REDACT}),
    )
    known = facts(entitled("customer"), mandate("s"), actor=entitled("analyst"))
    decision = ask(customers(*rules, scopes=[scope("s", intersect_actor=True)]), known, BOT)
    assert decision.filter == AnyOf((EU, Where(predicate("open"), ())))
    assert kinds(decision, "name") == [(EU, [MaskKind.REDACT]), (TRUE, [MaskKind.HASH, MaskKind.REDACT])]


def test_through_keeps_to_the_mandate() -> None:
    """A row that the scope does not hand over makes no other row visible."""
    tables = (
        table(CUSTOMERS, "customer_id", permit("p", show="customer_id")),
        table(ACCOUNTS, "customer_id iban", permit("q", through(CUSTOMERS, "customer_id"), show="iban")),
    )
    on = (("customer_id", "customer_id"),)
    known = facts(entitled(), mandate("s"))
    listed = scope("s", {ACCOUNTS: handed(), CUSTOMERS: handed(rows="region = 'EU'")})
    decision = ask(policies(*tables, scopes=[listed]), known, BOT, relation=ACCOUNTS)
    assert decision.filter == RefersTo(CUSTOMERS, on, EU)
    unlisted = ask(policies(*tables, scopes=[scope("s", {ACCOUNTS: handed()})]), known, BOT, relation=ACCOUNTS)
    assert unlisted.filter == AnyOf(())


def test_unlike_standings_keep_a_cell_case_each() -> None:
    """A cell is as narrow as the narrowest standing shows it."""
    agents = When(delegated=True)
    policy_set = customers(
        permit("p", show="name region"), restrict("r", when=agents, masks={"name": HASH}), scopes=[scope("all")]
    )
    decision = ask(policy_set, facts(entitled(), mandate("all")), BOT)
    assert decision.columns[0].cases == (CellCase(TRUE, (HASH,)),)
    assert decision.columns[1].cases == (CellCase(TRUE, ()),)


def test_the_twelve_oclock_of_another_zone_is_the_same_instant() -> None:
    """Validity compares instants, not clocks."""
    east = datetime.fromisoformat("2026-03-01T14:00:00+02:00")
    assert east == NOON.astimezone(UTC)
    assert reason(simple(), facts(entitled(), mandate("all", valid_until=east)), BOT) is DenyReason.MANDATE_ENDED


def test_a_denial_in_any_standing_keeps_its_reason() -> None:
    """The audit learns what was missing, and in which standing."""
    parameter = permit("p", "region = :mandate.region", show="name")
    in_person = ask(customers(parameter, scopes=[scope("all")]), facts(entitled(), mandate("all")), BOT)
    assert in_person.denial is not None
    assert in_person.denial.reason is DenyReason.MISSING_PARAMETER
    assert in_person.denial.detail.endswith("(in person)")
    attribute = permit("p", "region = :principal.region", show="name")
    policy_set = customers(attribute, scopes=[scope("all", intersect_actor=True)])
    alone = ask(policy_set, facts(entitled(region="EU"), mandate("all"), actor=entitled()), BOT)
    assert alone.denial is not None
    assert alone.denial.reason is DenyReason.MISSING_ATTRIBUTE
    assert alone.denial.detail.endswith("(actor alone)")


def test_standings_that_share_no_column_refuse() -> None:
    """What one shows, the other does not."""
    rules = (permit("own", to="customer", show="name"), permit("staff", to="analyst", show="region"))
    policy_set = customers(*rules, scopes=[scope("s", intersect_actor=True)])
    known = facts(entitled("customer"), mandate("s"), actor=entitled("analyst"))
    assert reason(policy_set, known, BOT) is DenyReason.NO_PERMIT


def test_a_mask_is_put_once_where_standings_differ() -> None:
    """The permit's mask is owed in person and under the mandate, the restrict's under the mandate alone."""
    policy_set = customers(
        permit("p", show="name", masks={"name": HASH}),
        restrict("r", when=When(delegated=True), masks={"name": REDACT}),
        scopes=[scope("all")],
    )
    decision = ask(policy_set, facts(entitled(), mandate("all")), BOT)
    assert kinds(decision, "name") == [(TRUE, [MaskKind.HASH, MaskKind.REDACT])]


def test_the_actor_alone_is_no_delegate() -> None:
    """Its own entitlements are those that it would have in a session of its own."""
    rules = (
        permit("own", to="customer", show="name"),
        permit("staff", to="analyst", show="name", when=When(delegated=True)),
    )
    policy_set = customers(*rules, scopes=[scope("s", intersect_actor=True)])
    known = facts(entitled("customer"), mandate("s"), actor=entitled("analyst"))
    assert reason(policy_set, known, BOT) is DenyReason.NO_PERMIT
