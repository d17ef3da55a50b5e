"""What one caller sees of mapped classes: which attributes are hidden from him, and which show masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeGuard

from sqlalchemy import Column, ColumnElement, Engine, Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty, configure_mappers, registry
from sqlalchemy.orm.interfaces import MapperProperty
from sqlalchemy.sql import coercions, roles, visitors

from datagate.frontends.orm import attributes
from datagate.gate import Footing, Gate, GateSession, Sight, told

_numbers = count(1)
_interned: dict[frozenset[MapperProperty[object]], int] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """The attributes of a registry's classes in one caller's sight.

    ``hidden``: properties that name a column which does not exist for him. ``masked``: for each mapper, the attributes
    that never show what the table holds; ``varying``: those that do so in some rows only; ``derived``: hybrids,
    composites and synonyms that are made of these. ``masked_keys``: of all mappers, masked or varying. ``number``: the
    same for equal ``hidden``, for the keys of SQLAlchemy's compiled caches.
    """

    hidden: frozenset[MapperProperty[object]]
    masked: dict[Mapper[object], frozenset[str]]
    varying: dict[Mapper[object], frozenset[str]]
    derived: dict[Mapper[object], frozenset[str]]
    masked_keys: frozenset[str]
    number: int


class Lane:
    """One caller's way through the gate, with what he sees of mapped classes.

    Attributes:
        gate_session: The way.
        engine: The caller's engine, once there is one.
    """

    def __init__(self, gate_session: GateSession, gate: Gate) -> None:
        self.gate_session = gate_session
        self.gate = gate
        self.engine: Engine | None = None
        self._mark: object = None
        self._told_of: object = None
        self._told: Footing | None = None
        self._outlooks: dict[tuple[registry, int], Outlook] = {}
        self._sights: dict[Table, Sight | None] = {}

    def footing(self) -> Footing:
        """What the caller's sight stands on by now."""
        return self.gate_session.footing()

    def told(self) -> Footing | None:
        """What statements stand on now, if they tell by themselves when that changes; asks nothing."""
        mark = self.gate_session.rights_mark()
        if mark is not self._told_of:
            self._told_of, self._told = mark, told(mark)
        return self._told

    def stirs(self) -> int:
        """Grows soon after anything changed; costs no question."""
        return self.gate.pulse.stirs()

    def outlook(self, mapped: registry) -> Outlook:
        """What the caller sees of a registry's classes, by his rights as they were read last."""
        self._forget_if_changed()
        key = (mapped, attributes.instrumented())
        found = self._outlooks.get(key)
        if found is None:
            configure_mappers()
            found = self._outlooks[key] = _look(self._sight, tuple(mapped.mappers))
        return found

    def sight(self, table: Table) -> Sight | None:
        """How the caller sees a table, by his rights as they were read last."""
        self._forget_if_changed()
        return self._sight(table)

    def _forget_if_changed(self) -> None:
        mark = self.gate_session.rights_mark()
        if mark is not self._mark:
            self._outlooks, self._sights = {}, {}
            self._mark = mark

    def _sight(self, table: Table) -> Sight | None:
        if table not in self._sights:
            self._sights[table] = self.gate_session.sight(table.schema, table.name)
        return self._sights[table]


def _look(sight: Callable[[Table], Sight | None], mappers: tuple[Mapper[object], ...]) -> Outlook:
    hidden: set[MapperProperty[object]] = set()
    masked: dict[Mapper[object], frozenset[str]] = {}
    varying: dict[Mapper[object], frozenset[str]] = {}
    for mapper in mappers:
        own = mapper.local_table
        if isinstance(own, Table) and sight(own) is None:
            # The relation does not exist for the caller; the gate says so in its own words.
            continue
        never, sometimes = set(), set()
        for prop in mapper.attrs:
            columns = list(_columns(prop))
            seen = [(column, sight(column.table)) for column in columns]
            if any(found is None or column.name not in found.columns for column, found in seen):
                hidden.add(prop)
            elif isinstance(prop, ColumnProperty):
                if any(found is not None and column.name in found.masked for column, found in seen):
                    never.add(prop.key)
                elif any(found is not None and column.name in found.varying for column, found in seen):
                    sometimes.add(prop.key)
        masked[mapper] = frozenset(never)
        varying[mapper] = frozenset(sometimes)
    gone = frozenset(hidden)
    derived = {mapper: frozenset(_derived(mapper, masked[mapper] | varying[mapper])) for mapper in masked}
    keys = frozenset().union(*masked.values(), *varying.values())
    return Outlook(gone, masked, varying, derived, keys, _interned.setdefault(gone, next(_numbers)))


def _derived(mapper: Mapper[Any], masked: frozenset[str]) -> Iterator[str]:
    """What is made of masked attributes; a hybrid that does not say what it is made of counts as such."""
    if not masked:
        return
    yield from (each.key for each in mapper.synonyms if each.name in masked)
    yield from (each.key for each in mapper.composites if any(part.key in masked for part in each.props))
    columns = {column for key in masked for column in _columns(mapper.attrs[key])}
    for name, descriptor in mapper.all_orm_descriptors.items():
        if isinstance(descriptor, hybrid_property) and descriptor.__name__ == name:
            try:
                element = coercions.expect(roles.ExpressionElementRole, getattr(mapper.class_, name))
            except (SQLAlchemyError, TypeError, ValueError, AttributeError, LookupError, NotImplementedError):
                # The application wrote it for objects alone.
                yield name
            else:
                if any(
                    each.name == column.name and each.table is column.table
                    for each in _named(element)
                    for column in columns
                ):
                    yield name


def _columns(prop: MapperProperty[object]) -> Iterator[Column[object]]:
    """The columns of tables that loading a property names."""
    if isinstance(prop, RelationshipProperty):
        # Those of the other side are named only when it is loaded by a join.
        yield from (each for each in prop.local_columns if _stands_in_table(each))
    elif isinstance(prop, ColumnProperty):
        yield from _named(prop.columns[0])


def _named(expression: Any) -> Iterator[Column[object]]:
    """The columns of tables that an expression names, also by an alias or a subquery."""
    for element in visitors.iterate(expression):
        if _stands_in_table(element):
            yield element
        elif isinstance(element, ColumnElement):
            for base in element.base_columns:
                if base is not element:
                    yield from _named(base)


def _stands_in_table(column: object) -> TypeGuard[Column[object]]:
    return isinstance(column, Column) and isinstance(column.table, Table)
