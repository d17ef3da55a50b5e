"""Totality: for any well-typed input there is a decision, and it keeps its shape's promises."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from datagate.decision import decide
from datagate.decision.filters import FALSE, binding_names
from datagate.model.caller import Actor, ActorKind, Caller
from datagate.model.decision import Outcome, Request
from datagate.model.facts import Entitlements, Epoch, Facts, Mandate
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import MandateId, PrincipalId, Purpose, RelationName
from datagate.model.policy import (
    Action,
    Effect,
    PolicySet,
    Predicate,
    PurposeTree,
    RelationPolicy,
    RowRule,
    Rule,
    Scope,
    ScopeRelation,
    Through,
    When,
)
from datagate.model.source import NOWHERE
from datagate.model.values import AttributeValue, Scalar, ValueType

names = st.sampled_from(["a", "b", "c", ""])
wild_text = st.text(max_size=3)
relations = st.builds(RelationName, st.just("s"), names)
purposes = names.map(Purpose)
people = names.map(PrincipalId)
mandate_ids = names.map(MandateId)
nowhere = st.just(NOWHERE)
moments = st.datetimes() | st.datetimes(timezones=st.timezones())
some_names = st.frozensets(names)
scalars: st.SearchStrategy[Scalar] = st.one_of(
    wild_text, st.integers(), st.decimals(), st.booleans(), st.dates(), moments, st.uuids(), st.binary(max_size=3)
)
values: st.SearchStrategy[AttributeValue] = scalars | st.lists(scalars, max_size=3).map(tuple)
attributes = st.dictionaries(names | st.sampled_from(["id", "kind"]), values)
placeholders = st.one_of(
    st.sampled_from(["now", "purpose", "principal.id", "actor.id", "actor.kind", "principal", ""]),
    st.builds("{}.{}".format, st.sampled_from(["principal", "actor", "mandate", "x"]), names),
)
predicates = st.builds(Predicate, wild_text, st.lists(placeholders, max_size=3).map(tuple), st.just(()), nowhere)
throughs = st.builds(Through, relations, st.lists(st.tuples(names, names), max_size=2).map(tuple), nowhere)
row_rules: st.SearchStrategy[RowRule | None] = st.none() | predicates | throughs
kinds = st.sampled_from(ActorKind)
masks = st.lists(st.tuples(names, st.builds(Mask, st.sampled_from(MaskKind), st.just(()), nowhere)), max_size=3)
rules = st.builds(
    Rule,
    name=names,
    effect=st.sampled_from([Effect.PERMIT, Effect.PERMIT, Effect.RESTRICT]),
    to=st.just(frozenset[str]()) | some_names,
    purposes=st.just(frozenset[Purpose]()) | st.frozensets(purposes),
    when=st.just(When())
    | st.builds(When, st.none() | st.frozensets(kinds), st.none() | st.booleans(), st.none() | some_names),
    rows=row_rules,
    consent=st.booleans(),
    show=some_names,
    masks=masks.map(tuple),
    insert=some_names,
    update=some_names,
    delete=st.booleans(),
    source=nowhere,
)
table_policies = st.builds(
    RelationPolicy,
    relations,
    st.lists(st.tuples(names, names), max_size=4).map(tuple),
    st.none() | names,
    st.lists(rules, max_size=4).map(tuple),
    names,
    names,
    nowhere,
)
actions = st.sampled_from(Action)
scopes = st.builds(
    Scope,
    names,
    st.lists(st.tuples(names, st.sampled_from(ValueType)), max_size=2).map(tuple),
    st.dictionaries(
        relations, st.builds(ScopeRelation, st.none() | some_names, st.frozensets(actions), st.none() | predicates)
    ),
    st.booleans(),
    nowhere,
)
policy_sets = st.builds(
    PolicySet,
    version=names,
    purposes=st.builds(PurposeTree, st.dictionaries(purposes, st.none() | purposes)),
    roles=some_names,
    attributes=st.dictionaries(names | st.sampled_from(["id", "kind"]), st.sampled_from(ValueType)),
    tags=some_names,
    scopes=st.dictionaries(names, scopes),
    functions=some_names,
    relations=st.dictionaries(relations, table_policies),
)
entitlements = st.builds(Entitlements, some_names, attributes)
mandates = st.builds(
    Mandate,
    id=mandate_ids,
    principal=people,
    holder=people,
    scope=names,
    parameters=attributes,
    purposes=st.frozensets(purposes),
    valid_from=moments,
    valid_until=st.none() | moments,
    revoked_at=st.none() | moments,
    parent=st.none() | mandate_ids,
    sub_delegable=st.integers(-1, 3),
)
all_facts = st.builds(
    Facts,
    entitlements,
    entitlements,
    st.lists(mandates, max_size=3).map(tuple),
    st.just(Epoch((), 0)),
    st.none() | moments,
)
callers = st.builds(
    Caller,
    people,
    st.builds(Actor, people, kinds),
    st.none() | mandate_ids,
    st.none() | purposes,
)
requests = st.builds(Request, callers, relations, actions, moments)


@settings(
    max_examples=250,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(requests, policy_sets, all_facts)
def test_there_is_always_a_decision(request: Request, policy_set: PolicySet, known: Facts) -> None:
    """Nothing raises; a permit has a value for each binding it names and a column to show; a denial is empty."""
    decision = decide(request, policy_set, known)
    assert (decision.relation, decision.action) == (request.relation, request.action)
    if decision.outcome is Outcome.DENY:
        assert decision.denial is not None
        assert (decision.filter, decision.columns, dict(decision.bindings), decision.rules) == (FALSE, (), {}, ())
        return
    assert decision.denial is None
    assert decision.columns
    named = set(binding_names(decision.filter))
    for column in decision.columns:
        assert column.cases
        named.update(name for case in column.cases for name in binding_names(case.when))
        assert all(mask.kind is not MaskKind.HIDE for case in column.cases for mask in case.masks)
    assert named == decision.bindings.keys()
    assert hash(decision.shape) == hash(decide(request, policy_set, known).shape)
    assert decision == decide(request, policy_set, known)
