"""Policies against a catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from datagate.errors import Problem
from datagate.model.catalog import Catalog, Column, Relation, RelationKind
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Effect, PolicySet, PurposeTree, Rule, When
from datagate.model.source import NOWHERE
from datagate.policy import check_catalog, check_functions, check_types, load_policies
from datagate.policy.check import can_meet
from tests.policy.reader import SmallReader

Load = Callable[..., PolicySet]
TYPES = {"customer_id": "int8", "email": "text", "ssn": "varchar", "region": "text", "order_id": "int8", "note": "text"}


def column(name: str, number: int) -> Column:
    """A column of the type that its name has here."""
    type_ = TYPES.get(name, "text")
    return Column(
        name=name,
        number=number,
        type=type_,
        type_schema="pg_catalog",
        type_text=type_,
        base_type=type_,
        not_null=False,
        has_default=False,
        generated=False,
        identity="",
    )


def catalog(**relations: str) -> Catalog:
    """A catalog of the shop's relations, each with its columns' names."""
    found = {
        RelationName("shop", name): Relation(
            oid=number,
            name=RelationName("shop", name),
            kind=RelationKind.TABLE,
            columns=tuple(column(entry, place) for place, entry in enumerate(columns.split(), 1)),
            primary_key=(),
            parent=None,
            view_sql=None,
            view_columns=(),
        )
        for number, (name, columns) in enumerate(relations.items())
    }
    return Catalog(
        version="1",
        database="shop",
        server_version=180000,
        search_path=("pg_catalog", "shop"),
        relations=found,
        functions=frozenset({"lower", "upper"}),
        types=frozenset(),
        user_operators=frozenset(),
        user_functions=frozenset({"risk"}),
    )


WHOLE = catalog(customers="customer_id email ssn region", orders="order_id customer_id note")


class SomeMaskTypes:
    """Types as an engine might give them: hashes are text, rounding is for numbers."""

    def result_type(self, mask: Mask, column_type: str) -> str:
        """The type of the masked value."""
        if mask.kind is MaskKind.ROUND and not column_type.startswith("int"):
            raise ValueError("round is for numbers; use redact")
        return "text" if mask.kind is MaskKind.HASH else column_type


def whats(problems: Sequence[Problem]) -> list[str]:
    """The problems without their files' directory."""
    return [str(problem).rpartition("/")[2] for problem in problems]


def test_a_database_that_fits(shop: Path) -> None:
    """A catalog with exactly the policies' relations and columns gives no problem."""
    policies = load_policies(shop, SmallReader())
    assert check_catalog(policies, WHOLE) == []
    assert check_types(policies, WHOLE, SomeMaskTypes()) == []
    assert check_functions(policies, WHOLE, SmallReader()) == []


def test_columns_missing_and_new(shop: Path) -> None:
    """A column that one side lacks is told either way, and a relation that is missing."""
    policies = load_policies(shop, SmallReader())
    found = check_catalog(policies, catalog(customers="customer_id e_mail ssn region", order="order_id"))
    assert whats(found) == [
        "customers.yaml:1:1: column 'e_mail' of shop.customers has no tag; add it under columns",
        "customers.yaml:1:1: the database has no column 'email' in shop.customers; did you mean 'e_mail'?",
        "orders.yaml:1:1: the database has no relation shop.orders; did you mean 'shop.order'?",
    ]


def test_relations_without_a_policy_are_no_problem(shop: Path) -> None:
    """A relation of the database that no file names is denied, which is no mistake."""
    policies = load_policies(shop, SmallReader())
    more = catalog(customers="customer_id email ssn region", orders="order_id customer_id note", other="x")
    assert check_catalog(policies, more) == []


def test_a_mask_that_does_not_fit(load: Load) -> None:
    """The mask's own place and the engine's reason are told."""
    policies = load("  - permit: p\n    show: all\n    masks: {email: {round: 10}, customer_id: {round: 10}}\n")
    assert whats(check_types(policies, WHOLE, SomeMaskTypes())) == [
        "customers.yaml:9:20: shop.customers.email is text: round is for numbers; use redact"
    ]


def test_a_restrict_must_fit_what_it_narrows(load: Load) -> None:
    """A restrict comes after the permit's mask, so it must fit the type that this one gives."""
    rules = (
        "  - permit: p\n    show: all\n    masks: {customer_id: hash}\n"
        "  - restrict: r\n    masks: {customer_id: {round: 10}}\n"
    )
    (problem,) = whats(check_types(load(rules), WHOLE, SomeMaskTypes()))
    assert problem == "customers.yaml:11:26: shop.customers.customer_id is text: round is for numbers; use redact"


TWO_TYPES = (
    "  - permit: raw\n    {}\n    show: [customer_id]\n"
    "  - permit: hashed\n    {}\n    show: [customer_id]\n    masks: {{customer_id: hash}}\n"
)


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        ("to: {role: analyst}", "to: {role: customer}", True),
        ("for: [analytics]", "for: [marketing]", False),
        ("for: [marketing]", "for: [marketing.email]", True),
        ("for: [analytics]", "delete: false", True),
        ("when: {actor.kind: agent}", "when: {actor.kind: [person, service]}", False),
        ("when: {actor.kind: agent}", "when: {actor.kind: [person, agent]}", True),
        ("when: {delegated: true}", "when: {delegated: false}", False),
        ("when: {mandate.scope: proxy}", "when: {delegated: false}", False),
        ("when: {mandate.scope: proxy}", "when: {delegated: true}", True),
    ],
)
def test_one_caller_never_sees_two_types(load: Load, first: str, second: str, *, meet: bool) -> None:
    """Permits that can be in play for one caller must give a column one type; those that cannot meet need not."""
    found = whats(check_types(load(TWO_TYPES.format(first, second)), WHOLE, SomeMaskTypes()))
    assert len(found) == meet
    assert all("for one caller; use masks of one type" in problem for problem in found)


def rule(purposes: tuple[str, ...] = (), when: When | None = None) -> Rule:
    """A rule with these conditions."""
    return Rule(
        name="r",
        effect=Effect.PERMIT,
        to=frozenset(),
        purposes=frozenset(map(Purpose, purposes)),
        when=when or When(),
        rows=None,
        consent=False,
        show=frozenset(),
        masks=(),
        insert=frozenset(),
        update=frozenset(),
        delete=False,
        source=NOWHERE,
    )


def test_siblings_below_one_purpose_do_not_meet() -> None:
    """A caller has one purpose: two leaves of a tree do not meet, a leaf and its root do."""
    tree = PurposeTree({Purpose("m"): None, Purpose("m.a"): Purpose("m"), Purpose("m.b"): Purpose("m")})
    assert not can_meet(rule(("m.a",)), rule(("m.b",)), tree)
    assert can_meet(rule(("m.a",)), rule(("m",)), tree)
    assert not can_meet(rule(when=When(scopes=frozenset("x"))), rule(when=When(scopes=frozenset("y"))), tree)


def test_functions_must_be_known(load: Load) -> None:
    """A function is one of the engine's pure ones, or declared and there."""
    policies = load(
        "  - permit: p\n    rows: shop.risk(email)\n    show: all\n"
        "    masks: {region: {sql: pg_catalog.lowr(region)}}\n"
    )
    (problem,) = whats(check_functions(policies, WHOLE, SmallReader()))
    assert problem.endswith("function 'lowr' is not a pure built-in one; did you mean 'lower'?")
