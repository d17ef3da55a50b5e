"""From files to the model."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from datagate.errors import PolicyError
from datagate.model.caller import ActorKind
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Action, Effect, PolicySet, Predicate, Rule, Through
from datagate.model.values import ValueType
from datagate.policy import load_policies
from tests.policy.reader import SmallReader

CUSTOMERS = RelationName("shop", "customers")
ORDERS = RelationName("shop", "orders")
Load = Callable[..., PolicySet]
Faults = Callable[..., list[str]]


def first(policies: PolicySet) -> Rule:
    """The first rule of the customers."""
    return policies.relations[CUSTOMERS].rules[0]


def test_a_whole_directory(shop: Path) -> None:
    """Words, relations, columns in order, scopes and the data subject arrive as written."""
    policies = load_policies(shop, SmallReader())
    assert policies.purposes.chain(Purpose("marketing.email")) == ("marketing.email", "marketing")
    assert policies.roles == {"analyst", "customer"}
    assert policies.attributes == {"regions": ValueType.TEXT_ARRAY, "customer_id": ValueType.BIGINT}
    assert policies.tags == {"plain", "identifier", "email", "national-id"}
    assert policies.functions == {"shop.risk"}
    assert set(policies.relations) == {CUSTOMERS, ORDERS}
    customers = policies.relations[CUSTOMERS]
    assert customers.columns[0] == ("customer_id", "identifier")
    assert customers.data_subject == "customer_id"
    assert (customers.owner, customers.why) == ("data@shop.example", "Own record.")
    scope = policies.scopes["proxy"]
    assert scope.parameters == (("customer_id", ValueType.BIGINT),)
    handed = scope.relations[CUSTOMERS]
    assert (handed.columns, handed.actions) == (None, frozenset({Action.SELECT}))
    assert handed.rows is not None
    assert handed.rows.placeholders == ("mandate.customer_id",)
    assert not scope.intersect_actor


def test_a_rule_knows_its_place(shop: Path) -> None:
    """Rules, predicates and masks point at the line that a steward must look at."""
    customers = load_policies(shop, SmallReader()).relations[CUSTOMERS]
    rule = customers.rules[0]
    assert str(rule.source) == f"{(shop / 'customers.yaml').as_posix()}:7:5"
    assert isinstance(rule.rows, Predicate)
    assert str(rule.rows.source) == f"{(shop / 'customers.yaml').as_posix()}:9:11"
    assert rule.rows.placeholders == ("principal.customer_id",)
    assert rule.rows.columns == ("customer_id",)


def test_conditions(load: Load) -> None:
    """``to``, ``for`` and ``when`` take one name or several; what is left out is no condition."""
    rule = first(
        load(
            "  - permit: p\n"
            "    to: {role: [analyst, customer]}\n"
            "    for: [marketing]\n"
            "    when: {actor.kind: [agent, service], delegated: true, mandate.scope: proxy}\n"
            "    show: all\n"
        )
    )
    assert rule.to == {"analyst", "customer"}
    assert rule.purposes == {"marketing"}
    assert rule.when.actor_kinds == frozenset({ActorKind.AGENT, ActorKind.SERVICE})
    assert rule.when.delegated is True
    assert rule.when.scopes == frozenset({"proxy"})
    bare = first(load("  - permit: p\n    show: all\n"))
    assert (bare.to, bare.purposes, bare.rows) == (frozenset(), frozenset(), None)
    assert (bare.when.actor_kinds, bare.when.delegated, bare.when.scopes) == (None, None, None)


def test_rows_through_another_relation(shop: Path) -> None:
    """``on`` is a column of the same name on both sides, or pairs of own and there."""
    through = load_policies(shop, SmallReader()).relations[ORDERS].rules[0].rows
    assert isinstance(through, Through)
    assert (through.relation, through.on) == (CUSTOMERS, (("customer_id", "customer_id"),))
    orders = shop / "orders.yaml"
    orders.write_text(orders.read_text().replace("on: customer_id", "on: {order_id: customer_id, note: email}"))
    through = load_policies(shop, SmallReader()).relations[ORDERS].rules[0].rows
    assert isinstance(through, Through)
    assert through.on == (("order_id", "customer_id"), ("note", "email"))


def test_a_mask_on_a_column_shows_it(load: Load) -> None:
    """Masked columns count as shown."""
    rule = first(load("  - permit: p\n    show: [region]\n    masks: {email: email}\n"))
    assert rule.show == {"region", "email"}


def test_a_mask_on_a_tag_shows_nothing(load: Load) -> None:
    """A tag's mask says how a column is shown, not that it is."""
    rule = first(load("  - permit: p\n    show: [region]\n    masks: {tag:email: email, tag:plain: redact}\n"))
    assert rule.show == {"region"}
    assert [column for column, _ in rule.masks] == ["region"]


def test_a_column_goes_before_its_tag(load: Load) -> None:
    """A named column's own mask beats that of its tag."""
    rule = first(load("  - permit: p\n    show: all\n    masks: {tag:email: redact, email: email}\n"))
    mask = rule.mask("email")
    assert mask is not None
    assert mask.kind is MaskKind.EMAIL


def test_hide_on_a_permit_takes_the_column_away(load: Load) -> None:
    """``show: all`` without the hidden columns; no mask is left over."""
    rule = first(load("  - permit: p\n    show: all\n    masks: {tag:national-id: hide}\n"))
    assert rule.show == {"customer_id", "email", "region"}
    assert rule.masks == ()


def test_writing_all_leaves_out_what_is_masked(load: Load) -> None:
    """``update: all`` never names a column that the permit masks."""
    rule = first(
        load(
            "  - permit: p\n    show: all\n    masks: {email: email}\n"
            "    insert: all\n    update: all\n    delete: true\n"
        )
    )
    assert rule.insert == rule.update == {"customer_id", "ssn", "region"}
    assert rule.delete


def test_restricts_by_tag_reach_every_relation_that_has_it(load: Load) -> None:
    """A restrict of ``datagate.yaml`` stands after the relation's own rules, where a column has its tag."""
    policies = load("  - permit: p\n    show: all\n")
    *_, last = policies.relations[CUSTOMERS].rules
    assert (last.name, last.effect) == ("no-ids-for-agents", Effect.RESTRICT)
    assert [(column, mask.kind) for column, mask in last.masks] == [("ssn", MaskKind.HIDE)]
    assert last.source.file.endswith("datagate.yaml")
    assert all(rule.effect is Effect.PERMIT for rule in policies.relations[ORDERS].rules)


@pytest.mark.parametrize(
    ("spelled", "kind", "options"),
    [
        ("hide", MaskKind.HIDE, {}),
        ("null", MaskKind.NULL, {}),
        ("'null'", MaskKind.NULL, {}),
        ("redact", MaskKind.REDACT, {}),
        ("{redact: ''}", MaskKind.REDACT, {"value": ""}),
        ("{redact: gone}", MaskKind.REDACT, {"value": "gone"}),
        ("{keep_first: 0}", MaskKind.KEEP_FIRST, {"n": 0}),
        ("{keep_last: 4}", MaskKind.KEEP_LAST, {"n": 4}),
        ("email", MaskKind.EMAIL, {}),
        ("hash", MaskKind.HASH, {}),
        ("{hash: {key: k}}", MaskKind.HASH, {"key": "k"}),
        ("pseudonym", MaskKind.PSEUDONYM, {"domain": "plain", "key": "default"}),
        ("{pseudonym: {domain: d}}", MaskKind.PSEUDONYM, {"domain": "d", "key": "default"}),
        ("{truncate: quarter}", MaskKind.TRUNCATE, {"unit": "quarter"}),
        ("{round: 0.05}", MaskKind.ROUND, {"to": Decimal("0.05")}),
        ("{bucket: [-5, 0, 1.5]}", MaskKind.BUCKET, {"edges": (Decimal(-5), Decimal(0), Decimal("1.5"))}),
        ("ip_prefix", MaskKind.IP_PREFIX, {}),
        ("{ip_prefix: {v4: 16}}", MaskKind.IP_PREFIX, {"v4": 16, "v6": 48}),
        ("zip3", MaskKind.ZIP3, {}),
        ("{sql: upper(region)}", MaskKind.SQL, {"expression": "upper(region)"}),
    ],
)
def test_spellings_of_masks(load: Load, spelled: str, kind: MaskKind, options: dict[str, object]) -> None:
    """Every mask has one spelling, with the options that the model names."""
    rule = first(load(f"  - restrict: r\n    masks: {{region: {spelled}}}\n"))
    mask = rule.mask("region")
    assert mask is not None
    assert (mask.kind, dict(mask.options)) == (kind, options)


def test_masks_inside_of_json(load: Load) -> None:
    """Paths are names with dots, ``$.`` or not; each has a mask, with the column's tag as its pseudonym's domain."""
    rule = first(load("  - restrict: r\n    masks: {region: {json: {$.a.b: pseudonym, c: hide}}}\n"))
    mask = rule.mask("region")
    assert mask is not None
    paths = mask.option("paths")
    assert isinstance(paths, tuple)
    (one, inner), (other, hidden) = [entry for entry in paths if isinstance(entry, tuple)]
    assert isinstance(inner, Mask)
    assert isinstance(hidden, Mask)
    assert (one, inner.kind, inner.option("domain")) == ("a.b", MaskKind.PSEUDONYM, "plain")
    assert (other, hidden.kind) == ("c", MaskKind.HIDE)


def test_casts_and_strings_hold_no_placeholders(load: Load) -> None:
    """Only what the engine's scanner sees as a colon and a name is a placeholder."""
    rows = "region::text = ':principal.x' AND :now > '2024-01-01'::date AND region = :purpose"
    rule = first(load(f'  - permit: p\n    rows: "{rows}"\n    show: all\n'))
    assert isinstance(rule.rows, Predicate)
    assert rule.rows.placeholders == ("now", "purpose")


@pytest.mark.parametrize("key", ["rows", "to", "for", "when", "consent", "masks", "update", "insert"])
def test_null_is_never_no_condition(faults: Faults, key: str) -> None:
    """``rows: null`` is a mistake, not "all rows"; so with every other key."""
    assert "null is no value here; remove the key" in faults(f"  - permit: p\n    show: all\n    {key}: null\n")


@pytest.mark.parametrize(
    "condition", ["to: {role: []}", "for: []", "when: {}", "when: {actor.kind: []}", "rows: ''", "masks: {}", "to: {}"]
)
def test_empty_is_never_everyone(faults: Faults, condition: str) -> None:
    """An empty list or mapping is a mistake, not "everyone", "any" or "all"."""
    assert faults(f"  - permit: p\n    show: [region]\n    {condition}\n")


def test_consent_needs_a_data_subject(shop: Path) -> None:
    """Consent cannot be required where nobody is known to give it."""
    orders = shop / "orders.yaml"
    orders.write_text(orders.read_text() + "    consent: required\n")
    with pytest.raises(PolicyError, match="name the column under data_subject"):
        load_policies(shop, SmallReader())


def test_a_chain_of_relations_has_an_end(shop: Path) -> None:
    """References that the decision would not follow to their end are refused at load."""
    for number in range(20):
        there = "shop.customers" if number == 0 else f"shop.t{number - 1}"
        (shop / f"t{number}.yaml").write_text(
            f"relation: shop.t{number}\nowner: o@x.example\nwhy: Chain.\ncolumns: {{customer_id: identifier}}\n"
            f"rules:\n  - permit: p\n    rows: {{through: {there}, on: customer_id}}\n    show: all\n"
        )
    with pytest.raises(PolicyError, match="through more than 16 relations") as caught:
        load_policies(shop, SmallReader())
    assert len(caught.value.problems) == 4
