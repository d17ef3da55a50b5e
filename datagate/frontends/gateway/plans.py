"""Statements of one client that come again and again: what is sent for them, made ready once.

Texts that differ in movable numbers alone share a plan (`skeleton`). A plan is worth its making from the second time
on, and holds as long as the way's rights do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from struct import Struct

from datagate.backends.postgres.skeleton import INT4, movable, split, with_parameters
from datagate.frontends.gateway.sending import Sendable, Types
from datagate.gate import Known

_MOST = 512
_LONGEST = 4096
_LENGTH = Struct("!I").pack
_COUNT = Struct("!H").pack
TEXT_RESULTS = b"\0\0"
"""All columns as text: the formats, as they stand in a Bind."""

_QUERY = re.compile(rb"\s*(?:SELECT|VALUES|TABLE|WITH|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)

_MOVABLE: dict[bytes, tuple[int, ...]] = {}
"""Of skeletons that were looked at, in this process."""

Values = tuple[bytes, ...]


@dataclass(slots=True)
class Asked:
    """A text that is asked for again, cut up: ``key`` says which plan is its, ``values`` what is bound to it."""

    key: object
    text: str
    values: Values


@dataclass(slots=True)
class Plan:
    """What is sent for a text: ``known`` is the gate's answer, good as long as ``standing`` is the session's."""

    known: Known
    standing: object
    sendable: Sendable
    types: Types
    head: bytes = field(init=False)
    tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        sendable = self.sendable
        own = len(self.types)
        formats = (0,) * own + sendable.formats if any(sendable.formats) else ()
        self.head = b"\0" + b"".join(map(_COUNT, (len(formats), *formats))) + _COUNT(own + len(sendable.values))
        policy = (b"\xff\xff\xff\xff" if value is None else _LENGTH(len(value)) + value for value in sendable.values)
        self.tail = b"".join(policy) + TEXT_RESULTS

    def bind(self, name: bytes, values: Values) -> bytes:
        """A Bind of the unnamed portal, all columns as text."""
        own = b"".join([_LENGTH(len(each)) + each for each in values])
        size = 5 + len(name) + len(self.head) + len(own) + len(self.tail)
        return b"B%b\0%b%b%b%b" % (_LENGTH(size), name, self.head, own, self.tail)

    @property
    def holds(self) -> bool:
        """Whether numbers are what the gate assumed of its parameters; it looks at their type alone."""
        return self.sendable.own == len(self.types) and self.sendable.holds(self.types, (b"1",) * len(self.types))


class Plans:
    """The plans of one client."""

    def __init__(self) -> None:
        self._plans: dict[object, Plan] = {}
        self._seen: dict[object, int] = {}
        self._unfit: set[object] = set()

    def forget(self) -> None:
        """The caller's rights are others."""
        self._plans.clear()
        self._unfit.clear()

    def find(self, text: bytes) -> tuple[Plan, Values] | None:
        """The plan of a text, where there is one."""
        parts = split(text)
        if len(parts) == 1:
            plan = self._plans.get(text)
            return None if plan is None else (plan, ())
        moved = _MOVABLE.get(b"\0".join(parts[::2]))
        if moved is None:
            return None
        plan = self._plans.get(_key(text, parts, moved))
        return None if plan is None else (plan, tuple([parts[2 * index + 1] for index in moved]))

    def wanted(self, text: bytes) -> Asked | None:
        """How a text is to be asked for, if it is worth a plan by now."""
        if len(text) > _LONGEST or _QUERY.match(text) is None:
            return None
        parts = split(text)
        skeleton = b"\0".join(parts[::2])
        seen = self._seen.get(skeleton, 0)
        if seen == 0:
            if len(self._seen) >= _MOST:
                self._seen.clear()
            self._seen[skeleton] = 1
            return None
        moved = _MOVABLE.get(skeleton)
        if moved is None:
            if len(_MOVABLE) >= 8 * _MOST:
                _MOVABLE.clear()
            moved = _MOVABLE[skeleton] = movable(text) if len(parts) > 1 else ()
        key = _key(text, parts, moved)
        if key in self._unfit:
            return None
        if not moved:
            # Other texts of the skeleton say nothing about this one.
            self._seen[text] = count = self._seen.get(text, 0) + 1
            if count < 2 and len(parts) > 1:
                return None
        values = tuple([parts[2 * index + 1] for index in moved])
        return Asked(key, with_parameters(parts, moved).decode("utf-8", "replace"), values)

    def keep(self, asked: Asked, plan: Plan) -> bool:
        """Keep a plan; whether it is fit to be run."""
        if not plan.holds:
            self.reject(asked)
            return False
        if len(self._plans) >= _MOST:
            self._plans.clear()
        self._plans[asked.key] = plan
        return True

    def rejects(self, asked: Asked) -> bool:
        """Whether a text goes the plain way."""
        return asked.key in self._unfit

    def reject(self, asked: Asked) -> None:
        """A text goes the plain way from now on."""
        if len(self._unfit) >= _MOST:
            self._unfit.clear()
        self._unfit.add(asked.key)


def types_of(values: Values) -> Types:
    """The types of numbers that were moved."""
    return (INT4,) * len(values)


def _key(text: bytes, parts: list[bytes], moved: tuple[int, ...]) -> object:
    """Which numbers are moved, and all else of the text: where none are, that is the text."""
    if not moved:
        return text
    if len(parts) == 2 * len(moved) + 1:
        return moved, b"\0".join(parts[::2])
    return moved, b"\0".join([b"$" if at % 2 and at // 2 in moved else part for at, part in enumerate(parts)])
