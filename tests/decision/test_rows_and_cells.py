"""DESIGN §3: which rows are visible, and how each cell is shown."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from datagate.model.caller import Caller
from datagate.model.decision import (
    FALSE,
    TRUE,
    AllOf,
    AnyOf,
    CellCase,
    ColumnDecision,
    ConsentLive,
    Decision,
    DenyReason,
    Filter,
    Outcome,
    RefersTo,
    Where,
)
from datagate.model.mask import MaskKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Effect
from tests.decision.builders import (
    ACCOUNTS,
    ANN_FOR_TAX,
    CUSTOMERS,
    ask,
    customers,
    entitled,
    facts,
    mask,
    permit,
    policies,
    predicate,
    reason,
    restrict,
    table,
    through,
)

EU, US, OPEN = (Where(predicate(text), ()) for text in ("region = 'EU'", "region = 'US'", "open"))
HASH, REDACT, HIDE = mask(MaskKind.HASH), mask(MaskKind.REDACT), mask(MaskKind.HIDE)
ROUND = mask(MaskKind.ROUND, to=Decimal(10))


def cases(decision: Decision, column: str) -> tuple[tuple[Filter, tuple[MaskKind, ...]], ...] | None:
    """The column's cases with the kinds of their masks, or None where it does not exist."""
    for shown in decision.columns:
        if shown.name == column:
            return tuple((case.when, tuple(each.kind for each in case.masks)) for case in shown.cases)
    return None


def text(rule_rows: Where) -> str:
    """The predicate's text."""
    return rule_rows.predicate.text


def test_a_row_needs_some_permit_and_every_restrict() -> None:
    """Permits are a union, restricts an intersection."""
    policy_set = customers(
        permit("eu", text(EU), show="name"), permit("us", text(US), show="name"), restrict("open", text(OPEN))
    )
    assert ask(policy_set, facts()).filter == AllOf((AnyOf((EU, US)), OPEN))


def test_a_permit_without_rows_shows_all() -> None:
    """Then the other permits add no rows."""
    policy_set = customers(permit("eu", text(EU), show="name"), permit("all", show="region"))
    assert ask(policy_set, facts()).filter == TRUE


def test_consent_narrows_the_permit_that_requires_it_alone() -> None:
    """A permit without consent shows its rows whether or not the data subject consents."""
    policy_set = customers(
        permit("eu", text(EU), consent=True, show="name"),
        permit("us", text(US), show="name"),
        permit("tax", text(OPEN), consent=True, show="name"),
    )
    consent = ConsentLive("customer_id", (Purpose("tax"),), ("plain",), ("recipients.principal",))
    expected = AnyOf((AllOf((EU, consent)), US, AllOf((OPEN, consent))))
    assert ask(policy_set, facts(), ANN_FOR_TAX).filter == expected


def test_consent_of_a_restrict_is_required_of_every_row() -> None:
    """It stands beside the permits, not within them."""
    policy_set = customers(permit("eu", text(EU), show="name"), restrict("r", text(OPEN), consent=True))
    consent = ConsentLive("customer_id", (Purpose("tax"),), ("plain",), ("recipients.principal",))
    assert ask(policy_set, facts(), ANN_FOR_TAX).filter == AllOf((EU, OPEN, consent))


def test_a_single_permits_cells_need_no_condition() -> None:
    """The row filter already says that the permit is true."""
    policy_set = customers(permit("eu", text(EU), show="name region", masks={"name": HASH}))
    decision = ask(policy_set, facts())
    assert decision.filter == EU
    assert decision.columns == (
        ColumnDecision("name", (CellCase(TRUE, (HASH,)),)),
        ColumnDecision("region", (CellCase(TRUE, ()),)),
    )


def test_columns_keep_the_policys_order_and_only_those_shown_exist() -> None:
    """Not the order of `show`; customer_id is shown by nobody."""
    decision = ask(customers(permit("p", show="region name")), facts())
    assert [column.name for column in decision.columns] == ["name", "region"]


def test_two_grants_do_not_leak_each_others_cells() -> None:
    """Name is shown where the EU permit matches, and is NULL in rows that only the US permit shows."""
    policy_set = customers(permit("eu", text(EU), show="name region"), permit("us", text(US), show="region"))
    decision = ask(policy_set, facts())
    assert cases(decision, "name") == ((EU, ()),)
    assert cases(decision, "region") == ((TRUE, ()),)


def test_a_permit_that_shows_it_raw_wins() -> None:
    """Raw goes before masked, whichever stands first in the file."""
    policy_set = customers(
        permit("hashed", text(EU), show="name", masks={"name": HASH}), permit("raw", text(US), show="name")
    )
    assert cases(ask(policy_set, facts()), "name") == ((US, ()), (TRUE, (MaskKind.HASH,)))


def test_among_masked_permits_the_first_in_the_file_wins() -> None:
    """The last case needs no condition, since the filter leaves no other."""
    policy_set = customers(
        permit("hashed", text(EU), show="name", masks={"name": HASH}),
        permit("redacted", text(US), show="name", masks={"name": REDACT}),
        permit("rounded", text(OPEN), show="name", masks={"name": ROUND}),
    )
    assert cases(ask(policy_set, facts()), "name") == (
        (EU, (MaskKind.HASH,)),
        (US, (MaskKind.REDACT,)),
        (TRUE, (MaskKind.ROUND,)),
    )


def test_what_cannot_be_reached_is_left_out() -> None:
    """A raw permit on all rows leaves no cell to a masked one."""
    policy_set = customers(permit("eu", text(EU), show="name", masks={"name": HASH}), permit("all", show="name"))
    assert cases(ask(policy_set, facts()), "name") == ((TRUE, ()),)


def test_a_case_that_no_row_comes_to_is_left_out() -> None:
    """Where the raw permit is false the masked one is too, since both say the same of the row."""
    policy_set = customers(
        permit("raw", text(EU), show="name", line=1),
        permit("hashed", text(EU), show="name", masks={"name": HASH}, line=2),
        permit("open", text(OPEN), show="region"),
    )
    assert cases(ask(policy_set, facts()), "name") == ((EU, ()),)


def test_neighbouring_cases_alike_are_one() -> None:
    """Two permits that mask alike, and a third that does not show the column."""
    policy_set = customers(
        permit("eu", text(EU), show="name", masks={"name": HASH}, line=1),
        permit("us", text(US), show="name", masks={"name": mask(MaskKind.HASH)}, line=2),
        permit("open", text(OPEN), show="region"),
    )
    assert cases(ask(policy_set, facts()), "name") == ((AnyOf((EU, US)), (MaskKind.HASH,)),)


def test_every_restrict_narrows_every_cell() -> None:
    """After the permit's own mask, in file order; also cells that would be raw."""
    policy_set = customers(
        permit("raw", text(EU), show="name"),
        restrict("first", masks={"name": REDACT}),
        permit("hashed", text(US), show="name", masks={"name": HASH}),
        restrict("second", text(OPEN), masks={"name": ROUND}),
    )
    decision = ask(policy_set, facts())
    assert decision.filter == AllOf((AnyOf((EU, US)), OPEN))
    assert cases(decision, "name") == (
        (EU, (MaskKind.REDACT, MaskKind.ROUND)),
        (TRUE, (MaskKind.HASH, MaskKind.REDACT, MaskKind.ROUND)),
    )


def test_hide_in_a_permit_is_not_showing() -> None:
    """Another permit may still show the column, in its own rows."""
    hiding = permit("eu", text(EU), show="name region", masks={"name": HIDE})
    assert cases(ask(customers(hiding), facts()), "name") is None
    both = customers(hiding, permit("us", text(US), show="name"))
    assert cases(ask(both, facts()), "name") == ((US, ()),)


def test_hide_in_a_restrict_takes_the_column_away() -> None:
    """Whatever permits show it."""
    policy_set = customers(permit("p", show="name region"), restrict("r", masks={"name": HIDE}))
    assert cases(ask(policy_set, facts()), "name") is None


def test_a_relation_of_which_no_column_is_left_is_denied() -> None:
    """Rows without columns would still tell their number."""
    policy_set = customers(permit("p", show="name"), restrict("r", masks={"name": HIDE}))
    assert reason(policy_set, facts()) is DenyReason.NO_PERMIT


def test_a_shown_column_that_the_policy_does_not_list_does_not_exist() -> None:
    """The list of columns is complete."""
    decision = ask(customers(permit("p", show="name nope")), facts())
    assert [column.name for column in decision.columns] == ["name"]


def test_rules_in_play_are_named_in_file_order() -> None:
    """With their places, permits and restricts alike."""
    policy_set = customers(
        permit("a", show="name", line=3), restrict("b", line=7), permit("c", to="analyst", show="name")
    )
    decision = ask(policy_set, facts())
    assert [(rule.name, rule.source.line) for rule in decision.rules] == [("a", 3), ("b", 7)]


def accounts_through(*rules: object, effect: Effect = Effect.PERMIT) -> Decision:
    """The decision on accounts that follow their customers, whose rules are given."""
    own = {
        Effect.PERMIT: [permit("follow", through(CUSTOMERS, "owner", "customer_id"), show="iban")],
        Effect.RESTRICT: [permit("all", show="iban"), restrict("follow", through(CUSTOMERS, "owner", "customer_id"))],
    }
    policy_set = policies(
        table(CUSTOMERS, "customer_id name region", *rules),  # type: ignore[arg-type]
        table(ACCOUNTS, "iban owner", *own[effect]),
    )
    return ask(policy_set, facts(), relation=ACCOUNTS)


def test_through_follows_the_visibility_of_the_other_relation() -> None:
    """Its own filter, for the same caller, on the paired columns."""
    for effect in Effect:
        decision = accounts_through(permit("eu", text(EU), show="name"), restrict("open", text(OPEN)), effect=effect)
        assert decision.filter == RefersTo(CUSTOMERS, (("owner", "customer_id"),), AllOf((EU, OPEN)))


def test_through_a_denied_relation_shows_no_row() -> None:
    """The relation itself stays permitted; its columns keep their type in a case that no row reaches."""
    for effect in Effect:
        decision = accounts_through(permit("p", to="analyst", show="name"), effect=effect)
        assert (decision.outcome, decision.filter) == (Outcome.PERMIT, FALSE)
        assert [column.name for column in decision.columns] == ["iban"]


def test_a_column_of_rows_that_are_never_shown_is_null_elsewhere() -> None:
    """The permit through a denied relation is false, so another permit's rows have no owner."""
    policy_set = policies(
        table(ACCOUNTS, "iban owner", permit("f", through(CUSTOMERS, "owner"), show="owner"), permit("p", show="iban"))
    )
    decision = ask(policy_set, facts(), relation=ACCOUNTS)
    assert cases(decision, "owner") == ((FALSE, ()),)
    assert cases(decision, "iban") == ((TRUE, ()),)


def test_relations_that_refer_in_a_circle_show_nothing() -> None:
    """The circle grounds nothing, and the decision ends."""
    there = through(ACCOUNTS, "customer_id")
    policy_set = policies(
        table(CUSTOMERS, "customer_id", permit("a", there, show="customer_id")),
        table(ACCOUNTS, "customer_id", permit("b", through(CUSTOMERS, "customer_id"), show="customer_id")),
    )
    assert ask(policy_set, facts()).filter == FALSE


def test_a_long_way_of_references_shows_nothing() -> None:
    """Depth is bounded; the near miss is a shorter way."""
    names = [RelationName("s", f"r{number}") for number in range(40)]
    hops = [table(own, "k", permit("p", through(there, "k"), show="k")) for own, there in pairwise(names)]
    policy_set = policies(*hops, table(names[-1], "k", permit("p", show="k")))
    assert ask(policy_set, facts(), relation=names[0]).filter == FALSE
    assert ask(policy_set, facts(), relation=names[-18]).filter == FALSE
    assert ask(policy_set, facts(), relation=names[-17]).filter != FALSE


def test_callers_with_the_same_rules_share_a_shape() -> None:
    """Attribute values are bindings; they are no part of it."""
    policy_set = customers(permit("p", "region = :principal.region", show="name"))
    eu = ask(policy_set, facts(entitled(region="EU")), Caller.of("ann"))
    us = ask(policy_set, facts(entitled(region="US")), Caller.of("bob"))
    assert eu.shape == us.shape
    assert hash(eu.shape) == hash(us.shape)
    assert eu.bindings != us.bindings
