"""Attempts to write what a session shows as a mask, by every way that leads to a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql

from datagate import errors
from fixtures.market.callers import BOSS, CLERK
from fixtures.market.models import Order, Person, Tag
from tests.frontends.orm.conftest import Market

PEOPLE: Any = Person.__table__
Way = Callable[[Any, Any], Any]


def _other(session: Any) -> Any:
    return session.get_one(Person, 4)


def _gone(session: Any) -> Any:
    """A mask whose object nobody holds any more."""
    return session.get_one(Person, 2).email


def _from_what_is_gone(session: Any, _person: Any) -> None:
    session.expunge_all()
    _other(session).about = _gone(session)


WRITES: dict[str, Way] = {
    "a copy": lambda s, p: setattr(_other(s), "about", p.email),
    "an equal text": lambda s, p: setattr(_other(s), "about", "".join(list(p.email))),
    "a longer text": lambda s, p: setattr(_other(s), "about", f"{p.email} and more"),
    "a new object": lambda s, p: s.add(Order(person_id=2, amount=1, secrecy=0, remark=str(p.email) + "!")),
    "insert": lambda s, p: s.execute(sa.insert(Order).values(person_id=2, amount=1, secrecy=0, remark=p.email)),
    "insert of many": lambda s, p: s.execute(
        sa.insert(Order), [{"person_id": 2, "amount": 1, "secrecy": 0, "remark": p.email}] * 2
    ),
    "insert of several values": lambda s, p: s.execute(
        sa.insert(Order).values([{"person_id": 2, "amount": 1, "secrecy": 0, "remark": p.email}] * 2)
    ),
    "update": lambda s, p: s.execute(sa.update(Person).where(Person.id == 4).values(about=p.email)),
    "update by an expression": lambda s, p: s.execute(
        sa.update(Person).where(Person.id == 4).values(about=sa.func.upper(p.email))
    ),
    "update by key": lambda s, p: s.execute(sa.update(Person), [{"id": 4, "about": p.email, "version": 1}]),
    "bulk_insert_mappings": lambda s, p: s.bulk_insert_mappings(
        sa.inspect(Order), [{"person_id": 2, "amount": 1, "secrecy": 0, "remark": p.email}]
    ),
    "bulk_update_mappings": lambda s, p: s.bulk_update_mappings(
        sa.inspect(Person), [{"id": 4, "about": p.email, "version": 1}]
    ),
    "bulk_save_objects": lambda s, p: s.bulk_save_objects([Order(person_id=2, amount=1, secrecy=0, remark=p.email)]),
    "merge of a new object": lambda s, p: s.merge(Person(id=4, about=p.email)),
    "bulk_save_objects of all attributes": lambda s, p: s.bulk_save_objects([p], update_changed_only=False),
    "an object that is gone": _from_what_is_gone,
    "the session's connection": lambda s, p: s.connection().execute(
        sa.update(PEOPLE).where(PEOPLE.c.id == 4).values(about=p.email)
    ),
    "text": lambda s, p: s.execute(sa.text("UPDATE market.people SET about = :x WHERE id = 4"), {"x": p.email}),
    "text for many": lambda s, p: s.execute(
        sa.text("UPDATE market.people SET about = :x WHERE id = :n"), [{"x": p.email, "n": n} for n in (4, 6)]
    ),
    "exec_driver_sql": lambda s, p: s.connection().exec_driver_sql(
        "UPDATE market.people SET about = %s WHERE id = 4", (p.email,)
    ),
    "on conflict": lambda s, p: s.execute(
        postgresql.insert(Tag)
        .values(id=1, word="x")
        .on_conflict_do_update(index_elements=["id"], set_={"word": p.email})
    ),
    "insert from a select of it": lambda s, p: s.execute(
        sa.insert(Tag).from_select(["word"], sa.select(sa.literal(p.email)))
    ),
    "a statement within another": lambda s, p: s.execute(
        sa.select(sa.literal(1)).add_cte(sa.update(Person).where(Person.id == 4).values(about=p.email).cte("x"))
    ),
    "a parameter of another name": lambda s, p: s.execute(
        sa.update(PEOPLE).where(PEOPLE.c.id == 4).values(about=sa.bindparam("x")), {"x": p.email}
    ),
    "a column of the server's": lambda s, _p: setattr(_other(s), "about", Person.email),
    "update from the column": lambda s, _p: s.execute(
        sa.update(Person).where(Person.id == 4).values(about=Person.email)
    ),
    "insert from select": lambda s, _p: s.execute(
        sa.insert(Tag).from_select(["word"], sa.select(Person.email).where(Person.id == 2))
    ),
    "the masked column": lambda s, _p: s.execute(sa.update(Person).where(Person.id == 2).values(email="x")),
    "the hidden column": lambda s, _p: s.execute(sa.update(Person).where(Person.id == 2).values(ssn="x")),
    "from the hidden column": lambda s, _p: s.execute(sa.update(Person).where(Person.id == 2).values(about=Person.ssn)),
    "evaluated": lambda s, _p: s.execute(
        sa.update(Person).where(Person.ssn == "ssn-2").values(about="x"),
        execution_options={"synchronize_session": "evaluate"},
    ),
    "returning the hidden column": lambda s, _p: s.execute(
        sa.update(Person).where(Person.id == 2).values(about="x").returning(Person.ssn)
    ),
}


def test_no_mask_is_written(market: Market) -> None:
    """What a session shows as a mask reaches no table, by whichever way it is written."""
    every = [f"SELECT * FROM market.{table} ORDER BY id" for table in ("people", "orders", "tags")]
    before = [market.sql(text) for text in every]
    accepted = {}
    for way, write in WRITES.items():
        with market.Session(caller=CLERK) as session:
            person = session.get_one(Person, 2)
            assert person.email == "***@shop.example"
            try:
                write(session, person)
                session.commit()
            except (sa.exc.DBAPIError, errors.Error) as refused:
                own = refused.orig if isinstance(refused, sa.exc.DBAPIError) else refused
                accepted[way] = None if isinstance(own, errors.Refused | errors.UndefinedColumn) else repr(own)
            else:
                accepted[way] = "written"
    assert {way: found for way, found in accepted.items() if found is not None} == {}
    assert [market.sql(text) for text in every] == before


def test_masks_may_be_asked_for(market: Market) -> None:
    """A near miss: a mask in a condition is what the caller sees, and texts of his own are written."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert len(session.scalars(sa.select(Person).where(Person.email == person.email)).all()) == 20
        session.execute(sa.update(Person).where(Person.email == person.email, Person.id == 2).values(about="mine"))
        named = sa.update(Person).where(Person.email == sa.bindparam("shown"), Person.id == 4).values(about="theirs")
        session.execute(named, {"shown": person.email}, execution_options={"synchronize_session": False})
        asked = sa.text("UPDATE market.people SET about = 'said' WHERE email = :shown AND id = 6")
        session.execute(asked, {"shown": person.email})
        person.name = "a ***"
        session.commit()
    found = market.sql("SELECT name, about FROM market.people WHERE id IN (2, 4, 6) ORDER BY id")
    assert found == [("a ***", "mine"), ("name 4", "theirs"), ("name 6", "said")]


def _of_person(_mapper: Any, _connection: Any, person: Any) -> None:
    person.about = _gone(orm.object_session(person))


def _of_order(_mapper: Any, _connection: Any, order: Any) -> None:
    order.remark = _gone(orm.object_session(order))


def _of_session(session: Any, *_: Any) -> None:
    _other(session).about = _gone(session)


HOOKS: dict[str, tuple[Any, Any]] = {
    "before_flush": (None, _of_session),
    "before_update": (Person, _of_person),
    "before_insert": (Order, _of_order),
}


@pytest.mark.parametrize("hook", list(HOOKS))
def test_no_hook_writes_a_mask(market: Market, hook: str) -> None:
    """What listeners assign while a flush is under way is looked at like what was assigned before it."""
    target, listener = HOOKS[hook]
    with market.Session(caller=CLERK) as session:
        on = session if target is None else target
        sa.event.listen(on, hook, listener)
        try:
            _other(session).name = "changed"
            session.add(Order(person_id=2, amount=1, secrecy=0))
            with pytest.raises(errors.Refused, match=r"about|remark"):
                session.commit()
        finally:
            sa.event.remove(on, hook, listener)
    assert market.sql("SELECT count(*) FROM market.people WHERE about LIKE '%%***%%'") == [(0,)]
    assert market.sql("SELECT count(*) FROM market.orders WHERE remark LIKE '%%***%%'") == [(0,)]


def test_a_hidden_version(market: Market) -> None:
    """Where a caller does not see the version of a class, its rows are neither changed nor deleted by a flush."""

    class Base(orm.DeclarativeBase):
        pass

    class Versioned(Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "market"}
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        name: orm.Mapped[str]
        ssn: orm.Mapped[str] = orm.mapped_column()
        __mapper_args__ = {"version_id_col": ssn, "version_id_generator": lambda version: f"{version}+"}

    with market.Session(caller=CLERK) as session:
        session.get_one(Versioned, 2).name = "x"
        with pytest.raises(errors.Refused, match=r"Versioned\.ssn is the version"):
            session.commit()
        session.rollback()
        session.delete(session.get_one(Versioned, 2))
        with pytest.raises(errors.Refused, match=r"Versioned\.ssn is the version"):
            session.commit()
    with market.Session(caller=BOSS) as session:
        session.get_one(Versioned, 2).name = "x"
        session.commit()
    assert market.sql("SELECT name, ssn FROM market.people WHERE id = 2") == [("x", "ssn-2+")]
