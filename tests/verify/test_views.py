"""A view without a policy of its own: its query stands in, with each relation in it guarded."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import Mismatch, MismatchKind, Prescription, verify
from tests.verify.world import (
    CATALOG,
    FUNCTIONS,
    PRESCRIPTIONS,
    VIEWS,
    body,
    check,
    expand,
    pair,
    passes,
    plain,
    refusal,
    relation_name,
)


@pytest.mark.parametrize(
    "template",
    [
        "SELECT * FROM {bank.emails}",
        "SELECT e.email FROM {emails AS e(a, b)}, {customers AS c} WHERE e.a = c.id",
        "SELECT * FROM {bank.nested}",
        "WITH customers AS (SELECT 1 AS id, 'x' AS email, 2 AS balance) SELECT * FROM {emails}, customers",
        "SELECT (SELECT max(email) FROM {emails}) FROM {nested}",
    ],
)
def test_a_view_is_its_query_with_guards(template: str) -> None:
    """Views in views too; the caller's WITH does not reach into them."""
    passes(template)


def test_only_before_a_view_says_nothing() -> None:
    """A view has no heirs that it could leave out."""
    check("SELECT * FROM ONLY bank.emails AS e", f"SELECT * FROM ({body('bank.emails')}) AS e")


def test_a_fence_may_stand_around_a_view() -> None:
    """Without conditions, since the columns of a view are not known here."""
    final = "SELECT e.id FROM (SELECT * FROM ({}) AS e{} OFFSET 0) AS e WHERE e.id = 1"
    original = "SELECT e.id FROM bank.emails AS e WHERE e.id = 1"
    check(original, final.format(body("bank.emails"), ""))
    assert refusal(original, final.format(body("bank.emails"), " WHERE e.id = 1")) is MismatchKind.GUARD


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (expand("{bank.customers}"), "bank.customers"),
        (expand("{bank.customers}"), "customers"),
        (expand("{bank.customers}"), expand("{public.customers}")),
        (" WHERE customers.balance > 0", ""),
        ("balance > 0", "balance > 1"),
        ("customers.email FROM", "customers.email, customers.region FROM"),
        ("SELECT customers.id, customers.email", "SELECT *"),
    ],
)
def test_a_changed_view_is_refused(old: str, new: str) -> None:
    """A view's text is held to its own original."""
    good = body("bank.emails")
    assert old in good
    final = "SELECT * FROM ({}) AS emails"
    check("SELECT * FROM bank.emails", final.format(good))
    assert refusal("SELECT * FROM bank.emails", final.format(good.replace(old, new))) in (
        MismatchKind.GUARD,
        MismatchKind.TREE,
    )


@pytest.mark.parametrize(
    ("original", "final"),
    [
        ("SELECT * FROM bank.emails", "SELECT * FROM bank.emails"),
        ("SELECT * FROM bank.emails AS e", "SELECT * FROM ({emails}) AS f"),
        ("SELECT * FROM bank.emails AS e", "SELECT * FROM ({nested}) AS e"),
        ("SELECT * FROM bank.emails AS e TABLESAMPLE system (1)", "SELECT * FROM ({emails}) AS e"),
        ("SELECT * FROM bank.emails AS e", "SELECT * FROM LATERAL ({emails}) AS e"),
    ],
)
def test_a_view_in_another_way_is_refused(original: str, final: str) -> None:
    """The bare view, another view, another name, a sample."""
    text = final.replace("{emails}", body("bank.emails")).replace("{nested}", body("bank.nested"))
    assert refusal(original, text) is MismatchKind.GUARD


@pytest.mark.parametrize(
    ("view", "kind"),
    [
        ("SELECT customers.id FROM customers", MismatchKind.GUARD),
        ("SELECT forgotten.id FROM public.forgotten", MismatchKind.GUARD),
        ("SELECT pg_sleep(1) AS id", MismatchKind.FORBIDDEN),
        ("SELECT 1; SELECT 2", MismatchKind.STATEMENT),
        ("WITH x AS (DELETE FROM bank.customers RETURNING id) SELECT id FROM x", MismatchKind.FORBIDDEN),
    ],
)
def test_a_view_that_names_what_is_not_allowed_is_refused(view: str, kind: MismatchKind) -> None:
    """Inside a view the same lists hold, and only names with a schema."""
    prescriptions = {**PRESCRIPTIONS, relation_name("bank.emails"): Prescription(None, view)}
    with pytest.raises(Mismatch) as caught:
        verify(
            "SELECT * FROM bank.emails",
            f"SELECT * FROM ({view.partition(';')[0]}) AS emails",
            catalog=CATALOG,
            prescriptions=prescriptions,
            functions=FUNCTIONS,
        )
    assert caught.value.kind is kind


@pytest.mark.parametrize("view", ["SELECT kyc.id FROM kyc", "SELECT kyc.id FROM {kyc}"])
@pytest.mark.parametrize("caller", ["SELECT * FROM {}", "WITH kyc AS (SELECT 1 AS id) SELECT * FROM {}"])
def test_a_view_names_nothing_without_its_schema(view: str, caller: str) -> None:
    """What it would mean depends on who asks: on his WITH and his search path."""
    with pytest.raises(Mismatch) as caught:
        verify(
            caller.format("bank.emails"),
            caller.format(f"({expand(view)}) AS emails"),
            catalog=CATALOG,
            prescriptions={**PRESCRIPTIONS, relation_name("bank.emails"): Prescription(None, plain(view))},
            functions=FUNCTIONS,
        )
    assert caught.value.kind is MismatchKind.GUARD


def test_a_views_own_with_hides_what_it_hides() -> None:
    """The scope of a view is its own."""
    view = "WITH kyc AS (SELECT 1 AS id) SELECT kyc.id FROM kyc, {public.kyc AS k}"
    prescriptions = {**PRESCRIPTIONS, relation_name("bank.emails"): Prescription(None, plain(view))}
    verify(
        "SELECT * FROM bank.emails",
        f"SELECT * FROM ({expand(view)}) AS emails",
        catalog=CATALOG,
        prescriptions=prescriptions,
        functions=FUNCTIONS,
    )
    assert pair(VIEWS["bank.emails"]).original == plain(VIEWS["bank.emails"])
