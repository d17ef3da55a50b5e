"""Masks stay where they are shown: which attributes show them, and that none is flushed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, inspect
from sqlalchemy.orm import ColumnProperty, Mapper, PassiveFlag
from sqlalchemy.sql import visitors

from datagate.errors import Refused
from datagate.frontends.orm.outlook import Outlook
from datagate.frontends.orm.stamps import stamp_of

_SMALL_INTEGERS = range(-5, 257)
# A text that has a mask of this length in it was made of it; shorter ones occur by chance.
_LONG_TEXT = 6
# With more texts than this, the parts of a text are looked up rather than each text looked for in it.
_FEW = 1000


class Masks:
    """Masks that a session shows, or gave to the application, to recognise what was made of them."""

    def __init__(self) -> None:
        self._objects: dict[int, tuple[str, object]] = {}
        self._texts: dict[str, str] = {}
        self._sizes: set[int] = set()

    @classmethod
    def of(cls, given: Masks, held: Iterable[Any], outlook_of: Any) -> Masks:
        """Those that were given, and those that objects show now."""
        out = cls()
        out._objects.update(given._objects)
        out._texts.update(given._texts)
        out._sizes.update(given._sizes)
        for value, name in _masks(held, outlook_of):
            out.note(value, name)
        return out

    def note(self, value: object, name: str) -> None:
        """Add one, with the attribute that shows it."""
        if isinstance(value, str):
            if _is_telling(value):
                self._texts.setdefault(value, name)
                if len(value) >= _LONG_TEXT:
                    self._sizes.add(len(value))
        elif _is_telling(value):
            # The value as well: so long as it is here, nothing else has its id.
            self._objects.setdefault(id(value), (name, value))

    def keep_to(self, most: int) -> None:
        """Forget the oldest, so that a session that lives long does not grow without end."""
        for known in (self._objects, self._texts):
            while len(known) > most:
                del known[next(iter(known))]  # type: ignore[arg-type] # its own key

    def source(self, value: object) -> str | None:
        """The attribute from whose mask a value is: the same object, an equal text, or one that has the mask in it.

        A number that was computed from a mask is not recognised.
        """
        if isinstance(value, str):
            if not self._texts or not _is_telling(value):
                return None
            found = self._texts.get(value)
            return found if found is not None or len(value) <= _LONG_TEXT else self._within(value)
        if not self._objects or not _is_telling(value):
            return None
        known = self._objects.get(id(value))
        return None if known is None else known[0]

    def _within(self, value: str) -> str | None:
        """The attribute of a mask that a text has in it."""
        if len(self._texts) <= _FEW:
            parts = (text for text in self._texts if len(text) >= _LONG_TEXT and text in value)
        else:
            starts = range(len(value))
            parts = (
                value[at : at + size] for size in self._sizes for at in starts if value[at : at + size] in self._texts
            )
        part = next(parts, None)
        return None if part is None else self._texts[part]


def check_flush(
    new: Iterable[Any], dirty: Iterable[Any], deleted: Iterable[Any], known: Callable[[], Masks], outlook_of: Any
) -> None:
    """Refuse to write to or from a masked or hidden attribute.

    Args:
        new: objects to be inserted.
        dirty: objects that may have to be updated.
        deleted: objects to be deleted.
        known: the masks of the session.
        outlook_of: what the caller sees of a mapper's registry.

    Raises:
        Refused: names the attribute.
    """
    changes = [*_given(new), *_changed(dirty)]
    for state in [each for each, _, _ in changes] + [inspect(each) for each in deleted]:
        _expect_version(state, outlook_of)
    if not changes:
        return
    masks = known()
    for state, prop, value in changes:
        outlook: Outlook = outlook_of(state.mapper)
        if prop.key in outlook.masked.get(state.mapper, ()):
            raise Refused(f"{prop} shows this caller a mask, so he may not write it")
        if prop in outlook.hidden:
            raise Refused(f"{prop} is a column that this caller does not see, so he may not write it")
        stamp = stamp_of(state) if state.key is None else None
        source = masks.source(value)
        if stamp is not None and _is_telling(value) and stamp.values.get(prop.key) is value:
            source = str(prop)
        if source is not None:
            raise written_from(str(prop), source)


def _expect_version(state: Any, outlook_of: Any) -> None:
    """Refuse to write over or delete a row of which nobody can say whether it is as it was read."""
    column = state.mapper.version_id_col
    if column is not None and state.key is not None:
        prop = state.mapper.get_property_by_column(column)
        if prop in outlook_of(state.mapper).hidden:
            raise Refused(
                f"{prop} is the version of its class, and this caller does not see it; without it, rows of the class "
                "are not changed by a flush"
            )


def written_from(target: str, source: str) -> Refused:
    """What is said where a mask would reach the table."""
    return Refused(f"{target} would be written from {source}, which shows this caller a mask")


def check_statement(statement: Any, parameters: Any, masks: Callable[[], Masks]) -> None:
    """Refuse a statement that would write what was made of a mask.

    Raises:
        Refused: names the column.
    """
    given = list(_written(statement, parameters))
    if not given:
        return
    known = masks()
    for column, value in given:
        source = known.source(value)
        if source is not None:
            raise written_from(f"{statement.table}.{column}", source)


def _written(statement: Any, parameters: Any) -> Iterator[tuple[str, object]]:
    """The values that an INSERT or UPDATE gives to columns: in its own words, and as parameters."""
    own = dict(statement._values or ())
    own.update(dict(getattr(statement, "_ordered_values", None) or ()))
    rows = [dict(own), *(row for rows in getattr(statement, "_multi_values", ()) for row in rows)]
    for row in rows:
        for column, value in row.items() if isinstance(row, Mapping) else ():
            name = getattr(column, "key", column)
            for element in visitors.iterate(value) if isinstance(value, ClauseElement) else (value,):
                if isinstance(element, BindParameter):
                    yield str(name), element.value
                elif not isinstance(element, ClauseElement):
                    yield str(name), element
    columns = {column.key for column in statement.table.c if not column.primary_key}
    for given in parameters or ():
        yield from ((name, value) for name, value in given.items() if name in columns)


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
        for key in shown_masked(state.mapper, outlook_of(state.mapper)):
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
    return outlook.masked.get(mapper, _NONE) | outlook.varying.get(mapper, _NONE)


def named_masked(mapper: Mapper[Any], outlook: Outlook) -> frozenset[str]:
    """These, and what is made of them: hybrids, composites and synonyms."""
    return shown_masked(mapper, outlook) | outlook.derived.get(mapper, _NONE)


_NONE: frozenset[str] = frozenset()
