"""All that SQLAlchemy's ORM can do with a session, it does with a gated one: the caller's own rows and cells."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import exc as orm_exc

from datagate import errors
from fixtures.market.callers import BOSS, CLERK, SELLER
from fixtures.market.models import Employee, Order, Person, Tag, order_tags
from tests.frontends.orm.conftest import Market

LOADERS = {
    "lazy": orm.lazyload,
    "joined": orm.joinedload,
    "selectin": orm.selectinload,
    "subquery": orm.subqueryload,
    "immediate": orm.immediateload,
}


@pytest.mark.parametrize("loader", list(LOADERS))
def test_loading(market: Market, loader: str) -> None:
    """Relationships show what the caller sees, and hidden columns stay hidden, whichever way they are loaded."""
    load = LOADERS[loader]
    query = sa.select(Person).options(load(Person.orders).options(load(Order.tags), load(Order.person)))
    with market.Session(caller=CLERK) as session:
        people = session.scalars(query.order_by(Person.id)).unique().all()
        assert [each.id for each in people] == list(range(2, 41, 2))
        assert [order.id for order in people[0].orders] == [4, 6]
        assert all(order.secrecy < 2 and order.person is person for person in people for order in person.orders)
        assert people[0].orders[0].tags[0].word == "word 5"
        with pytest.raises(errors.UndefinedColumn, match=r"Person\.ssn"):
            _ = people[0].orders[0].person.ssn


def test_writeonly_and_raise_loaders(market: Market) -> None:
    """raiseload, noload and contains_eager keep their meaning."""
    with market.Session(caller=CLERK) as session:
        person = session.scalars(sa.select(Person).options(orm.raiseload(Person.orders)).limit(1)).one()
        with pytest.raises(sa.exc.InvalidRequestError):
            _ = person.orders
        session.expunge_all()
        joined = (
            sa.select(Person).join(Person.orders).where(Order.amount > 100).options(orm.contains_eager(Person.orders))
        )
        found = session.scalars(joined.where(Person.id == 4)).unique().one()
        assert [order.amount for order in found.orders] == [120]


def test_get_refresh_and_hidden_rows(market: Market) -> None:
    """Get finds the caller's rows only; refresh reads anew; a hidden row is none."""
    with market.Session(caller=CLERK) as session:
        assert session.get(Person, 3) is None
        person = session.get_one(Person, 2)
        market.sql("UPDATE market.people SET name = 'new' WHERE id = 2")
        assert person.name == "name 2"
        session.refresh(person)
        assert person.name == "new"
        session.refresh(person, attribute_names=["about"])
        assert person.about == "about 2"
        session.expire(person)
        assert (person.name, person.about, person.label) == ("new", "about 2", "new / EU")
        with pytest.raises(errors.UndefinedColumn):
            _ = person.ssn
        with pytest.raises(sa.exc.NoResultFound):
            session.get_one(Person, 3)


def test_properties_and_inheritance(market: Market) -> None:
    """Hybrids, column properties and subclasses."""
    with market.Session(caller=CLERK) as session:
        staff = session.scalars(sa.select(Employee).order_by(Employee.id)).all()
        assert [(each.id, each.salary) for each in staff] == [(n, n * 100) for n in (10, 20, 30, 40)]
        mixed = session.scalars(sa.select(Person).where(Person.id.in_([10, 12])).order_by(Person.id)).all()
        assert [type(each) for each in mixed] == [Employee, Person]
        assert mixed[0].salary == 1000  # type: ignore[attr-defined]
        wide = orm.with_polymorphic(Person, [Employee])
        assert session.scalars(sa.select(wide).where(wide.Employee.salary == 2000)).one().id == 20
        selectin = sa.select(Person).options(orm.selectin_polymorphic(Person, [Employee])).where(Person.id == 30)
        session.expunge_all()
        assert session.scalars(selectin).one().salary == 3000  # type: ignore[attr-defined]
        assert session.scalars(sa.select(Person.label).where(Person.label == "name 2 / EU")).one() == "name 2 / EU"
        order = session.get_one(Order, 4)
        assert order.double == 80  # type: ignore[attr-defined]
        assert mixed[0].spent == 280 + 300  # type: ignore[attr-defined]
        aliased = orm.aliased(Person)
        pairs = sa.select(Person, aliased).join(aliased, aliased.id == Person.id + 2).where(Person.id == 2)
        left, right = session.execute(pairs).one()
        assert (left.name, right.name) == ("name 2", "name 4")
        with pytest.raises(errors.UndefinedColumn):
            _ = right.ssn


def test_subqueries_of_classes(market: Market) -> None:
    """A class in a subquery, a CTE or a union lists the columns that the caller sees."""
    with market.Session(caller=CLERK) as session:
        inner = sa.select(Person).where(Person.id < 10)
        assert session.scalar(sa.select(sa.func.count()).select_from(inner.subquery())) == 4
        person = orm.aliased(Person, inner.cte())
        assert [each.id for each in session.scalars(sa.select(person).order_by(person.id))] == [2, 4, 6, 8]
        both = inner.union_all(sa.select(Person).where(Person.id == 40))
        assert len(session.scalars(sa.select(Person).from_statement(both)).all()) == 5
        assert session.query(Person).filter(Person.id < 10).count() == 4
        assert session.query(Person).filter(Person.orders.any(Order.amount > 1190)).count() == 1
        text = sa.text("SELECT id, kind, name, region, version FROM market.people ORDER BY id LIMIT 1")
        assert session.scalars(sa.select(Person).from_statement(text)).one().name == "name 2"


def test_streams(market: Market) -> None:
    """yield_per, partitions and server-side cursors."""
    with market.Session(caller=CLERK) as session:
        rows = session.scalars(sa.select(Person).order_by(Person.id), execution_options={"yield_per": 3})
        assert [len(part) for part in rows.partitions()] == [3] * 6 + [2]
        options = {"stream_results": True, "max_row_buffer": 4}
        rows = session.scalars(sa.select(Order).order_by(Order.id), execution_options=options)
        assert len(rows.all()) == 80
        assert len(session.query(Person).yield_per(5).all()) == 20


def test_locks(market: Market) -> None:
    """with_for_update locks the caller's rows, in query, get and refresh."""
    with market.Session(caller=CLERK) as session:
        person = session.scalars(sa.select(Person).where(Person.id == 2).with_for_update()).one()
        assert session.get(Person, 4, with_for_update={"skip_locked": True}) is not None
        session.refresh(person, with_for_update=True)
        with market.plain.connect() as other, pytest.raises(sa.exc.OperationalError):
            other.execute(sa.text("SELECT 1 FROM market.people WHERE id = 2 FOR UPDATE NOWAIT"))


def test_unit_of_work(market: Market) -> None:
    """New, changed and deleted objects are flushed in the order that their references ask for."""
    with market.Session(caller=CLERK) as session:
        person = Person(kind="person", name="ada", region="EU")
        person.orders = [Order(amount=5, secrecy=0, tags=[session.get_one(Tag, 1), Tag(word="new")])]
        session.add(person)
        session.commit()
        assert person.id >= 1000
        assert (person.version, person.orders[0].tags[1].word) == (1, "new")
        person.name = "ada l."
        person.orders[0].tags.pop(0)
        session.commit()
        assert person.version == 2
        assert market.sql("SELECT name, ssn FROM market.people WHERE id = %s", person.id) == [("ada l.", None)]
        gone = person.id
        session.delete(person)
        session.commit()
        assert market.sql("SELECT count(*) FROM market.people WHERE id = %s", gone) == [(0,)]
    assert market.sql("SELECT count(*) FROM market.order_tags WHERE order_id >= 1000") == [(0,)]


def test_nobody_writes_beyond_his_rows(market: Market) -> None:
    """A row that would not satisfy the policy is refused, and one that is hidden is not found to be changed."""
    with market.Session(caller=CLERK) as session:
        session.add(Person(kind="person", name="abroad", region="US"))
        with pytest.raises(sa.exc.DBAPIError) as refused:
            session.flush()
        assert refused.value.orig.sqlstate == "44000"  # type: ignore[union-attr]
        session.rollback()
        hidden = Person(id=3, kind="person", name="x", region="EU", version=1)
        orm.make_transient_to_detached(hidden)
        session.add(hidden)
        hidden.name = "y"
        # It is read anew, as what another session read is, and is not there.
        with pytest.raises(orm_exc.ObjectDeletedError):
            session.flush()
    assert market.sql("SELECT name FROM market.people WHERE id = 3") == [("name 3",)]


def test_versions(market: Market) -> None:
    """A row that somebody changed meanwhile is noticed."""
    with market.Session(caller=CLERK) as one, market.Session(caller=BOSS) as other:
        mine, theirs = one.get_one(Person, 2), other.get_one(Person, 2)
        theirs.name = "theirs"
        other.commit()
        mine.name = "mine"
        with pytest.raises(orm_exc.StaleDataError):
            one.commit()


def test_bulk(market: Market) -> None:
    """Bulk INSERT with and without RETURNING, bulk UPDATE by key, UPDATE and DELETE by condition."""
    with market.Session(caller=CLERK) as session:
        rows = [{"person_id": 2, "amount": n, "secrecy": 1, "remark": "bulk"} for n in range(30)]
        session.execute(sa.insert(Order), rows)
        made = session.scalars(sa.insert(Order).returning(Order), rows).all()
        assert len({order.id for order in made}) == 30
        assert {order.remark for order in made} == {"bulk"}
        session.execute(sa.update(Order), [{"id": order.id, "amount": -1} for order in made[:3]])
        assert session.scalar(sa.select(sa.func.count()).where(Order.amount == -1)) == 3
        session.commit()
        changed = session.execute(sa.update(Order).where(Order.remark == "bulk").values(remark="done"))
        assert changed.rowcount == 60  # type: ignore[attr-defined]
        assert made[0].remark == "done"
        returned = session.scalars(sa.update(Order).where(Order.amount == -1).values(amount=-2).returning(Order)).all()
        assert [order.amount for order in returned] == [-2] * 3
        fetched = sa.delete(Order).where(Order.remark == "done").execution_options(synchronize_session="fetch")
        assert session.execute(fetched).rowcount == 60  # type: ignore[attr-defined]
        assert session.execute(sa.delete(order_tags).where(order_tags.c.order_id == 4)).rowcount == 1  # type: ignore[attr-defined]
        session.bulk_insert_mappings(Order.__mapper__, rows[:2])
        session.bulk_save_objects([Order(person_id=2, amount=1, secrecy=0)])
        session.commit()
        # What others' rows hold is neither counted nor touched.
        assert session.execute(sa.update(Order).where(Order.id < 4).values(amount=0)).rowcount == 2  # type: ignore[attr-defined]
    assert market.sql("SELECT amount FROM market.orders WHERE id = 2") == [(20,)]


def test_many_new_objects(market: Market) -> None:
    """Flushing many objects uses insertmanyvalues, and each object gets its own key."""
    with market.Session(caller=CLERK) as session:
        orders = [Order(person_id=2, amount=n, secrecy=n % 2) for n in range(1500)]
        session.add_all(orders)
        session.commit()
        for order in (orders[0], orders[777], orders[-1]):
            assert market.sql("SELECT amount FROM market.orders WHERE id = %s", order.id) == [(orders.index(order),)]


def test_merge_and_events(market: Market) -> None:
    """Merge finds or makes; events fire."""
    fired: list[str] = []
    with market.Session(caller=CLERK) as session:
        sa.event.listen(session, "before_flush", lambda *_: fired.append("flush"))
        sa.event.listen(session, "do_orm_execute", lambda _: fired.append("execute"))
        merged = session.merge(Person(id=2, name="merged"))
        assert (merged.name, merged.region) == ("merged", "EU")
        session.merge(Tag(word="made"))
        session.commit()
    assert {"flush", "execute"} <= set(fired)
    assert market.sql("SELECT name FROM market.people WHERE id = 2") == [("merged",)]


def test_a_class_whose_discriminator_is_seen_but_not_its_columns(market: Market) -> None:
    """A caller who sees few columns loads objects with those; the others say so."""
    with market.Session(caller=SELLER) as session:
        person = session.scalars(sa.select(Person).order_by(Person.id)).first()
        assert person is not None
        assert (person.id, person.name, person.email) == (1, "name 1", "mail1@shop.example")
        for hidden in ("region", "ssn", "about", "spent"):
            with pytest.raises(errors.UndefinedColumn, match=hidden):
                getattr(person, hidden)
        with pytest.raises(sa.exc.ProgrammingError):
            session.scalars(sa.select(Person.region)).all()
        with pytest.raises(sa.exc.ProgrammingError):
            _: Any = person.orders
