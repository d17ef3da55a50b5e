"""A mask never reaches the table, and what a collection does not show is not touched."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from datagate import errors
from datagate.frontends.orm import masked_columns
from fixtures.market.callers import BOSS, CLERK
from fixtures.market.models import Order, Person
from tests.frontends.orm.conftest import Market


def _email(market: Market, number: int) -> Any:
    return market.sql("SELECT email FROM market.people WHERE id = %s", number)[0][0]


def test_masked_values_are_marked(market: Market) -> None:
    """The marks are there in the session, after it, and for a pickled object; other objects have none."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert masked_columns(person) == {"email"}
        assert masked_columns(session.get_one(Order, 4)) == frozenset()
    assert masked_columns(person) == {"email"}
    assert masked_columns(pickle.loads(pickle.dumps(person))) == {"email"}  # noqa: S301 - our own
    assert masked_columns(Person(name="x")) == frozenset()
    with market.Session(caller=BOSS) as session:
        assert masked_columns(session.get_one(Person, 2)) == frozenset()
    with orm.Session(market.plain) as plain:
        assert masked_columns(plain.get_one(Person, 2)) == frozenset()


def test_writing_to_a_masked_or_hidden_attribute(market: Market) -> None:
    """The attribute's name is told, and nothing is written."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        for attribute in ("email", "ssn"):
            setattr(person, attribute, "other")
            with pytest.raises(errors.Refused, match=f"Person.{attribute}"):
                session.flush()
            session.rollback()
        session.add(Person(kind="person", name="new", region="EU", email="new@x.example"))
        with pytest.raises(errors.Refused, match=r"Person\.email"):
            session.commit()
    assert (_email(market, 2), market.sql("SELECT count(*) FROM market.people")) == ("mail2@shop.example", [(40,)])


def test_writing_from_a_masked_attribute(market: Market) -> None:
    """A mask that is assigned to another attribute is recognised, of the same object, of another, and of a new one."""
    with market.Session(caller=CLERK) as session:
        person, other = session.get_one(Person, 2), session.get_one(Person, 4)
        other.about = person.email
        with pytest.raises(errors.Refused, match=r"Person\.about would be written from Person\.email"):
            session.flush()
        session.rollback()
        session.add(Order(person_id=2, amount=1, secrecy=0, remark=session.get_one(Person, 2).email))
        with pytest.raises(errors.Refused, match=r"Order\.remark"):
            session.flush()
        session.rollback()
        person.about = "real"
        session.commit()
    assert market.sql("SELECT about FROM market.people WHERE id = 2") == [("real",)]


def test_a_mask_does_not_travel_by_merge(market: Market) -> None:
    """An object of a caller who sees masks is merged into the session of one who may write: without the masks."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        session.expunge(person)
        person.name = "changed"
    with market.Session(caller=BOSS) as session:
        session.merge(person)
        session.commit()
    assert market.sql("SELECT name, email FROM market.people WHERE id = 2") == [("changed", "mail2@shop.example")]


def test_a_mask_does_not_travel_by_a_copy(market: Market) -> None:
    """An object that was made transient is not inserted with its masks, even by one who may write the column."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert person.orders
    orm.make_transient(person)
    person.id = 999
    with market.Session(caller=BOSS) as session:
        session.add(person)
        with pytest.raises(errors.Refused, match=r"Person\.email"):
            session.commit()
    assert market.sql("SELECT count(*) FROM market.people WHERE id = 999") == [(0,)]


def test_a_filtered_collection_deletes_what_it_shows(market: Market) -> None:
    """delete-orphan takes the removed order, never the hidden one."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        market.sql("DELETE FROM market.order_tags")
        person.orders = []
        session.commit()
    assert market.sql("SELECT id FROM market.orders WHERE person_id = 2") == [(5,)]


def test_a_parent_of_hidden_rows_is_not_deleted(market: Market) -> None:
    """Deleting a parent cascades to what the caller sees; the hidden child keeps it, and nothing happens."""
    market.sql("DELETE FROM market.order_tags")
    with market.Session(caller=CLERK) as session:
        session.delete(session.get_one(Person, 2))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
    assert market.sql("SELECT count(*) FROM market.orders WHERE person_id = 2") == [(3,)]


def test_a_narrower_collection_is_not_merged(market: Market) -> None:
    """Merging what a narrower caller read does not remove what he did not see."""
    with market.Session(caller=CLERK) as session:
        person = session.scalars(sa.select(Person).options(orm.selectinload(Person.orders)).where(Person.id == 2)).one()
    with market.Session(caller=BOSS) as session:
        assert len(session.get_one(Person, 2).orders) == 3
        with pytest.raises(errors.Refused, match=r"Person\.orders"):
            session.merge(person)
        session.rollback()
    assert market.sql("SELECT count(*) FROM market.orders WHERE person_id = 2") == [(3,)]


def test_a_hidden_parent_is_not_let_go(market: Market) -> None:
    """A reference to a row that the caller does not see shows None, and flushing the rest keeps the reference."""
    market.sql("UPDATE market.orders SET person_id = 1 WHERE id = 4")
    with market.Session(caller=CLERK) as session:
        order = session.get_one(Order, 4)
        parent: Person | None = order.person
        assert parent is None
        order.amount = 1
        session.commit()
    assert market.sql("SELECT person_id, amount FROM market.orders WHERE id = 4") == [(1, 1)]
