"""Examples: how they are read, and when they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import pytest

from datagate.model.caller import ActorKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import PolicySet
from datagate.model.values import AttributeValue, ValueType
from datagate.policy import Examples, MandateState, PolicySource, compare, load_examples, read_source
from datagate.policy.cells import Cell, attribute_value, same
from tests.policy.reader import SmallReader

Load = Callable[..., PolicySet]
RULES = "  - permit: own-record\n    to: {role: customer}\n    show: all\n"
EXAMPLES = """
examples:
  types: {ssn: varchar}
  given:
    shop.orders:
      first: {order_id: 1, customer_id: 1}
  rows:
    ann: {customer_id: 1, email: ann@x.example}
    bob: {customer_id: 2}
  cases:
    - as: {id: u1, role: [customer, analyst], customer_id: 1, regions: [EU]}
      for: marketing
      consents: [ann, first]
      sees: [ann]
      hides: [ssn]
      cells: {ann: {email: '***'}}
    - as: {role: customer}
      actor: {kind: agent}
      denied: true
    - as: {role: customer}
      actor: {kind: agent, id: bot, regions: []}
      mandate: {scope: proxy, parameters: {customer_id: 1}, state: revoked}
      for: analytics
      sees: []
"""


@pytest.fixture
def examples(load: Load, shop: Path) -> Examples:
    """The examples above."""
    load(RULES, customers=EXAMPLES)
    (found,) = load_examples(shop, SmallReader())
    return found


def test_rows_have_names_and_places(examples: Examples) -> None:
    """Own rows and those of other relations are found by name."""
    ann, first = examples.row("ann"), examples.row("first")
    assert ann is not None
    assert first is not None
    assert ann.cells == {"customer_id": 1, "email": "ann@x.example"}
    assert (ann.relation, first.relation) == (RelationName("shop", "customers"), RelationName("shop", "orders"))
    assert ann.source.line > first.source.line
    assert examples.row("nobody") is None
    assert examples.types == {"ssn": "varchar"}


def test_a_case_has_a_caller(examples: Examples) -> None:
    """Roles, typed attributes, purpose and consents are those of the file; the actor is the principal."""
    case = examples.cases[0]
    assert case.principal.id == "u1"
    assert case.principal.roles == {"customer", "analyst"}
    assert case.principal.attributes == {"customer_id": 1, "regions": ("EU",)}
    assert (case.actor, case.actor_kind, case.mandate) == (case.principal, ActorKind.PERSON, None)
    assert (case.purpose, case.consents) == (Purpose("marketing"), ("ann", "first"))


def test_an_actor_without_a_mandate_is_the_principal(examples: Examples) -> None:
    """Only its kind can differ."""
    case = examples.cases[1]
    assert (case.actor, case.actor_kind, case.sees) == (case.principal, ActorKind.AGENT, None)


def test_a_delegate_has_a_mandate(examples: Examples) -> None:
    """With a mandate the actor is somebody else; the mandate is for the case's purpose."""
    case = examples.cases[2]
    assert case.mandate is not None
    assert (case.actor.id, case.actor.attributes) == ("bot", {"regions": ()})
    assert case.mandate.parameters == {"customer_id": 1}
    assert case.mandate.purposes == {"analytics"}
    assert case.mandate.state is MandateState.REVOKED


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        ({"ann": {"email": "***", "region": None}}, None),
        ({"ann": {"email": "ann@x.example"}}, "ann.email shows 'ann@x.example', should show '***'"),
        ({"ann": {"email": "***", "ssn": None}}, "column ssn should not exist"),
        ({"ann": {}}, "column email does not exist"),
        ({}, "should see ann, does not"),
        ({"ann": {"email": "***"}, "bob": {}}, "sees bob, should not"),
        (None, "is denied, should not be"),
    ],
)
def test_an_answer_is_compared(
    examples: Examples, seen: Mapping[str, Mapping[str, object]] | None, complaint: str | None
) -> None:
    """An example holds if exactly its rows, columns and cells were seen."""
    problems = compare(examples.cases[0], seen)
    assert [complaint in problem.what for problem in problems if complaint] == [True] * len(problems)
    assert bool(problems) is bool(complaint)
    assert all(problem.source == examples.cases[0].source for problem in problems)


def test_a_refusal_is_compared(examples: Examples) -> None:
    """A denied case holds only for a refusal; no rows is not a refusal."""
    denied = examples.cases[1]
    assert compare(denied, None) == []
    assert len(compare(denied, {})) == 1
    assert len(compare(denied, {"ann": {}})) == 1


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (None, None),
        (1, 1),
        (1, Decimal("1.00")),
        (Decimal("0.1"), 0.1),
        (True, True),
        ("x", "x"),
        ("2024-01-01", date(2024, 1, 1)),
        ("2024-01-01T01:00:00+01:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("192.0.2.0/24", ip_network("192.0.2.0/24")),
        ("c0ffee", b"\xc0\xff\xee"),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        ({"a": [1, None]}, {"a": [1, None]}),
    ],
)
def test_cells_that_are_the_same(wanted: Cell, shown: object) -> None:
    """Numbers by value, everything that YAML has no word for by its text."""
    assert same(wanted, shown)


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (None, ""),
        ("", None),
        (1, True),
        (True, 1),
        (1, "1"),
        ("1", 1.5),
        (1, float("nan")),
        ("2024-01-01", datetime(2024, 1, 1, tzinfo=UTC)),
        ("soon", datetime(2024, 1, 1, tzinfo=UTC)),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1], [1, 2]),
        ({"a": 1}, "a"),
    ],
)
def test_cells_that_are_not(wanted: Cell, shown: object) -> None:
    """NULL is no empty text, true is no number, and a date is no instant."""
    assert not same(wanted, shown)


@pytest.mark.parametrize(
    ("value", "type_", "read"),
    [
        ("x", ValueType.TEXT, "x"),
        (7, ValueType.INT, 7),
        (7, ValueType.NUMERIC, Decimal(7)),
        ("2024-02-29", ValueType.DATE, date(2024, 2, 29)),
        ("2024-02-29T12:00:00Z", ValueType.TIMESTAMPTZ, datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("00ff", ValueType.BYTEA, b"\x00\xff"),
        (False, ValueType.BOOL, False),
        ([1, 2], ValueType.BIGINT_ARRAY, (1, 2)),
        ([], ValueType.TEXT_ARRAY, ()),
    ],
)
def test_attributes_have_their_types(value: object, type_: ValueType, read: AttributeValue) -> None:
    """A YAML value becomes one of the declared type."""
    assert attribute_value(value, type_) == read


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (None, ValueType.TEXT),
        (1, ValueType.TEXT),
        ("1", ValueType.INT),
        (True, ValueType.INT),
        (1 << 31, ValueType.INT),
        (-(1 << 63) - 1, ValueType.BIGINT),
        ("2024-02-30", ValueType.DATE),
        ("2024-02-29T12:00:00", ValueType.TIMESTAMPTZ),
        ("x", ValueType.TEXT_ARRAY),
        ([[1]], ValueType.INT_ARRAY),
        (1, ValueType.BOOL),
        ("zz", ValueType.BYTEA),
    ],
)
def test_attributes_of_another_type_are_refused(value: object, type_: ValueType) -> None:
    """Nothing is converted that a steward did not write."""
    with pytest.raises(ValueError, match=r"wanted here|is no"):
        attribute_value(value, type_)


def test_the_bank_has_both_answers() -> None:
    """Every example policy has a case that sees rows and one that is denied."""
    source: PolicySource = read_source(Path(__file__).parents[2] / "policies", SmallReader())
    assert {found.relation for found in source.examples} == set(source.policies.relations)
    for found in source.examples:
        assert any(case.sees for case in found.cases), found.relation
        assert any(case.sees is None for case in found.cases), found.relation
