"""Attempts to get more out of a session than its caller may have: from memory, from caches, by writing, between two."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.orm import exc as orm_exc

from datagate import errors
from datagate.frontends.orm import masked_columns
from fixtures.market.callers import BOSS, CALLERS, CLERK, OTHER_CLERK, SELLER
from fixtures.market.models import Employee, Order, Person, Tag, order_tags
from tests.frontends.orm.conftest import Market

SECRET = "mail2@shop.example"


def _email(market: Market, number: int = 2) -> Any:
    return market.sql("SELECT email FROM market.people WHERE id = %s", number)[0][0]


# --- what is held in memory when rights end --------------------------------------------------------------------------

Way = Callable[[Any, Any], Any]


def _fields(_session: Any, person: Any) -> Any:
    return [getattr(person, each.key) for each in sa.inspect(person).mapper.column_attrs if each.key in ("name",)]


class Place:
    """Two columns in one value."""

    def __init__(self, name: str, region: str) -> None:
        self.name, self.region = name, region

    def __composite_values__(self) -> tuple[str, str]:
        return self.name, self.region

    def __repr__(self) -> str:
        return f"{self.name} in {self.region}"


class OwnBase(orm.DeclarativeBase):
    """For classes of this module."""


class Citizen(OwnBase):
    """The people once more, with more ways to read them."""

    __tablename__ = "people"
    __table_args__ = {"schema": "market"}
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    email: orm.Mapped[str | None]
    region: orm.Mapped[str]
    about: orm.Mapped[str | None]
    kind: orm.Mapped[str]
    version: orm.Mapped[int]
    place: orm.Mapped[Place] = orm.composite(Place, "name", "region")
    called = orm.synonym("name")
    orders: orm.Mapped[list[Purchase]] = orm.relationship(order_by="Purchase.id", back_populates="citizen")
    amounts = association_proxy("orders", "amount")
    by_id: orm.Mapped[dict[int, Purchase]] = orm.relationship(
        viewonly=True, collection_class=orm.attribute_keyed_dict("id")
    )
    later: orm.DynamicMapped[Purchase] = orm.relationship(viewonly=True, lazy="dynamic")
    written: orm.WriteOnlyMapped[Purchase] = orm.relationship(viewonly=True)


class Purchase(OwnBase):
    """The orders once more."""

    __tablename__ = "orders"
    __table_args__ = {"schema": "market"}
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    person_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("market.people.id"))
    amount: orm.Mapped[int]
    remark: orm.Mapped[str | None]
    secrecy: orm.Mapped[int]
    citizen: orm.Mapped[Citizen] = orm.relationship(back_populates="orders")


HELD: dict[str, Way] = {
    "attribute": lambda _, p: p.name,
    "getattr in vars": _fields,
    "synonym": lambda _, p: p.called,
    "composite": lambda _, p: repr(p.place),
    "association proxy": lambda _, p: list(p.amounts),
    "collection": lambda _, p: len(p.orders),
    "mapped collection": lambda _, p: len(p.by_id),
    "dynamic collection": lambda _, p: p.later.count(),
    "write-only collection": lambda s, p: len(s.scalars(p.written.select()).all()),
    "member": lambda _, p: p.orders[0].amount,
    "many to one": lambda s, p: s.identity_map[sa.inspect(Purchase).identity_key_from_primary_key((4,))].citizen.name,
    "get": lambda s, _: s.get_one(Citizen, 2).name,
    "get of a member": lambda s, _: s.get_one(Purchase, 4).amount,
    "refresh": lambda s, p: (s.refresh(p), p.name),
    "identity map": lambda s, _: [each.name for each in s.identity_map.values() if isinstance(each, Citizen)][0],
    "iteration of the session": lambda s, _: [each.name for each in s if isinstance(each, Citizen)][0],
    "attribute state": lambda _, p: sa.inspect(p).attrs.name.value,
    "get_attribute": lambda _, p: orm.attributes.instance_state(p).manager["name"].__get__(p, Citizen),
    "merge without load": lambda s, p: s.merge(p).name,
    "pickle": lambda _, p: pickle.loads(pickle.dumps(p)).name,  # noqa: S301 - our own
    "copy": lambda _, p: copy.copy(p).name,
    "expunge": lambda s, p: (s.expunge(p), p.name)[1],
    "expunge_all": lambda s, p: (s.expunge_all(), p.name)[1],
    "close": lambda s, p: (s.close(), p.name)[1],
    "make_transient": lambda _, p: (orm.make_transient(p), p.name)[1],
    "object_session": lambda _, p: orm.object_session(p).get_one(Citizen, 2).name,
    "query with populate_existing": lambda s, _: s.scalars(
        sa.select(Citizen).where(Citizen.id == 2).execution_options(populate_existing=True)
    ).one(),
    "query": lambda s, _: s.scalars(sa.select(Citizen).where(Citizen.id == 2)).one().name,
    "with_for_update": lambda s, _: s.get_one(Citizen, 2, with_for_update=True).name,
    "selectinload": lambda s, _: (
        s.scalars(sa.select(Purchase).options(orm.selectinload(Purchase.citizen)).where(Purchase.id == 4))
        .one()
        .citizen.name
    ),
    "joinedload": lambda s, _: (
        s.scalars(sa.select(Purchase).options(orm.joinedload(Purchase.citizen)).where(Purchase.id == 4))
        .one()
        .citizen.name
    ),
    "flushed first": lambda s, p: (setattr(p, "about", "x"), s.flush(), p.name)[2],
}


@pytest.mark.parametrize("expires", [True, False])
@pytest.mark.parametrize("way", list(HELD))
def test_no_way_shows_what_was_held(market: Market, way: str, expires: bool) -> None:
    """After a revocation none of these gives what was read before it: each raises one of datagate's errors."""
    with market.Session(caller=CALLERS["errand"], expire_on_commit=expires) as session:
        person = session.get_one(Citizen, 2)
        assert (person.name, repr(person.place), list(person.amounts)) == ("name 2", "name 2 in EU", [40, 60])
        assert len(person.by_id) == 2
        session.commit()
        assert person.orders[0].citizen.name == "name 2"
        assert repr(person.place) == "name 2 in EU"
        market.store.revoke_mandate("errand-2")
        with pytest.raises((sa.exc.DBAPIError, errors.Error, orm_exc.DetachedInstanceError)) as refused:
            shown = HELD[way](session, person)
            if shown is None:
                # What is transient has attributes without a value.
                raise orm_exc.DetachedInstanceError
        if isinstance(refused.value, orm_exc.DetachedInstanceError):
            # It left the session with nothing in it.
            return
        own = refused.value.orig if isinstance(refused.value, sa.exc.DBAPIError) else refused.value
        assert isinstance(own, errors.Refused | errors.RightsChanged), repr(own)
        session.rollback()


# --- writing what was shown ------------------------------------------------------------------------------------------


class Booth(OwnBase):
    """The people once more, where the database fills in what nobody gave."""

    __tablename__ = "people"
    __table_args__ = {"schema": "market", "extend_existing": True}
    __mapper_args__ = {"eager_defaults": True}
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


def _other(session: Any) -> Any:
    return session.get_one(Person, 4)


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
    "update by key": lambda s, p: s.execute(sa.update(Person), [{"id": 4, "about": p.email}]),
    "bulk_insert_mappings": lambda s, p: s.bulk_insert_mappings(
        sa.inspect(Order), [{"person_id": 2, "amount": 1, "secrecy": 0, "remark": p.email}]
    ),
    "bulk_update_mappings": lambda s, p: s.bulk_update_mappings(sa.inspect(Person), [{"id": 4, "about": p.email}]),
    "bulk_save_objects": lambda s, p: s.bulk_save_objects([Order(person_id=2, amount=1, secrecy=0, remark=p.email)]),
    "merge of a new object": lambda s, p: s.merge(Person(id=4, about=p.email)),
    "a column of the server's": lambda s, p: setattr(_other(s), "about", Person.email),
    "update from the column": lambda s, p: s.execute(
        sa.update(Person).where(Person.id == 4).values(about=Person.email)
    ),
    "insert from select": lambda s, p: s.execute(
        sa.insert(Tag).from_select(["word"], sa.select(Person.email).where(Person.id == 2))
    ),
    "the masked column": lambda s, p: s.execute(sa.update(Person).where(Person.id == 2).values(email="x")),
    "the hidden column": lambda s, p: s.execute(sa.update(Person).where(Person.id == 2).values(ssn="x")),
    "from the hidden column": lambda s, p: s.execute(sa.update(Person).where(Person.id == 2).values(about=Person.ssn)),
    "evaluated": lambda s, p: s.execute(
        sa.update(Person).where(Person.ssn == "ssn-2").values(about="x"),
        execution_options={"synchronize_session": "evaluate"},
    ),
    "returning the hidden column": lambda s, p: s.execute(
        sa.update(Person).where(Person.id == 2).values(about="x").returning(Person.ssn)
    ),
}


@pytest.mark.parametrize("way", list(WRITES))
def test_no_mask_is_written(market: Market, way: str) -> None:
    """What a session shows as a mask reaches no table, by whichever way it is written."""
    before = (
        market.sql("SELECT * FROM market.people ORDER BY id"),
        market.sql("SELECT * FROM market.orders ORDER BY id"),
    )
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert person.email == "***@shop.example"
        with pytest.raises((sa.exc.DBAPIError, errors.Error)) as refused:
            WRITES[way](session, person)
            session.commit()
        own = refused.value.orig if isinstance(refused.value, sa.exc.DBAPIError) else refused.value
        assert isinstance(own, errors.Refused | errors.UndefinedColumn), repr(own)
    after = market.sql("SELECT * FROM market.people ORDER BY id"), market.sql("SELECT * FROM market.orders ORDER BY id")
    assert after == before


def test_masks_may_be_asked_for(market: Market) -> None:
    """A near miss: a mask in a condition is what the caller sees, and texts of his own are written."""
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        assert len(session.scalars(sa.select(Person).where(Person.email == person.email)).all()) == 20
        session.execute(sa.update(Person).where(Person.email == person.email, Person.id == 2).values(about="mine"))
        person.name = "a ***"
        session.commit()
    assert market.sql("SELECT name, about FROM market.people WHERE id = 2") == [("a ***", "mine")]


def _carried(leave: Callable[[Any, Any], Any]) -> Callable[[Market], Any]:
    """An object of the clerk's, after it left his session in some way."""

    def read(market: Market) -> Any:
        session = market.Session(caller=CLERK)
        return leave(session, session.get_one(Person, 2))

    return read


def _unclosed(session: Any, person: Any) -> Any:
    del session
    gc.collect()
    return person


LEAVES: dict[str, Callable[[Any, Any], Any]] = {
    "closed": lambda s, p: (s.close(), p)[1],
    "expunged": lambda s, p: (s.expunge(p), p)[1],
    "expunge_all": lambda s, p: (s.expunge_all(), p)[1],
    "unclosed": _unclosed,
    "pickled in the session": lambda s, p: pickle.loads(pickle.dumps(p)),  # noqa: S301 - our own
    "pickled after it": lambda s, p: (s.close(), pickle.loads(pickle.dumps(p)))[1],  # noqa: S301 - our own
    "copied": lambda s, p: copy.deepcopy(p),
    "reset": lambda s, p: (s.reset(), p)[1],
    "invalidated": lambda s, p: (s.connection(), s.invalidate(), p)[2],
}


@pytest.mark.parametrize("way", list(LEAVES))
def test_masks_do_not_travel(market: Market, way: str) -> None:
    """An object that left in any way still says what its masks are, and merging it writes none of them."""
    person = _carried(LEAVES[way])(market)
    assert masked_columns(person) == {"email"}
    person.name = "carried"
    with market.Session(caller=BOSS) as session:
        session.merge(person)
        session.commit()
    assert market.sql("SELECT name, email FROM market.people WHERE id = 2") == [("carried", SECRET)]


@pytest.mark.parametrize("way", [name for name in LEAVES if "pickled" not in name and name != "copied"])
def test_masks_do_not_travel_by_an_added_object(market: Market, way: str) -> None:
    """The object itself, added to the session of one who sees the column, is not flushed with its mask."""
    person = _carried(LEAVES[way])(market)
    with market.Session(caller=BOSS) as session:
        session.add(person)
        person.name = "added"
        orm.attributes.flag_modified(person, "email")
        with pytest.raises(errors.Refused, match=r"Person\.email"):
            session.commit()
        session.rollback()
    assert _email(market) == SECRET


# --- what only seems to be there -------------------------------------------------------------------------------------


def test_what_is_made_of_masks_is_marked(market: Market) -> None:
    """Hybrids, synonyms, composites and column properties that are made of a masked column are named as masked."""

    class Base(orm.DeclarativeBase):
        pass

    class Contact(Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "market"}
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        name: orm.Mapped[str]
        email: orm.Mapped[str | None]
        mail = orm.synonym("email")
        both: orm.Mapped[Place] = orm.composite(Place, "name", "email")
        loud = orm.column_property(sa.func.upper(email.column))

        @sa.ext.hybrid.hybrid_property
        def address(self) -> str:
            return self.name + " <" + (self.email or "") + ">"

        @address.inplace.expression
        @classmethod
        def _address(cls) -> sa.ColumnElement[str]:
            return cls.name + " <" + sa.func.coalesce(cls.email, "") + ">"

        @sa.ext.hybrid.hybrid_property
        def short(self) -> str:
            return self.name[:3]

        @short.inplace.expression
        @classmethod
        def _short(cls) -> sa.ColumnElement[str]:
            return sa.func.left(cls.name, 3)

    with market.Session(caller=CLERK) as session:
        contact = session.get_one(Contact, 2)
        assert contact.loud == "***@SHOP.EXAMPLE"
        assert masked_columns(contact) == {"email", "mail", "both", "loud", "address"}
    with market.Session(caller=BOSS) as session:
        assert masked_columns(session.get_one(Contact, 2)) == frozenset()


def test_a_version_that_is_masked(market: Market) -> None:
    """Where the version of a row shows a mask, a flush is refused, and nothing is written."""

    class Base(orm.DeclarativeBase):
        pass

    class Versioned(Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "market"}
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        name: orm.Mapped[str]
        email: orm.Mapped[str]
        __mapper_args__ = {"version_id_col": email.column, "version_id_generator": lambda version: f"{version}+"}

    with market.Session(caller=CLERK) as session:
        session.get_one(Versioned, 2).name = "x"
        with pytest.raises((sa.exc.DBAPIError, errors.Error)):
            session.commit()
    assert market.sql("SELECT name, email FROM market.people WHERE id = 2") == [("name 2", SECRET)]


@pytest.mark.parametrize("eager", [True, False, "auto"])
def test_a_default_of_a_hidden_column(market: Market, eager: bool | str) -> None:
    """A server's default of a column that the caller does not see is neither returned nor in the way."""
    market.sql("ALTER TABLE market.people ALTER COLUMN ssn SET DEFAULT 'generated'")

    class Base(orm.DeclarativeBase):
        pass

    class Member(Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "market"}
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        kind: orm.Mapped[str]
        name: orm.Mapped[str]
        region: orm.Mapped[str]
        ssn: orm.Mapped[str | None] = orm.mapped_column(server_default=sa.FetchedValue())
        version: orm.Mapped[int] = orm.mapped_column(server_default=sa.FetchedValue())
        __mapper_args__ = {"eager_defaults": eager}

    with market.Session(caller=CLERK) as session:
        made = [Member(kind="person", name=f"new {n}", region="EU") for n in range(3)]
        session.add_all(made)
        session.flush()
        assert [each.version for each in made] == [1, 1, 1]
        with pytest.raises(errors.UndefinedColumn):
            _ = made[0].ssn
        session.commit()
    assert market.sql("SELECT count(*) FROM market.people WHERE ssn = 'generated'") == [(3,)]


def test_plain_sessions_are_as_ever(market: Market) -> None:
    """Sessions without a gate over the same classes see and write everything, and ask nobody."""
    with market.Session(caller=CLERK) as gated, orm.Session(market.plain) as plain:
        mine, theirs = gated.get_one(Person, 2), plain.get_one(Person, 2)
        asked = len(market.sink.records)
        assert (theirs.email, theirs.ssn, len(theirs.orders)) == (SECRET, "ssn-2", 3)
        assert masked_columns(theirs) == frozenset()
        theirs.about = theirs.email
        plain.commit()
        market.store.revoke_mandate("errand-2")
        market.gate.pulse.close()
        assert theirs.ssn == "ssn-2"
        copied = pickle.loads(pickle.dumps(theirs))  # noqa: S301 - our own
        assert copied.email == SECRET
        assert len(market.sink.records) == asked
        assert mine.email == "***@shop.example"
    assert market.sql("SELECT about FROM market.people WHERE id = 2") == [(SECRET,)]


def test_cascades_stay_within_sight(market: Market) -> None:
    """Removing, replacing and deleting what a filtered collection shows leaves what it hides as it is."""
    market.sql("DELETE FROM market.order_tags WHERE order_id > 3")
    with market.Session(caller=CLERK) as session:
        person = session.get_one(Person, 2)
        person.orders.clear()
        person.orders.append(Order(amount=1, secrecy=0))
        session.commit()
        session.refresh(person)
        order = session.get_one(Order, 10)
        order.tags.clear()
        session.execute(sa.delete(order_tags).where(order_tags.c.order_id == 11))
        session.commit()
    assert market.sql("SELECT secrecy FROM market.orders WHERE person_id = 2 ORDER BY 1") == [(0,), (2,)]


def test_lambda_statements_and_caches(market: Market) -> None:
    """Statements that are made once for all callers give each of them his own rows and columns."""
    limit = 5
    asked = lambda: sa.lambda_stmt(lambda: sa.select(Person).where(Person.id < limit).order_by(Person.id))  # noqa: E731
    seen = {}
    for _ in range(2):
        for name, caller in (("boss", BOSS), ("clerk", CLERK), ("other", OTHER_CLERK), ("seller", SELLER)):
            with market.Session(caller=caller) as session:
                people = session.scalars(asked()).all()
                seen[name] = [(each.id, each.email) for each in people]
                hidden = name != "boss"
                if hidden:
                    with pytest.raises(errors.UndefinedColumn):
                        _ = people[0].ssn
                else:
                    assert people[0].ssn == "ssn-1"
    assert [number for number, _ in seen["clerk"]] == [2, 4]
    assert seen["clerk"][0][1] == "***@shop.example"
    assert seen["boss"][1] == (2, SECRET)
    assert [number for number, _ in seen["other"]] == [1, 3]


def test_what_events_see(market: Market) -> None:
    """Listeners that meet rows, values and loads meet the caller's own."""
    seen: list[object] = []
    loaded = lambda person, _context: seen.append(person.__dict__.get("email"))  # noqa: E731
    sa.event.listen(Person, "load", loaded, propagate=True)
    try:
        with market.Session(caller=CLERK) as session:
            sa.event.listen(session, "loaded_as_persistent", lambda _s, each: seen.append(each.__dict__.get("ssn")))
            session.scalars(sa.select(Person)).all()
            session.scalars(sa.select(Employee)).all()
    finally:
        sa.event.remove(Person, "load", loaded)
    assert set(seen) == {"***@shop.example", None}
