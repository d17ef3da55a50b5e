"""What was read before a change, or by another caller, does not come into a session late."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm.loading import merge_frozen_result

from datagate import errors
from datagate.frontends.orm import masked_columns
from fixtures.market.callers import BOSS, CLERK
from fixtures.market.models import Order, Person
from tests.frontends.orm.conftest import Market


def _shown(person: Any, key: str) -> object:
    """An attribute, or the class of the refusal to show it."""
    try:
        return getattr(person, key)
    except errors.Error as refused:
        return next(each for each in (errors.RowGone, errors.UndefinedColumn) if isinstance(refused, each))


@pytest.mark.parametrize("gated", [True, False])
def test_merging_without_a_query(market: Market, gated: bool) -> None:
    """``merge(load=False)`` of what somebody else read shows what this caller sees."""
    with market.Session(caller=BOSS) if gated else orm.Session(market.plain) as wider:
        people = wider.scalars(sa.select(Person).where(Person.id.in_([2, 3])).order_by(Person.id)).all()
        assert [len(each.orders) for each in people] == [3, 3]
    with market.Session(caller=CLERK) as session:
        two, three = (session.merge(each, load=False) for each in people)
        assert [_shown(two, key) for key in ("name", "email", "ssn")] == [
            "name 2", "***@shop.example", errors.UndefinedColumn,
        ]  # fmt: skip
        assert len(two.orders) == 2
        assert _shown(three, "name") is errors.RowGone


def test_merging_a_hidden_attribute(market: Market) -> None:
    """What another one read of a column that this caller does not see stays behind; what was assigned is refused."""
    with market.Session(caller=BOSS) as wider:
        person = wider.get_one(Person, 2)
        assert person.ssn == "ssn-2"
    with market.Session(caller=CLERK) as session:
        assert _shown(session.merge(person), "ssn") is errors.UndefinedColumn
        session.rollback()
        person.ssn = "mine"
        session.merge(person)
        with pytest.raises(errors.Refused, match=r"Person\.ssn"):
            session.commit()
    assert market.sql("SELECT ssn FROM market.people WHERE id = 2") == [("ssn-2",)]


@pytest.mark.parametrize("load", [True, False])
def test_a_result_that_was_kept(market: Market, load: bool) -> None:
    """A frozen result, as caches of results keep them, gives each caller his own sight of its rows."""
    query = sa.select(Person).where(Person.id.in_([2, 3])).order_by(Person.id)
    with market.Session(caller=BOSS) as wider:
        frozen = wider.execute(query).freeze()
    with market.Session(caller=CLERK) as session:
        merged: Any = merge_frozen_result(session, query, frozen, load=load)  # type: ignore[no-untyped-call]
        people = merged().scalars().all()
        assert [_shown(people[0], key) for key in ("name", "ssn")] == ["name 2", errors.UndefinedColumn]
        assert load or _shown(people[1], "name") is errors.RowGone


@pytest.mark.parametrize("size", [None, 1])
def test_rows_that_were_not_loaded_yet(market: Market, size: int | None) -> None:
    """Objects that are made of rows which were read before a change are read again, as those made before it are."""
    with market.Session(caller=CLERK) as session:
        order = session.get_one(Order, 4)
        rows = session.scalars(sa.select(Person).where(Person.id.in_([2, 4, 6])).order_by(Person.id))
        first = session.get_one(Person, 2) if size is None else next(rows.partitions(size))[0]
        late = session.scalars(sa.select(Person).where(Person.id.in_([8, 10])).order_by(Person.id))
        assert first.name == "name 2"
        market.store.grant_attribute("carl", "regions", ("US",))
        assert order.amount == 40
        assert [_shown(each, "name") for each in late] == [errors.RowGone] * 2
        if size is not None:
            assert [_shown(each, "name") for each in rows] == [errors.RowGone] * 2


def test_an_object_that_was_deleted(market: Market) -> None:
    """What a session deleted and did not commit yet is not shown after a change either."""
    market.sql("DELETE FROM market.order_tags")
    market.sql("DELETE FROM market.orders")
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        session.delete(person)
        session.flush()
        assert person.name == "name 2"
        market.store.grant_attribute("carl", "regions", ("US",))
        assert _shown(person, "name") is errors.RowGone
        session.rollback()


def test_classes_of_aliases_and_subqueries(market: Market) -> None:
    """What a class or attribute takes from a table by an alias or a subquery is hidden and marked like the rest."""
    people: Any = Person.__table__
    other = people.alias()
    chosen = sa.select(people.c.id, people.c.email, sa.func.upper(people.c.email).label("loud")).subquery()

    class Base(orm.DeclarativeBase):
        pass

    class OfAlias(Base):
        __table__ = people.alias()
        __mapper_args__ = {"primary_key": [__table__.c.id]}

    class OfSubquery(Base):
        __table__ = chosen
        __mapper_args__ = {"primary_key": [chosen.c.id]}

    class Plain(Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "market"}
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    for key, column in (("mail", other.c.email), ("number", other.c.ssn)):
        found = sa.select(column).where(other.c.id == Plain.id).scalar_subquery()
        sa.inspect(Plain).add_property(key, orm.column_property(found))
    with market.Session(caller=CLERK) as session:
        alias: Any = session.get_one(OfAlias, 2)
        assert masked_columns(alias) == {"email"}
        assert _shown(alias, "ssn") is errors.UndefinedColumn
        subquery: Any = session.get_one(OfSubquery, 2)
        assert masked_columns(subquery) == {"email", "loud"}
        assert subquery.loud == "***@SHOP.EXAMPLE"
        plain: Any = session.get_one(Plain, 2)
        assert masked_columns(plain) == {"mail"}
        assert _shown(plain, "number") is errors.UndefinedColumn


def test_an_attribute_that_is_mapped_late(market: Market) -> None:
    """What is added to a class that is in use is hidden, marked and asked about like the rest."""

    class Base(orm.DeclarativeBase):
        pass

    class Citizen(Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "market"}
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    with market.Session(caller=CLERK) as session:
        assert session.get_one(Citizen, 2).id == 2
        for key in ("name", "email", "ssn"):
            setattr(Citizen, key, sa.Column(key, sa.Text))
        session.expunge_all()
        late: Any = session.get_one(Citizen, 2)
        assert (late.name, late.email) == ("name 2", "***@shop.example")
        assert masked_columns(late) == {"email"}
        assert _shown(late, "ssn") is errors.UndefinedColumn
        market.store.grant_attribute("carl", "regions", ("US",))
        assert _shown(late, "name") is errors.RowGone
