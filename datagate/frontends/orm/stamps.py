"""What an object keeps that left its session: for whom it was read, when, and the masks that it shows.

Sessions let go of thousands of objects at once, so that what they all keep is made once for each class; an object has
a reference to that, and its masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from datagate.gate import Footing
from datagate.model.caller import Caller

_INFO = "datagate"
_MISSING = object()
_NOTHING: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Stamp:
    """For whom an object was read, when, which of its attributes are masked, and what those showed."""

    caller: Caller
    footing: Footing | None
    masked: frozenset[str]
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seal:
    """What all objects of one class share that leave a session at once.

    ``masked``: the attributes to be named as such. ``shown``: those among them that are columns, and hold masks.
    """

    caller: Caller
    footing: Footing | None
    masked: frozenset[str]
    shown: tuple[str, ...]


def leave(states: Iterable[Any], seal_of: Callable[[Any], Seal]) -> None:
    """Let objects keep what they are to be known by; ``seal_of`` a mapper is asked once for each class."""
    seals: dict[Any, tuple[Seal, Callable[[Any], Any] | None]] = {}
    for state in states:
        if state.key is None:
            continue
        found = seals.get(state.manager)
        if found is None:
            seal = seal_of(state.mapper)
            # Of one key, itemgetter gives no tuple; twice the same key does.
            keys = seal.shown if len(seal.shown) != 1 else seal.shown * 2
            found = seals[state.manager] = seal, itemgetter(*keys) if keys else None
        seal, getter = found
        if getter is None:
            state.datagate_left = seal, _NOTHING
            continue
        held = state.dict
        try:
            values = getter(held) if not state.committed_state else _unchanged(state, seal)
        except KeyError:
            values = _unchanged(state, seal)
        state.datagate_left = seal, values


def _unchanged(state: Any, seal: Seal) -> tuple[object, ...]:
    """What is as it was read; what the application assigned is its own."""
    held, changed = state.dict, state.committed_state
    return tuple(held.get(key, _MISSING) if key not in changed else _MISSING for key in seal.shown)


def stamp_of(state: Any) -> Stamp | None:
    """What an object keeps; None: it never was in a gated session."""
    left: tuple[Seal, tuple[object, ...]] | None = getattr(state, "datagate_left", None)
    if left is None:
        kept: Stamp | None = state.info.get(_INFO)
        return kept
    seal, values = left
    own = {key: value for key, value in zip(seal.shown, values, strict=False) if value is not _MISSING}
    return Stamp(seal.caller, seal.footing, seal.masked, own)


def pickled(state: Any) -> dict[str, Any]:
    """An object's ``info`` as it is to be pickled, with its stamp."""
    stamp = stamp_of(state)
    return state.info if stamp is None else {**state.info, _INFO: stamp}
