"""Attempts to carry masks off, and to see by one session what another one read."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.hybrid import hybrid_property

from datagate import errors
from datagate.frontends.orm import masked_columns
from fixtures.market.callers import BOSS, CLERK, OTHER_CLERK, SELLER
from fixtures.market.models import Employee, Order, Person, order_tags
from tests.frontends.orm.conftest import Market

SHOWN = "mail2@shop.example"
Way = Callable[[Any, Any], Any]


class Place:
    """Two columns in one value."""

    def __init__(self, name: str, region: str) -> None:
        self.name, self.region = name, region

    def __composite_values__(self) -> tuple[str, str]:
        return self.name, self.region

    def __repr__(self) -> str:
        return f"{self.name} in {self.region}"


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
    "pickled in the session": lambda _s, p: pickle.loads(pickle.dumps(p)),  # noqa: S301 - our own
    "pickled after it": lambda s, p: (s.close(), pickle.loads(pickle.dumps(p)))[1],  # noqa: S301 - our own
    "copied": lambda _s, p: copy.deepcopy(p),
    "reset": lambda s, p: (s.reset(), p)[1],
    "invalidated": lambda s, p: (s.connection(), s.invalidate(), p)[2],
}


def test_masks_do_not_travel(market: Market) -> None:
    """An object that left in any way still says what its masks are, and merging it writes none of them."""
    for way, leave in LEAVES.items():
        person = _carried(leave)(market)
        assert masked_columns(person) == {"email"}, way
        person.name = way
        with market.Session(caller=BOSS) as session:
            session.merge(person)
            session.commit()
        assert market.sql("SELECT name, email FROM market.people WHERE id = 2") == [(way, SHOWN)]


def test_an_object_is_read_anew_by_another_session(market: Market) -> None:
    """Added to the session of one who sees the column, it shows what he sees; its mask is not flushed."""
    for way in LEAVES.keys() - {"pickled in the session", "pickled after it", "copied", "unclosed"}:
        person = _carried(LEAVES[way])(market)
        orm.attributes.flag_modified(person, "email")
        with market.Session(caller=BOSS) as session:
            session.add(person)
            assert (person.email, person.ssn) == (SHOWN, "ssn-2"), way
            assert masked_columns(person) == frozenset()
            person.name = way
            session.commit()
        assert market.sql("SELECT name, email FROM market.people WHERE id = 2") == [(way, SHOWN)]


@pytest.mark.parametrize("gated", [True, False])
def test_an_object_of_one_who_sees_more(market: Market, gated: bool) -> None:
    """Added to a session, or merged into it without a query, an object shows what that session's caller sees."""
    with market.Session(caller=BOSS) if gated else orm.Session(market.plain) as wider:
        seen, hidden = wider.get_one(Person, 2), wider.get_one(Person, 3)
        assert (seen.ssn, len(seen.orders), hidden.name) == ("ssn-2", 3, "name 3")
    with market.Session(caller=CLERK) as session:
        session.add_all([seen, hidden])
        assert (seen.email, len(seen.orders)) == ("***@shop.example", 2)
        with pytest.raises(errors.UndefinedColumn):
            _ = seen.ssn
        with pytest.raises(errors.RowGone):
            _ = hidden.name
        session.expunge_all()
    with market.Session(caller=CLERK) as session:
        merged = session.merge(seen, load=False)
        assert merged.email == "***@shop.example"


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
        email: orm.Mapped[str | None] = orm.mapped_column()
        mail = orm.synonym("email")
        both: orm.Mapped[Place] = orm.composite(Place, "name", "email")
        loud = orm.column_property(sa.func.upper(email))

        @hybrid_property
        def address(self) -> str:
            return self.name + " <" + (self.email or "") + ">"

        @address.inplace.expression
        @classmethod
        def _address(cls) -> sa.ColumnElement[str]:
            return cls.name + " <" + sa.func.coalesce(cls.email, "") + ">"

        @hybrid_property
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
        email: orm.Mapped[str] = orm.mapped_column()
        __mapper_args__ = {
            "version_id_col": email,
            "version_id_generator": lambda version: f"{version}+",
        }

    with market.Session(caller=CLERK) as session:
        session.get_one(Versioned, 2).name = "x"
        with pytest.raises((sa.exc.DBAPIError, errors.Error)):
            session.commit()
    assert market.sql("SELECT name, email FROM market.people WHERE id = 2") == [("name 2", SHOWN)]


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
        assert (theirs.email, theirs.ssn, len(theirs.orders)) == (SHOWN, "ssn-2", 3)
        assert masked_columns(theirs) == frozenset()
        theirs.about = theirs.email
        plain.commit()
        market.store.revoke_mandate("errand-2")
        market.gate.pulse.close()
        assert theirs.ssn == "ssn-2"
        copied = pickle.loads(pickle.dumps(theirs))  # noqa: S301 - our own
        assert copied.email == SHOWN
        assert len(market.sink.records) == asked
        assert mine.email == "***@shop.example"
    assert market.sql("SELECT about FROM market.people WHERE id = 2") == [(SHOWN,)]


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
    make: Any = sa.lambda_stmt

    def asked() -> Any:
        return make(lambda: sa.select(Person).where(Person.id < limit).order_by(Person.id))

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
    assert seen["boss"][1] == (2, SHOWN)
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
