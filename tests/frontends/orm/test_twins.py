"""What a session reads and writes is what a plain session reads and writes on the caller's redacted twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import orm
from sqlalchemy.sql import visitors

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends.orm import GatedEngine, GatedSession, gate_engine
from datagate.gate import Gate, state_engine
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore
from fixtures.market.callers import CALLERS, world
from fixtures.market.models import Employee, Order, Person, Tag, order_tags
from tests.frontends.orm.conftest import MARKET, Sink, url
from tests.twin.build import KEYS, build_twin
from tests.twin.consents import answers_of

ENTITIES: tuple[Any, ...] = (Person, Order, Tag, Employee)
LOADERS = (orm.lazyload, orm.joinedload, orm.selectinload, orm.subqueryload, orm.immediateload)
RELATIONS = {Person: ("orders",), Order: ("tags", "person"), Tag: ("orders",), Employee: ("orders",)}
WORDS = (
    "name 1",
    "name 2",
    "EU",
    "US",
    "***@shop.example",
    "mail3@shop.example",
    "person",
    "remark 4",
    "word 2",
    "%1%",
)
READERS = ("boss", "clerk", "other clerk", "seller", "errand", "stranger")
WRITERS = ("boss, who writes", "clerk, who writes")
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Twins:
    """The market behind the gate, and each caller's twin of it."""

    engine: GatedEngine
    plain: dict[str, sa.Engine]

    def both(self, caller: str, *, writes: bool = False) -> tuple[orm.Session, orm.Session]:
        twin = self.plain[f"{caller}, who writes" if writes else caller]
        return GatedSession(self.engine, caller=CALLERS[caller]), orm.Session(twin)

    def seen(self, caller: str) -> dict[Any, dict[str, Any]]:
        """The attributes of each class that the twin has columns for; classes whose table it lacks have none."""
        with self.plain[caller].connect() as connection:
            rows = connection.execute(
                sa.text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'market'")
            )
            there = {tuple(row) for row in rows}
        found = {}
        for entity in ENTITIES:
            attributes = {each.key: each for each in sa.inspect(entity).column_attrs if _is_there(each, there)}
            found[entity] = attributes if "id" in attributes else {}
        return found


def _is_there(attribute: Any, there: set[Any]) -> bool:
    elements = visitors.iterate(attribute.columns[0])
    columns = [each for each in elements if isinstance(each, sa.Column) and isinstance(each.table, sa.Table)]
    return all((each.table.name, each.name) in there for each in columns)


@pytest.fixture(scope="module")
def twins(postgres: EmbeddedPostgres, market_template: str) -> Iterator[Twins]:
    dsn = postgres.create_database("market_beside_twins", template=market_template)
    store = StateStore(state_engine(dsn))
    gate = Gate.open(dsn, policies=MARKET / "policies", state=store, keyring=Keyring(KEYS), audit=Sink())
    gated = gate_engine(sa.create_engine(url(dsn)), gate)
    made = {}
    with psycopg.connect(dsn, autocommit=True) as real:
        for number, name in enumerate((*READERS, *WRITERS)):
            own = postgres.create_database(f"market_twin_{number}")
            caller, known = CALLERS[name.partition(",")[0]], world()
            build_twin(
                real, own, gate.policies, caller, known.facts(caller), answers_of(known), KEYS, datetime.now(UTC)
            )
            made[name] = sa.create_engine(url(own))
    for name in WRITERS:
        with made[name].begin() as connection:
            # A twin has no defaults; new orders get their numbers as they do in the market. What is hidden is empty.
            connection.execute(sa.text("CREATE SEQUENCE market.numbers START 1000"))
            connection.execute(sa.text("ALTER TABLE market.orders ALTER id SET DEFAULT nextval('market.numbers')"))
            connection.execute(sa.text("ALTER TABLE market.people ADD COLUMN IF NOT EXISTS ssn text"))
    yield Twins(gated, made)
    gated.dispose()
    gate.pulse.close()
    for number, engine in enumerate(made.values()):
        engine.dispose()
        postgres.drop_database(f"market_twin_{number}")
    postgres.drop_database("market_beside_twins")


Outcome = tuple[object, ...]


def outcome(session: orm.Session, statement: Any, show: Callable[[Any], object]) -> Outcome:
    """The rows as they are shown, or the SQLSTATE of what went wrong."""
    try:
        return ("rows", [show(row) for row in session.execute(statement).unique().all()])
    except sa.exc.DBAPIError as error:
        own: Any = error.orig
        return ("error", own.sqlstate)
    finally:
        session.rollback()


@st.composite
def conditions(draw: st.DrawFn, attributes: dict[str, Any]) -> Any:
    """Something that may be true of an object."""
    attribute: Any = draw(st.sampled_from(sorted(attributes.values(), key=lambda each: str(each.key)))).class_attribute
    if isinstance(attribute.type, sa.Integer):
        value = draw(st.integers(0, 50))
        return draw(st.sampled_from([attribute < value, attribute == value, attribute % 3 == value % 3]))
    word = draw(st.sampled_from(WORDS))
    return draw(st.sampled_from([attribute == word, attribute.like(word), attribute > word, attribute.is_not(None)]))


@st.composite
def queries(draw: st.DrawFn, seen: dict[Any, dict[str, Any]]) -> tuple[Any, Any, str]:
    """A statement over mapped classes, the class, and the relationship whose members are compared too."""
    entity = draw(st.sampled_from(ENTITIES))
    attributes = seen[entity] or {"id": sa.inspect(entity).attrs["id"]}
    wanted = [draw(conditions(attributes)) for _ in range(draw(st.integers(0, 2)))]
    kind = draw(st.sampled_from(("objects", "objects", "columns", "count", "groups", "members", "exists")))
    relation = draw(st.sampled_from(RELATIONS[entity]))
    columns = [each.class_attribute for each in attributes.values()]
    if kind == "columns":
        return sa.select(*columns).where(*wanted).order_by(entity.id), None, ""
    if kind == "count":
        return sa.select(sa.func.count(), *map(sa.func.max, columns)).select_from(entity).where(*wanted), None, ""
    if kind == "groups":
        by = draw(st.sampled_from(columns))
        return sa.select(by, sa.func.count()).where(*wanted).group_by(by).order_by(by), None, ""
    if kind == "members":
        related = getattr(entity, relation)
        other = related.property.mapper.class_
        return sa.select(entity.id, other.id).join(related).where(*wanted).order_by(entity.id, other.id), None, ""
    statement = sa.select(entity).where(*wanted).order_by(entity.id)
    if kind == "exists":
        related = getattr(entity, relation)
        statement = statement.where(related.any() if related.property.uselist else related.has())
    if draw(st.booleans()):
        statement = statement.limit(draw(st.integers(0, 9))).offset(draw(st.integers(0, 5)))
    return statement, entity, relation


@pytest.mark.filterwarnings("ignore:SELECT statement has a cartesian product")
@pytest.mark.parametrize("caller", READERS)
@given(chance=st.data())
@SETTINGS
def test_reading(twins: Twins, caller: str, chance: st.DataObject) -> None:
    """Any statement over the classes gives the twin's rows, objects, members, or the twin's error."""
    seen = twins.seen(caller)
    statement, entity, relation = chance.draw(queries(seen))
    load = chance.draw(st.sampled_from(LOADERS))
    through, beside = twins.both(caller)
    with through, beside:
        if entity is None:
            assert outcome(through, statement, tuple) == outcome(beside, statement, tuple)
            return
        members = getattr(entity, relation)
        other = members.property.mapper.class_
        with_members = bool(seen[entity] and seen[other])
        options = [load(members)] if with_members else []

        def show(row: Any) -> object:
            values = [(key, getattr(row[0], key)) for key in seen[entity]]
            held = getattr(row[0], relation) if with_members else []
            return values, sorted(each.id for each in ([held] if not isinstance(held, list) else held) if each)

        absent = [
            orm.defer(each.class_attribute)
            for each in sa.inspect(entity).column_attrs
            if seen[entity] and each.key not in seen[entity]
        ]
        if with_members:
            unseen = [each for each in sa.inspect(other).column_attrs if each.key not in seen[other]]
            absent += [load(members).defer(each.class_attribute) for each in unseen]
        mine = outcome(through, statement.options(*options), show)
        assert mine == outcome(beside, statement.options(*options, *absent), show)


Step = Callable[[orm.Session], object]


def _nth(session: orm.Session, number: int) -> Any:
    orders = session.scalars(sa.select(Order).order_by(Order.id)).all()
    return orders[number % len(orders)]


def _change(number: int, amount: int) -> Step:
    def step(session: orm.Session) -> None:
        order = _nth(session, number)
        order.amount, order.remark = amount, f"changed to {amount}"

    return step


def _add(number: int, amount: int) -> Step:
    def step(session: orm.Session) -> None:
        people = session.scalars(sa.select(Person).order_by(Person.id).options(orm.load_only(Person.id))).all()
        tag = session.get_one(Tag, 1 + number % 5)
        people[number % len(people)].orders.append(Order(amount=amount, secrecy=amount % 2, tags=[tag]))

    return step


def _remove(number: int, _amount: int) -> Step:
    def step(session: orm.Session) -> None:
        order = _nth(session, number)
        order.tags.clear()
        session.flush()
        session.delete(order)

    return step


def _rename(number: int, amount: int) -> Step:
    return lambda session: session.execute(
        sa.update(Person).where(Person.id % 7 == number % 7).values(name=Person.name + f" {amount}", about="told")
    )


def _raise_all(number: int, amount: int) -> Step:
    return lambda session: session.execute(
        sa.update(Order).where(Order.amount > number).values(amount=Order.amount + amount).returning(Order.id)
    ).all()


def _remove_many(number: int, _amount: int) -> Step:
    def step(session: orm.Session) -> None:
        own = order_tags.c.order_id
        session.execute(sa.delete(order_tags).where(own % 5 == number % 5, own < 1000))
        # New orders have other numbers here and there.
        session.execute(sa.delete(Order).where(Order.id % 5 == number % 5, Order.id < 1000))

    return step


def _insert_many(number: int, amount: int) -> Step:
    def step(session: orm.Session) -> None:
        first = session.scalars(sa.select(Person.id).order_by(Person.id)).first()
        rows = [{"person_id": first, "amount": amount + n, "secrecy": n % 2} for n in range(number % 4 + 1)]
        session.scalars(sa.insert(Order).returning(Order.amount), rows).all()

    return step


STEPS: tuple[Callable[[int, int], Step], ...] = (
    _change, _add, _remove, _rename, _raise_all, _remove_many, _insert_many,
)  # fmt: skip
STATE = (
    sa.select(Order.person_id, Order.amount, Order.secrecy, Order.remark),
    sa.select(Person.id, Person.name, Person.about, Person.version, Person.region),
    sa.select(order_tags.c.tag_id, sa.func.count()).group_by(order_tags.c.tag_id),
)


@pytest.mark.parametrize("caller", ["boss", "clerk"])
@given(program=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 200), st.integers(0, 99)), max_size=5))
@settings(SETTINGS, max_examples=20)
def test_writing(twins: Twins, caller: str, program: list[tuple[Callable[[int, int], Step], int, int]]) -> None:
    """After a unit of work that the policy permits, the caller sees what is on the twin after the same."""
    ended = []
    for session in twins.both(caller, writes=True):
        with session:
            for step, number, amount in program:
                step(number, amount)(session)
                session.flush()
            ended.append([sorted(map(repr, session.execute(state).all())) for state in STATE])
            session.rollback()
    assert ended[0] == ended[1]
