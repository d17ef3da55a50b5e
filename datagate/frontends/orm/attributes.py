"""Reading an attribute of an object that a gated session holds: never from memory alone.

Mapped classes keep their descriptors; those of columns and relationships learn to ask the session whether what it holds
still stands. For objects of other sessions, or of none, they do what they did before.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakValueDictionary

from sqlalchemy import event
from sqlalchemy.orm import Mapper, instrumentation
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.orm.base import instance_state
from sqlalchemy.orm.mapper import _all_registries  # SQLAlchemy has no public list of what is mapped already


class Keeper(Protocol):
    """What holds objects for one caller; `GatedSession` is one."""

    def expect_current(self) -> None:
        """Let go of what is held, if anything changed that it depends on."""

    def load(self, attribute: InstrumentedAttribute[Any], state: Any) -> Any:
        """The value of an attribute that is not in memory."""


KEEPERS: WeakValueDictionary[int, Keeper] = WeakValueDictionary()
"""Gated sessions by the key that the states of their objects carry."""


class GatedAttribute(InstrumentedAttribute[Any]):
    """SQLAlchemy's descriptor, which asks the keeper first."""

    __slots__ = ()
    inherit_cache = True

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        state: Any = instance_state(instance)
        keeper = KEEPERS.get(state.session_id)
        if keeper is None or state.key is None:
            return InstrumentedAttribute.__get__(self, instance, owner)
        keeper.expect_current()
        held = state.dict
        if self.key in held and self.impl.supports_population:
            return held[self.key]
        return keeper.load(self, state)


def watch(mapper: Mapper[Any], _class: type | None = None) -> None:
    """Let the attributes of a mapped class ask."""
    manager = instrumentation.manager_of_class(mapper.class_)
    for attribute in dict.values(manager):
        if type(attribute) is InstrumentedAttribute:
            attribute.__class__ = GatedAttribute


def watch_all() -> None:
    """Let the attributes of all mapped classes ask: those that are mapped, and those that will be."""
    if not event.contains(Mapper, "mapper_configured", watch):
        event.listen(Mapper, "mapper_configured", watch)
    for registry in _all_registries():
        for mapper in registry.mappers:
            watch(mapper)
