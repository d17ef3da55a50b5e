"""Laws of the decision, over generated policies, callers and rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from datagate.decision.widening import only_widens
from datagate.model.caller import ActorKind, Caller
from datagate.model.decision import Outcome
from datagate.model.facts import Entitlements, Facts
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import (
    Action,
    Effect,
    PolicySet,
    RelationPolicy,
    RowRule,
    Rule,
    Scope,
    ScopeRelation,
    When,
)
from datagate.model.source import NOWHERE, SourceRef
from datagate.model.values import ValueType
from tests.decision import builders
from tests.decision.builders import PURPOSES, ask, facts, mandate, mask, permit, predicate, restrict, table, through
from tests.decision.naive import World, cell, expected, narrower, shown

NEAR, FAR = RelationName("s", "near"), RelationName("s", "far")
COLUMNS = ["k", "x", "y"]
LETTERS = ["a", "b"]
ROLES = ["r", "s"]
ANYBODY: frozenset[str] = frozenset()
ANY_PURPOSE: frozenset[Purpose] = frozenset()
SCOPES = ["one", "two"]
KINDS = [MaskKind.HASH, MaskKind.REDACT, MaskKind.ROUND, MaskKind.HIDE]

HASHED = {"k": mask(MaskKind.HASH)}
ROUNDED = {"k": mask(MaskKind.ROUND)}

letters = st.sampled_from(LETTERS)
columns = st.sampled_from(COLUMNS)
column_sets = st.frozensets(columns, min_size=1)
TAX, MARKETING, EMAIL = map(Purpose, ("tax", "marketing", "marketing.email"))
purposes = st.sampled_from([EMAIL, EMAIL, MARKETING, TAX])
# Every row that there can be: laws are shown for all of them at once, and few policies show nothing.
ROWS = [dict(zip(COLUMNS, values, strict=True)) for values in product([*LETTERS, None], repeat=len(COLUMNS))]
rule_placeholders = ["principal.one", "actor.one"]


def predicates(placeholders: list[str]) -> st.SearchStrategy[str]:
    """Texts of the tests' predicate language."""
    return st.one_of(
        st.builds("{} = '{}'".format, columns, letters),
        st.builds("{} = :{}".format, columns, st.sampled_from(placeholders)),
        st.builds("{} = ANY(:{})".format, columns, st.sampled_from(["principal.many", "actor.many"])),
    )


whens = st.builds(
    When,
    actor_kinds=st.none() | st.sampled_from([frozenset({ActorKind.AGENT}), frozenset({ActorKind.PERSON})]),
    delegated=st.none() | st.booleans(),
    scopes=st.none() | st.sampled_from([frozenset({"one"}), frozenset({"two"})]),
)
masks: st.SearchStrategy[tuple[tuple[str, Mask], ...]] = st.dictionaries(
    columns, st.sampled_from([mask(kind) for kind in KINDS]), max_size=3
).map(lambda chosen: tuple(chosen.items()))


@st.composite
def rules(
    draw: st.DrawFn,
    rows: st.SearchStrategy[RowRule | None],
    when: st.SearchStrategy[When],
    effect: Effect | None = None,
) -> Rule:
    """One rule; its name and place are of no account."""
    chosen = effect or draw(st.sampled_from([Effect.PERMIT, Effect.PERMIT, Effect.RESTRICT]))
    return Rule(
        name="rule",
        effect=chosen,
        to=draw(st.sampled_from([ANYBODY, ANYBODY, ANYBODY, frozenset({"r"}), frozenset(ROLES)])),
        purposes=draw(
            st.sampled_from([ANY_PURPOSE, ANY_PURPOSE, ANY_PURPOSE, frozenset({MARKETING}), frozenset({EMAIL, TAX})])
        ),
        when=draw(when),
        rows=draw(rows),
        consent=draw(st.sampled_from([False, False, False, True])),
        show=draw(column_sets) if chosen is Effect.PERMIT else frozenset(),
        masks=draw(masks),
        insert=frozenset(),
        update=frozenset(),
        delete=False,
        source=SourceRef("p.yaml", draw(st.integers(1, 9)), 1),
    )


any_when = st.sampled_from([True, True, False]).flatmap(lambda plain: st.just(When()) if plain else whens)
own_rows: st.SearchStrategy[RowRule | None] = st.none() | predicates(rule_placeholders).map(predicate)
near_rows: st.SearchStrategy[RowRule | None] = own_rows | st.just(through(FAR, "k"))


def policy_of(relation: RelationName, chosen: list[Rule]) -> RelationPolicy:
    """A relation's policy over the tests' columns; k is the data subject."""
    return table(relation, " ".join(COLUMNS), *chosen, data_subject="k")


def scope_relations() -> st.SearchStrategy[ScopeRelation]:
    """What a scope hands over of a relation."""
    return st.builds(
        ScopeRelation,
        columns=st.sampled_from([None, None, frozenset({"x", "y"}), frozenset({"k"})]),
        actions=st.sampled_from([frozenset({Action.SELECT})] * 9 + [frozenset({Action.DELETE})]),
        rows=st.none() | predicates([*rule_placeholders, "mandate.one"]).map(predicate),
    )


scopes = st.builds(
    Scope,
    name=st.just("s"),
    parameters=st.just((("one", ValueType.TEXT),)),
    relations=st.fixed_dictionaries({NEAR: scope_relations(), FAR: scope_relations()}),
    intersect_actor=st.sampled_from([False, False, True]),
    source=st.just(NOWHERE),
)


def policy_sets(near: list[Rule], far: list[Rule], handed: list[Scope]) -> PolicySet:
    """A policy set over both relations."""
    return PolicySet(
        version="v",
        purposes=PURPOSES,
        roles=frozenset(ROLES),
        attributes={"one": ValueType.TEXT, "many": ValueType.TEXT_ARRAY},
        tags=frozenset(),
        scopes={name: replace(scope, name=name) for name, scope in zip(SCOPES, handed, strict=True)},
        functions=frozenset(),
        relations={NEAR: policy_of(NEAR, near), FAR: policy_of(FAR, far)},
    )


near_rules = st.lists(rules(near_rows, any_when), min_size=1, max_size=4)
policies = st.builds(
    policy_sets,
    near_rules,
    st.lists(rules(own_rows, any_when), min_size=1, max_size=3),
    st.tuples(scopes, scopes).map(list),
)
entitlements = st.builds(
    lambda roles, one, many: Entitlements(roles, {"one": one, "many": many}),
    st.sampled_from([frozenset(ROLES), frozenset({"r"}), frozenset({"s"}), ANYBODY]),
    letters,
    st.sampled_from([("a", "b"), ("a",), ()]),
)
worlds = st.builds(
    World,
    tables=st.just({NEAR: ROWS, FAR: ROWS}),
    consents=st.fixed_dictionaries(
        {}, optional={(who, why): st.booleans() for who in LETTERS for why in (EMAIL, MARKETING, TAX)}
    ),
)
callers = st.builds(
    lambda kind, purpose: Caller.of("ann", actor_kind=kind, purpose=purpose),
    st.sampled_from([ActorKind.PERSON, ActorKind.AGENT]),
    st.sampled_from([EMAIL, EMAIL, MARKETING, TAX, None]),
)


@st.composite
def delegations(draw: st.DrawFn, links: st.SearchStrategy[int]) -> tuple[Caller, Facts]:
    """A caller under a live chain of so many links, all for the caller's purpose, and the facts."""
    count = draw(links)
    caller = draw(callers.filter(lambda each: each.purpose is not None) if count else callers)
    chain = tuple(
        mandate(
            draw(st.sampled_from(SCOPES)),
            id=f"m{number}",
            holder="bot" if number == 0 else "eve",
            purposes=str(caller.purpose),
            parent=f"m{number + 1}" if number + 1 < count else None,
            sub_delegable=number,
            one=draw(st.sampled_from(LETTERS)),
        )
        for number in range(count)
    )
    if count:
        kind = caller.actor.kind
        caller = Caller.of("ann", actor="bot", actor_kind=kind, mandate="m0", purpose=str(caller.purpose))
    own = draw(entitlements)
    return caller, facts(own, *chain, actor=draw(entitlements) if count else own)


law = settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])


@law
@given(policies, delegations(st.integers(0, 2)), worlds, st.sampled_from([NEAR, FAR]))
def test_a_decision_shows_what_the_policy_says(
    policy_set: PolicySet, asking: tuple[Caller, Facts], world: World, relation: RelationName
) -> None:
    """Row by row and cell by cell, what §3 says; only whether nothing at all is denied or empty may differ."""
    caller, known = asking
    decision = ask(policy_set, known, caller, relation=relation)
    assert (shown(decision, world) or {}) == (expected(policy_set, caller, known, world, relation) or {})


@law
@given(policies, callers, entitlements)
def test_deny_by_default(policy_set: PolicySet, caller: Caller, own: Entitlements) -> None:
    """Without permits nothing is permitted, whatever the restricts."""
    policy = policy_set.relations[NEAR]
    restricts = [rule for rule in policy.rules if rule.effect is Effect.RESTRICT]
    bare = replace(policy_set, relations={NEAR: policy_of(NEAR, restricts)})
    assert ask(bare, facts(own), caller, relation=NEAR).outcome is Outcome.DENY


def with_rule(policy_set: PolicySet, rule: Rule, place: int) -> PolicySet:
    """The policy set with one more rule for NEAR."""
    before = list(policy_set.relations[NEAR].rules)
    return replace(
        policy_set, relations={**policy_set.relations, NEAR: policy_of(NEAR, [*before[:place], rule, *before[place:]])}
    )


@law
@given(policies, rules(near_rows, any_when, Effect.PERMIT), st.integers(0, 4), callers, entitlements, worlds)
def test_one_more_permit_shows_no_less(
    policy_set: PolicySet, rule: Rule, place: int, caller: Caller, own: Entitlements, world: World
) -> None:
    """Every row stays, and every cell that was shown is still shown; raw cells stay raw."""
    before = shown(ask(policy_set, facts(own), caller, relation=NEAR), world)
    after = shown(ask(with_rule(policy_set, rule, place), facts(own), caller, relation=NEAR), world)
    for number, cells in (before or {}).items():
        assert after is not None
        for column, seen in cells.items():
            assert seen is None or after[number][column] is not None
            assert seen != () or after[number][column] == ()


@law
@given(policies, callers, st.frozensets(st.sampled_from(ROLES)), letters | st.none(), worlds)
def test_a_role_that_only_widens_takes_nothing_away(
    policy_set: PolicySet, caller: Caller, held: frozenset[str], one: str | None, world: World
) -> None:
    """Whoever is given such a role sees each row and cell as before, or more; nothing that was not denied is."""
    own = Entitlements(held - {"r"}, {"many": ("a",)} | ({} if one is None else {"one": one}))
    for relation in (NEAR, FAR) if only_widens("r", own, policy_set) else ():
        before = ask(policy_set, facts(own), caller, relation=relation)
        after = ask(policy_set, facts(replace(own, roles=own.roles | {"r"})), caller, relation=relation)
        assert narrower(shown(before, world), shown(after, world))


@pytest.mark.parametrize(
    ("rules", "widens"),
    [
        ([permit("p", "region = ANY(:principal.regions)", to="new", show="k x")], True),
        ([permit("p", "region = :principal.region", to="new", show="k x")], False),
        ([permit("p", through(FAR, "k"), to="new", show="k")], False),
        ([permit("p", "k = :purpose", to="new", show="k")], False),
        ([permit("p", to="old", show="k"), restrict("q", "k = 'a'")], True),
        ([permit("p", to="old", show="k"), restrict("q", "k = 'a'", to="new")], False),
        ([permit("p", to="new", show="k", masks=HASHED), permit("q", to="old", show="k")], True),
        ([permit("p", to="old", show="k", masks=ROUNDED), permit("q", to="new", show="k", masks=HASHED)], True),
        ([permit("p", to="new", show="k", masks=HASHED), permit("q", to="old", show="k", masks=ROUNDED)], False),
    ],
)  # fmt: skip
def test_roles_that_only_widen(rules: list[Rule], widens: bool) -> None:
    """Restricts, attributes that are not there, other relations and masks that come first can take something away."""
    policy_set = builders.policies(policy_of(NEAR, rules))
    own = builders.entitled("old", regions=("EU",))
    assert only_widens("new", own, policy_set) is widens
    assert only_widens("unheard-of", own, policy_set)


@law
@given(policies, rules(near_rows, any_when, Effect.RESTRICT), st.integers(0, 4), delegations(st.integers(0, 2)), worlds)
def test_one_more_restrict_shows_no_more(
    policy_set: PolicySet, rule: Rule, place: int, asking: tuple[Caller, Facts], world: World
) -> None:
    """No row is added, and no cell is rawer."""
    caller, known = asking
    before = shown(ask(policy_set, known, caller, relation=NEAR), world)
    after = shown(ask(with_rule(policy_set, rule, place), known, caller, relation=NEAR), world)
    assert narrower(after, before)


@law
@given(policies, delegations(st.integers(1, 2)), worlds)
def test_delegation_never_widens(policy_set: PolicySet, asking: tuple[Caller, Facts], world: World) -> None:
    """Cell by cell, a delegate sees no more than the principal does in person for the same purpose."""
    caller, known = asking
    delegate = shown(ask(policy_set, known, caller, relation=NEAR), world)
    person = Caller.of("ann", actor_kind=caller.actor.kind, purpose=str(caller.purpose))
    principal = shown(ask(policy_set, facts(known.principal), person, relation=NEAR), world)
    assert narrower(delegate, principal)


@law
@given(policies, delegations(st.integers(2, 3)), worlds)
def test_a_sub_mandate_never_widens_its_parent(
    policy_set: PolicySet, asking: tuple[Caller, Facts], world: World
) -> None:
    """Cell by cell, the same actor sees no more under a sub-mandate than under the mandate above."""
    caller, known = asking
    below = shown(ask(policy_set, known, caller, relation=NEAR), world)
    parents = (replace(known.chain[1], holder=caller.actor.id), *known.chain[2:])
    above = replace(caller, mandate=parents[0].id)
    wider = shown(ask(policy_set, replace(known, chain=parents), above, relation=NEAR), world)
    assert narrower(below, wider)


@law
@given(policies, delegations(st.integers(0, 1)), worlds)
def test_withdrawn_consent_hides(policy_set: PolicySet, asking: tuple[Caller, Facts], world: World) -> None:
    """Without any consent no row is added; where every permit requires it, none is left."""
    caller, known = asking
    withdrawn = replace(world, consents=dict.fromkeys(world.consents, False))
    decision = ask(policy_set, known, caller, relation=NEAR)
    assert (shown(decision, withdrawn) or {}).keys() <= (shown(decision, world) or {}).keys()
    strict = [replace(rule, consent=True) for rule in policy_set.relations[NEAR].rules]
    required = replace(policy_set, relations={**policy_set.relations, NEAR: policy_of(NEAR, strict)})
    assert not shown(ask(required, known, caller, relation=NEAR), withdrawn)


@law
@given(policies, callers, entitlements, worlds)
def test_permits_never_leak_each_others_cells(
    policy_set: PolicySet, caller: Caller, own: Entitlements, world: World
) -> None:
    """Each cell of the union is shown as one of the permits alone shows it in that very row."""
    union = shown(ask(policy_set, facts(own), caller, relation=NEAR), world)
    every = policy_set.relations[NEAR].rules
    restricts = [rule for rule in every if rule.effect is Effect.RESTRICT]
    alone = []
    for rule in every:
        if rule.effect is Effect.PERMIT:
            single = replace(policy_set, relations={**policy_set.relations, NEAR: policy_of(NEAR, [rule, *restricts])})
            alone.append(shown(ask(single, facts(own), caller, relation=NEAR), world) or {})
    for number, cells in (union or {}).items():
        for column, seen in cells.items():
            # No way at all: the row is one of a permit whose every column a restrict takes away.
            ways = [view[number].get(column) for view in alone if number in view]
            assert seen in ways if any(way is not None for way in ways) else seen is None


def test_the_naive_reader_prefers_raw() -> None:
    """The oracle itself: a raw permit wins over an earlier masked one."""
    masked = rules_of(masks=(("x", mask(MaskKind.HASH)),))
    assert cell("x", [masked, rules_of()], []) == ()
    assert cell("x", [masked], []) == (MaskKind.HASH,)
    assert cell("y", [masked], []) is None


def rules_of(masks: tuple[tuple[str, Mask], ...] = ()) -> Rule:
    """A permit that shows x."""
    return Rule(
        "r",
        Effect.PERMIT,
        frozenset(),
        frozenset(),
        When(),
        None,
        False,
        frozenset({"x"}),
        masks,
        frozenset(),
        frozenset(),
        False,
        NOWHERE,
    )
