"""What was read before the caller's rights ended is shown by no way afterwards."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.orm import exc as orm_exc

from datagate import errors
from datagate.model.caller import Caller
from tests.frontends.orm.conftest import Market

Way = Callable[[Any, Any], Any]


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


def _made_transient(_session: Any, person: Any) -> Any:
    orm.make_transient(person)
    return person.name


def _by_its_session(_session: Any, person: Any) -> Any:
    own: Any = orm.object_session(person)
    return own.get_one(Citizen, 2).name


def _flushed(session: Any, person: Any) -> Any:
    person.about = "x"
    session.flush()
    return person.name


HELD: dict[str, Way] = {
    "attribute": lambda _, p: p.name,
    "synonym": lambda _, p: p.called,
    "composite": lambda _, p: repr(p.place),
    "association proxy": lambda _, p: list(p.amounts),
    "collection": lambda _, p: len(p.orders),
    "mapped collection": lambda _, p: len(p.by_id),
    "dynamic collection": lambda _, p: p.later.count(),
    "write-only collection": lambda s, p: len(s.scalars(p.written.select()).all()),
    "member": lambda _, p: p.orders[0].amount,
    "many to one": lambda s, _p: s.identity_map[sa.inspect(Purchase).identity_key_from_primary_key((4,))].citizen.name,
    "get": lambda s, _: s.get_one(Citizen, 2).name,
    "get of a member": lambda s, _: s.get_one(Purchase, 4).amount,
    "refresh": lambda s, p: (s.refresh(p), p.name),
    "identity map": lambda s, _: next(each.name for each in s.identity_map.values() if isinstance(each, Citizen)),
    "iteration of the session": lambda s, _: next(each.name for each in s if isinstance(each, Citizen)),
    "attribute state": lambda _, p: sa.inspect(p).attrs.name.value,
    "get_attribute": lambda _, p: orm.attributes.instance_state(p).manager["name"].__get__(p, Citizen),
    "merge without load": lambda s, p: s.merge(p).name,
    "pickle": lambda _, p: pickle.loads(pickle.dumps(p)).name,  # noqa: S301 - our own
    "copy": lambda _, p: copy.copy(p).name,
    "expunge": lambda s, p: (s.expunge(p), p.name)[1],
    "expunge_all": lambda s, p: (s.expunge_all(), p.name)[1],
    "close": lambda s, p: (s.close(), p.name)[1],
    "make_transient": _made_transient,
    "object_session": _by_its_session,
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
    "flushed first": _flushed,
}


def _shown(market: Market, way: str, mandate: str, *, expires: bool) -> object:
    """What a way shows after the revocation; datagate's refusals and SQLAlchemy's word for an empty object are None."""
    caller = Caller.of("carl", actor="hal", mandate=mandate, purpose="work")
    with market.Session(caller=caller, expire_on_commit=expires) as session:
        person = session.get_one(Citizen, 2)
        assert (person.name, repr(person.place), list(person.amounts)) == ("name 2", "name 2 in EU", [40, 60])
        assert len(person.by_id) == 2
        session.commit()
        assert person.orders[0].citizen.name == "name 2"
        assert repr(person.place) == "name 2 in EU"
        market.store.revoke_mandate(mandate)
        try:
            return HELD[way](session, person)
        except orm_exc.DetachedInstanceError:
            return None
        except (sa.exc.DBAPIError, errors.Error) as refused:
            own = refused.orig if isinstance(refused, sa.exc.DBAPIError) else refused
            return None if isinstance(own, errors.Refused | errors.RightsChanged) else repr(own)
        finally:
            session.rollback()


@pytest.mark.parametrize("expires", [True, False])
def test_no_way_shows_what_was_held(market: Market, expires: bool) -> None:
    """After a revocation none of these gives what was read before it."""
    shown = {}
    for way in HELD:
        made = market.store.issue_mandate("carl", "hal", "errand", purposes=["work"], parameters={"person": 2})
        shown[way] = _shown(market, way, made.id, expires=expires)
    assert {way: found for way, found in shown.items() if found is not None} == {}
