from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from datagate.decision.filters import all_of, any_of, binding_names, implies
from datagate.model.decision import FALSE, TRUE, AllOf, AnyOf, ConsentLive, Filter, RefersTo, Where
from datagate.model.names import Purpose
from tests.decision.builders import ACCOUNTS, CUSTOMERS, predicate

A, B, C = (Where(predicate(text), ()) for text in "abc")
CONSENT = ConsentLive("customer_id", (Purpose("tax"),), ("name",), ("recipients.principal",))

atoms: st.SearchStrategy[Filter] = st.sampled_from([A, B, C, CONSENT, TRUE, FALSE])
filters: st.SearchStrategy[Filter] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=8,
)


def _true(condition: Filter, facts: frozenset[Filter]) -> bool:
    match condition:
        case AllOf(parts):
            return all(_true(part, facts) for part in parts)
        case AnyOf(parts):
            return any(_true(part, facts) for part in parts)
        case _:
            return condition in facts


LEAVES: list[Filter] = [A, B, C, CONSENT]
ALL_FACTS = [frozenset(chosen) for size in range(5) for chosen in itertools.combinations(LEAVES, size)]


@given(st.lists(filters, max_size=4))
def test_all_of_means_all(parts: list[Filter]) -> None:
    """Whatever is simplified, the conjunction is true where all parts are."""
    simple = all_of(*parts)
    assert all(_true(simple, facts) == all(_true(part, facts) for part in parts) for facts in ALL_FACTS)


@given(st.lists(filters, max_size=4))
def test_any_of_means_any(parts: list[Filter]) -> None:
    """Whatever is simplified, the disjunction is true where some part is."""
    simple = any_of(*parts)
    assert all(_true(simple, facts) == any(_true(part, facts) for part in parts) for facts in ALL_FACTS)


@given(filters, filters)
def test_implies_is_sound(strong: Filter, weak: Filter) -> None:
    """What is said to be implied is true wherever the stronger filter is."""
    if implies(strong, weak):
        assert all(_true(weak, facts) for facts in ALL_FACTS if _true(strong, facts))


def test_constants_and_repeats_vanish() -> None:
    """Equal meaning gives equal shape."""
    assert all_of(TRUE, A, A, TRUE) == A
    assert all_of(A, FALSE) == FALSE
    assert any_of(FALSE, A, A) == A
    assert any_of(A, TRUE) == TRUE
    assert any_of(A, AnyOf((B, C))) == AnyOf((A, B, C))
    assert all_of(A, AllOf((B, C))) == AllOf((A, B, C))
    assert any_of(A, all_of(A, B)) == A
    assert all_of(A, any_of(A, B)) == A


def test_what_all_alternatives_share_is_set_before_them() -> None:
    """Two permits that both require consent ask for it once, where the engine can join."""
    assert any_of(all_of(A, CONSENT), all_of(B, CONSENT)) == AllOf((CONSENT, AnyOf((A, B))))


def test_only_what_is_shared_both_ways_is_set_before() -> None:
    """`a` implies `a or b`, and is not the same."""
    parts = all_of(any_of(A, B), CONSENT), all_of(A, C)
    assert any_of(*parts) == AnyOf(parts)
    assert any_of(*reversed(parts)) == AnyOf((parts[1], parts[0]))


def test_predicates_are_one_by_text_and_bindings() -> None:
    """The same words in two rules are one condition; with other bindings they are not."""
    first = Where(predicate("region = :actor.region", 1), (("actor.region", "actor.region"),))
    same = Where(predicate("region = :actor.region", 9), (("actor.region", "actor.region"),))
    other = Where(predicate("region = :actor.region", 1), (("actor.region", "principal.region"),))
    assert any_of(first, same) == first
    assert all_of(first, other) == AllOf((first, other))


def test_a_reference_under_a_stronger_filter_is_the_stronger() -> None:
    """A row there that passes more passes less; over another relation or key nothing follows."""
    on = (("customer_id", "customer_id"),)
    weak, strong = RefersTo(CUSTOMERS, on, A), RefersTo(CUSTOMERS, on, all_of(A, B))
    assert implies(strong, weak)
    assert not implies(weak, strong)
    assert not implies(strong, RefersTo(ACCOUNTS, on, A))
    assert not implies(strong, RefersTo(CUSTOMERS, (("id", "customer_id"),), A))


def test_binding_names_are_found_at_any_depth() -> None:
    """Bindings of a referenced relation's filter are the filter's own."""
    first = Where(predicate("a = :principal.region"), (("principal.region", "principal.region"),))
    second = Where(predicate("b = :actor.id"), (("actor.id", "actor.id"),))
    nested = all_of(CONSENT, any_of(first, RefersTo(CUSTOMERS, (), second)))
    assert list(binding_names(nested)) == ["recipients.principal", "principal.region", "actor.id"]


def test_consents_of_one_answer_are_asked_as_one() -> None:
    """What several rules and parties want of the same answer is one condition, which implies each of them."""
    of_actor = ConsentLive("customer_id", (Purpose("tax"),), ("email", "plain"), ("recipients.actor",))
    other = ConsentLive("customer_id", (Purpose("care"),), ("name",), ("recipients.principal",))
    both = all_of(CONSENT, other, of_actor)
    merged = ConsentLive(
        "customer_id", (Purpose("tax"),), ("email", "name", "plain"), ("recipients.actor", "recipients.principal")
    )
    assert both == AllOf((other, merged))
    assert implies(both, CONSENT)
    assert implies(both, of_actor)
    assert not implies(CONSENT, of_actor)
    assert not implies(CONSENT, merged)
