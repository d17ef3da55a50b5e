"""What a session holds in memory is not served across a change of rights, consents or policies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import exc as orm_exc

from datagate import errors
from datagate.errors import DatagateError, RowGone
from datagate.frontends.orm import masked_columns
from datagate.gate import Gate
from datagate.model.caller import Caller
from fixtures.market.callers import CALLERS, CLERK, SELLER
from fixtures.market.models import Order, Person
from tests.frontends.orm.conftest import MARKET, Market


def refusal(error: BaseException) -> DatagateError:
    """Our own error, in SQLAlchemy's or by itself."""
    found = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    assert isinstance(found, DatagateError), repr(found)
    return found


def test_a_withdrawn_consent(market: Market) -> None:
    """After a withdrawal the object is gone, for attributes and for get; others are as they were."""
    with market.Session(caller=SELLER) as session:
        one, two = session.get_one(Person, 1), session.get_one(Person, 2)
        assert (one.name, two.name) == ("name 1", "name 2")
        market.store.withdraw_consent("1", "offers")
        with pytest.raises(RowGone) as gone:
            _ = one.name
        assert isinstance(gone.value, orm_exc.ObjectDeletedError)
        assert isinstance(gone.value, errors.Refused)
        assert "Person" in str(gone.value)
        assert two.name == "name 2"
        assert session.get(Person, 1) is None
        assert session.get(Person, 2) is two


def test_a_consent_that_ends_by_itself(market: Market) -> None:
    """Nobody has to write anything for a consent to end."""
    until = datetime.now(UTC) + timedelta(seconds=1)
    market.store.give_consent("1", "offers", valid_until=until)
    with market.Session(caller=SELLER) as session:
        one = session.get_one(Person, 1)
        assert one.name == "name 1"
        (slept,) = market.sql("SELECT pg_sleep(1.05)")
        assert slept is not None
        with pytest.raises(RowGone):
            _ = one.name


def test_a_revoked_mandate(market: Market) -> None:
    """After a revocation nothing that was held is shown: attributes, relationships and get all refuse."""
    with market.Session(caller=CALLERS["errand"]) as session:
        person = session.get_one(Person, 2)
        order = person.orders[0]
        assert order.amount == 40
        market.store.revoke_mandate("errand-2")
        for ask in (lambda: order.amount, lambda: person.name, lambda: person.orders, lambda: session.get(Person, 2)):
            with pytest.raises((sa.exc.DBAPIError, errors.Error)) as refused:
                ask()
            assert isinstance(refusal(refused.value), errors.Refused | errors.RightsChanged)
            session.rollback()


def test_rights_that_widen_and_narrow(market: Market) -> None:
    """A new region shows in reloaded collections and queries; a region taken away takes its rows from memory."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert person.name == "name 2"
        market.store.grant_attribute("carl", "regions", ("US",))
        with pytest.raises(RowGone):
            _ = person.name
        session.rollback()
        assert len(session.scalars(sa.select(Person)).all()) == 20
        assert session.get_one(Person, 1).name == "name 1"


def test_masks_that_change(market: Market) -> None:
    """Another role shows another column and no mask: what is held is read again, as the new rights show it."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert person.email == "***@shop.example"
        assert masked_columns(person) == {"email"}
        market.store.grant_role("carl", "boss")
        assert person.email == "mail2@shop.example"
        assert masked_columns(person) == frozenset()
        assert person.ssn == "ssn-2"


def test_a_collection_is_read_again(market: Market) -> None:
    """A collection that held more than the caller may see now shows less, and nothing is deleted by that."""
    market.store.grant_role("carl", "boss")
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert [order.id for order in person.orders] == [4, 5, 6]
        market.sql("DELETE FROM datagate.entitlements WHERE principal = 'carl' AND name = 'boss'")
        assert [order.id for order in person.orders] == [4, 6]
        person.name = "still flushed"
        session.commit()
    assert market.sql("SELECT count(*) FROM market.orders WHERE person_id = 2") == [(3,)]


def test_what_was_changed_is_kept(market: Market) -> None:
    """A change of rights does not take the application's own changes from it."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        person.name = "mine"
        market.store.grant_role("carl", "boss")
        assert person.ssn == "ssn-2"
        assert person.name == "mine"
        session.commit()
    assert market.sql("SELECT name FROM market.people WHERE id = 2") == [("mine",)]


def test_other_policies(market: Market) -> None:
    """Where the gate's policies are replaced, objects show what the new ones say."""
    with market.Session(caller=CLERK) as session:
        order = session.get_one(Order, 4)
        assert order.remark == "remark 4"
        other = Gate.open(market.dsn, policies=MARKET / "stricter", state=market.store)
        market.gate.policies = other.policies
        with pytest.raises(errors.UndefinedColumn):
            _ = order.remark
        assert order.amount == 40


def test_an_entitlement_that_ends_by_itself(market: Market) -> None:
    """Nobody has to write anything for an entitlement to end."""
    until = datetime.now(UTC) + timedelta(seconds=1)
    market.store.grant_role("carl", "clerk", valid_until=until)
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert person.name == "name 2"
        market.sql("SELECT pg_sleep(1.05)")
        with pytest.raises((sa.exc.DBAPIError, errors.Error)) as refused:
            _ = person.name
        assert isinstance(refusal(refused.value), errors.UndefinedRelation | errors.Refused | errors.RightsChanged)


def test_nothing_is_read_again_without_a_change(market: Market) -> None:
    """Without a change, a loaded object costs no statement."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        seen = len(market.sink.records)
        for _ in range(1000):
            assert person.name == "name 2"
        market.store.grant_role("zoe", "clerk")
        market.store.give_consent("3", "something else")
        assert person.name == "name 2"
        assert len(market.sink.records) == seen


def test_other_mandates(market: Market) -> None:
    """Each caller's session follows his own rights only."""
    helper = replace(CALLERS["errand"], mandate=None, principal=CALLERS["errand"].actor.id)
    assert helper == Caller.of("hal", purpose="work")
    with market.Session(caller=helper) as session:
        two, four = session.acting_for("errand-2"), session.acting_for("errand-4")
        with two, four:
            assert two.get_one(Person, 2).name == "name 2"
            mine = four.get_one(Person, 4)
            market.store.revoke_mandate("errand-2")
            assert mine.name == "name 4"
