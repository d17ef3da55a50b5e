"""Reading an attribute of an object that a gated session holds: never from memory alone.

Mapped classes keep their descriptors; those of columns and relationships learn to ask the session whether what it holds
still stands. For objects of other sessions, or of none, they do what they did before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from sqlalchemy import event
from sqlalchemy.orm import Mapper, instrumentation
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.orm.base import instance_state
from sqlalchemy.orm.mapper import _all_registries  # SQLAlchemy has no public list of what is mapped already

from datagate.errors import RightsChanged
from datagate.frontends.orm.stamps import pickled


class Keeper(Protocol):
    """What holds objects for one caller; `GatedSession` is one."""

    clock: Callable[[], float]
    quiet_until: float
    masked_keys: frozenset[str]

    def expect_current(self) -> None:
        """Let go of what is held, if anything changed that it depends on."""

    def load(self, attribute: InstrumentedAttribute[Any], state: Any) -> Any:
        """The value of an attribute that is not in memory."""

    def give(self, key: str, state: Any, value: object) -> None:
        """Note what the application reads of an attribute that may show a mask."""

    def stamp(self, state: Any) -> None:
        """Let an object that may leave remember what its masks are."""


KEEPERS: dict[int, ref[Keeper]] = {}
"""Gated sessions by the key that the states of their objects carry."""


def keep(key: int, keeper: Keeper) -> None:
    """Let the objects of a session find it, as long as it lives."""
    KEEPERS[key] = ref(keeper, lambda _: KEEPERS.pop(key, None))


def keeper_of(state: Any) -> Keeper | None:
    """The gated session that holds an object, if one does."""
    found = KEEPERS.get(state.session_id)
    return found() if found is not None and state.key is not None else None


class GatedAttribute(InstrumentedAttribute[Any]):
    """SQLAlchemy's descriptor, which asks the keeper first."""

    __slots__ = ()
    inherit_cache = True

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        state: Any = instance_state(instance)
        found = KEEPERS.get(state.session_id)
        keeper = found() if found is not None and state.key is not None else None
        if keeper is None:
            return InstrumentedAttribute.__get__(self, instance, owner)
        # What follows is run at each access, so that it is spelt out here.
        if keeper.clock() >= keeper.quiet_until:
            keeper.expect_current()
        # What `copy` makes has the state of its original, and values of its own that are never let go of.
        held = instance.__dict__ if state.obj() is instance else state.dict
        key = self.key
        value = held[key] if key in held and self.impl.supports_population else keeper.load(self, state)
        if key in keeper.masked_keys:
            keeper.give(key, state, value)
        return value


class Asking(property):
    """What a composite is read by: what it is made of is held in memory once more, so that it has to ask as well."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is not None:
            keeper = keeper_of(instance_state(instance))
            if keeper is not None:
                keeper.expect_current()
        return super().__get__(instance, owner)


def watch(mapper: Mapper[Any], _class: type | None = None) -> None:
    """Let the attributes of a mapped class ask."""
    manager = instrumentation.manager_of_class(mapper.class_)
    for attribute in dict.values(manager):
        if type(attribute) is InstrumentedAttribute:
            attribute.__class__ = GatedAttribute
    for composite in mapper.composites:
        proxy: Any = manager[composite.key]
        if not isinstance(proxy.descriptor, Asking):
            made = proxy.descriptor
            proxy.descriptor = Asking(made.fget, made.fset, made.fdel)
    if not event.contains(mapper.class_, "pickle", _on_pickle):
        event.listen(mapper.class_, "pickle", _on_pickle)


def _on_pickle(instance: object, state_dict: dict[str, Any]) -> None:
    """A pickle leaves the session: what is in it must be current, and say which of it are masks."""
    state = instance_state(instance)
    keeper = keeper_of(state)
    if keeper is not None:
        held = dict(state.dict)
        keeper.expect_current()
        if held.keys() != state.dict.keys():
            # The values are being written down already, so this cannot go on without what was let go of.
            raise RightsChanged(f"{type(instance).__name__} has to be read again; read it, then pickle it")
        keeper.stamp(state)
    state_dict["info"] = pickled(state)


_instrumented = 0


def instrumented() -> int:
    """Grows with each attribute that is mapped, also of classes that were configured before."""
    return _instrumented


def _watch_late(_class: type, _key: str, attribute: Any) -> None:
    global _instrumented  # noqa: PLW0603 - as SQLAlchemy's list of what is mapped, there is one for the process
    _instrumented += 1
    if type(attribute) is InstrumentedAttribute:
        attribute.__class__ = GatedAttribute


_watching: list[bool] = []


def watch_all() -> None:
    """Let the attributes of all mapped classes ask: those that are mapped, and those that will be."""
    if _watching:
        return
    _watching.append(True)
    event.listen(Mapper, "mapper_configured", watch)
    event.listen(object, "attribute_instrument", _watch_late)
    for registry in _all_registries():
        for mapper in registry.mappers:
            watch(mapper)
