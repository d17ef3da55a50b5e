"""Masks stay where they are shown: which attributes show them, and that none is flushed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import ColumnProperty, Mapper, PassiveFlag

from datagate.errors import Refused
from datagate.frontends.orm.outlook import Outlook
from datagate.gate import Footing
from datagate.model.caller import Caller

STAMP = "datagate"
_SMALL_INTEGERS = range(-5, 257)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an object that left its session keeps: for whom it was read, when, and the masks that it shows."""

    caller: Caller
    footing: Footing | None
    masked: frozenset[str]
    values: Mapping[str, object]


def check_flush(new: Iterable[Any], dirty: Iterable[Any], held: Iterable[Any], outlook_of: Any) -> None:
    """Refuse to write to or from a masked or hidden attribute.

    A value counts as a mask's if it is the very object that was loaded as one; what is computed from a mask is not
    recognised.

    Args:
        new: objects to be inserted.
        dirty: objects that may have to be updated.
        held: all objects of the session.
        outlook_of: what the caller sees of a mapper's registry.

    Raises:
        Refused: names the attribute.
    """
    changes = [*_given(new), *_changed(dirty)]
    if not changes:
        return
    masks = {id(value): name for value, name in _masks(held, outlook_of)}
    for state, prop, value in changes:
        outlook: Outlook = outlook_of(state.mapper)
        if prop.key in outlook.masked.get(state.mapper, ()):
            raise Refused(f"{prop} shows this caller a mask, so he may not write it")
        if prop in outlook.hidden:
            raise Refused(f"{prop} is a column that this caller does not see, so he may not write it")
        stamp = state.info.get(STAMP) if state.key is None else None
        source = masks.get(id(value)) if _is_telling(value) else None
        if stamp is not None and _is_telling(value) and stamp.values.get(prop.key) is value:
            source = str(prop)
        if source is not None:
            raise Refused(f"{prop} would be written from {source}, which shows this caller a mask")


def _given(new: Iterable[Any]) -> Iterator[tuple[Any, ColumnProperty[Any], object]]:
    for each in new:
        state: Any = inspect(each)
        for prop in state.mapper.column_attrs:
            value = state.dict.get(prop.key)
            if value is not None:
                yield state, prop, value


def _changed(dirty: Iterable[Any]) -> Iterator[tuple[Any, ColumnProperty[Any], object]]:
    for each in dirty:
        state: Any = inspect(each)
        for prop in state.mapper.column_attrs:
            if prop.key not in state.committed_state:
                continue
            history = state.get_history(prop.key, PassiveFlag.PASSIVE_NO_INITIALIZE)
            if history.has_changes():
                yield state, prop, state.dict.get(prop.key)


def _masks(held: Iterable[Any], outlook_of: Any) -> Iterator[tuple[object, str]]:
    """The masks that objects of the session show, with their attributes' names."""
    for each in held:
        state: Any = inspect(each)
        for key in outlook_of(state.mapper).masked.get(state.mapper, ()):
            # An attribute that was assigned to holds no mask; that it may not be written is another matter.
            if key in state.dict and key not in state.committed_state:
                yield state.dict[key], f"{state.mapper.class_.__name__}.{key}"


def _is_telling(value: object) -> bool:
    """Whether Python makes such a value anew each time, so that the same object means the same origin."""
    if value is None or isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value not in _SMALL_INTEGERS
    return not (isinstance(value, str | bytes) and len(value) < 2)


def shown_masked(mapper: Mapper[Any], outlook: Outlook) -> frozenset[str]:
    """The attributes that show masks, in some rows at least."""
    return outlook.masked.get(mapper, frozenset()) | outlook.varying.get(mapper, frozenset())
