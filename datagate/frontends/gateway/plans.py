"""Statements of one client that come again and again: what is sent for them, made ready once.

Texts that differ in movable numbers alone share a plan (`skeleton`). A plan is worth its making from the second time
on, and holds as long as the way's rights do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from struct import Struct

from datagate.backends.postgres.skeleton import INT4, movable, split, with_parameters
from datagate.frontends.gateway.pins import pins
from datagate.frontends.gateway.sending import Sendable, Types
from datagate.frontends.gateway.upstream import Key
from datagate.gate import Known

_MOST = 512
_LONGEST = 4096
_LENGTH = Struct("!I").pack
_COUNT = Struct("!H").pack
_COUNT_AT = Struct("!H").unpack_from
_SIGNED_AT = Struct("!i").unpack_from
_TEXT, _BINARY = b"\0\0", b"\0\1"
_HEADER, _DIGITS = 5, 9
TEXT_RESULTS = b"\0\0"
"""All columns as text: the formats, as they stand in a Bind."""

_QUERY = re.compile(rb"\s*(?:SELECT|VALUES|TABLE|WITH|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)

_MOVABLE: dict[bytes, tuple[int, ...]] = {}
"""Of skeletons that were looked at, in this process."""

Values = tuple[bytes, ...]


@dataclass(slots=True)
class Asked:
    """A text that is asked for again, cut up: ``key`` says which plan is its, ``values`` what is bound to it.

    ``around``: what stands before and behind the one number that is moved; all of it, and nothing, where none is; None
    where there are several.
    """

    key: object
    text: str
    values: Values
    around: tuple[bytes, bytes] | None


@dataclass(slots=True, eq=False)
class Plan:
    """What is sent for a text: ``known`` is the gate's answer, good as long as ``standing`` is the session's.

    ``at_once``: whether it can be recorded without waiting. ``around``: as of `Asked`.
    """

    known: Known
    standing: object
    sendable: Sendable
    types: Types
    at_once: bool = True
    around: tuple[bytes, bytes] | None = None
    shows: bool = field(init=False)
    head: bytes = field(init=False)
    tail: bytes = field(init=False)
    _key: Key | None = None
    _front: bytes = b""
    _behind: bytes = b""

    def __post_init__(self) -> None:
        sendable = self.sendable
        self.shows = sendable.admitted.shows_rows
        if self.around is not None:
            self._front, self._behind = self.around[0], self.around[1] + b"\0"
        own = len(self.types)
        formats = (0,) * own + sendable.formats if any(sendable.formats) else ()
        self.head = b"\0" + b"".join(map(_COUNT, (len(formats), *formats))) + _COUNT(own + len(sendable.values))
        policy = (b"\xff\xff\xff\xff" if value is None else _LENGTH(len(value)) + value for value in sendable.values)
        self.tail = b"".join(policy) + TEXT_RESULTS

    def bind(self, name: bytes, values: Values) -> bytes:
        """A Bind of the unnamed portal, all columns as text."""
        own = b"".join([_LENGTH(len(each)) + each for each in values])
        size = 5 + len(name) + len(self.head) + len(own) + len(self.tail)
        return b"".join((b"B", _LENGTH(size), b"\0", name, self.head, own, self.tail))

    def values(self, query: bytes) -> Values | None:
        """What a Query has in the place of the number that is moved; None where it is another, or not to be told."""
        front, behind = self._front, self._behind
        if not behind or not query.startswith(front, _HEADER) or not query.endswith(behind):
            return None
        if not self.types:
            return () if len(query) == _HEADER + len(front) + 1 else None
        number = query[_HEADER + len(front) : -len(behind)]
        return (number,) if len(number) <= _DIGITS and number.isdigit() else None

    def key(self, read_by: object) -> Key:
        """What its statement is known by upstream."""
        key = self._key
        if key is None or key[2] is not read_by:
            key = self._key = (self.sendable.text, self.types, read_by)
        return key

    def rebound(self, data: bytes, at: int, end: int, name: bytes) -> tuple[bytes, bytes] | None:
        """A client's Bind of the unnamed portal with the policy's values behind its own, and the columns' formats.

        ``at``: where the formats of its parameters begin; ``end``: where the message ends. None where that is not to be
        had by moving bytes: several formats, assumptions, or a message that is not as it has to be.
        """
        sendable = self.sendable
        if any(sendable.formats) or sendable.admitted.assumptions or at + 6 > end:
            return None
        formats = _COUNT_AT(data, at)[0]
        code = data[at + 2 : at + 4] if formats else _TEXT
        at += 2 + 2 * formats
        if formats > 1 or code > _BINARY or _COUNT_AT(data, at)[0] != sendable.own:
            return None
        begin = at = at + 2
        for _ in range(sendable.own):
            if at + 4 > end:
                return None
            length = _SIGNED_AT(data, at)[0]
            if length < -1:
                return None
            at += 4 + max(length, 0)
        results = data[at:end]
        if at + 2 > end or 2 + 2 * _COUNT_AT(data, at)[0] != end - at:
            return None
        count, policy = sendable.own + len(sendable.values), len(sendable.values)
        spelled = _TEXT if code == _TEXT else _COUNT(count) + code * sendable.own + _TEXT * policy
        values = data[begin:at] + self.tail[: -len(TEXT_RESULTS)]
        body = b"\0%b\0%b%b%b%b" % (name, spelled, _COUNT(count), values, results)
        return b"B" + _LENGTH(len(body) + 4) + body, results

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
        self.bound: dict[str, Plan] = {}

    def forget(self) -> None:
        """The caller's rights are others."""
        self._plans.clear()
        self._unfit.clear()
        self.bound.clear()

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
        around = (text, b"") if not moved else None
        if len(moved) == 1:
            at = 2 * moved[0] + 1
            around = b"".join(parts[:at]), b"".join(parts[at + 1 :])
        return Asked(key, with_parameters(parts, moved).decode("utf-8", "replace"), values, around)

    def keep(self, asked: Asked, plan: Plan) -> bool:
        """Keep a plan; whether it is fit to be run."""
        if not plan.holds or pins(plan.sendable):
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
