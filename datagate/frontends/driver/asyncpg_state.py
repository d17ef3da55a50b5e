"""What asyncpg's prepared statements are where the gate stands before the wire, and the types that they know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import adapters

from datagate.backends.postgres.assumptions import hold
from datagate.errors import InterfaceError
from datagate.frontends.driver.admission import Admitted

_NOT_THERE = dict.fromkeys(("range_subtype", "attrtypoids", "attrnames", "basetype", "basetype_name"))
ARRAYS = {
    each.array_oid: _NOT_THERE
    | {"oid": each.array_oid, "ns": "pg_catalog", "name": f"_{each.name}", "kind": b"b"}
    | {"elemtype": each.oid, "elemtype_name": each.name, "elemdelim": each.delimiter}
    for each in adapters.types
    if each.array_oid
}
"""PostgreSQL's own array types, as asyncpg would learn them; their OIDs never change."""


class GatedState:
    """A prepared statement: the caller's text, and what the server has prepared for it by now."""

    def __init__(self, text: str, name: str, *, record_class: type, ignore_custom_codec: bool) -> None:
        self.query = text
        self.name = name
        self.record_class = record_class
        self.ignore_custom_codec = ignore_custom_codec
        self.refs = 0
        self.closed = False
        self.prepared: Any = None
        self.admitted: Admitted | None = None
        self.types: tuple[int, ...] = ()
        self.described: object = None

    def attach(self) -> None:
        """As asyncpg's."""
        self.refs += 1

    def detach(self) -> None:
        """As asyncpg's."""
        self.refs -= 1

    def mark_closed(self) -> None:
        """As asyncpg's."""
        self.closed = True

    def mark_unprepared(self) -> None:
        """As asyncpg's."""
        self.prepared.mark_unprepared()

    def _init_types(self) -> frozenset[int]:
        """No type is unknown: `GatedProtocol` has looked them up."""
        return frozenset()

    def _init_codecs(self) -> None:
        """They are there."""

    def _get_parameters(self) -> tuple[Any, ...]:
        """The caller's own."""
        found: tuple[Any, ...] = self.prepared._get_parameters()
        return found[: self.own]

    def _get_attributes(self) -> tuple[Any, ...]:
        """None where the rows that come are the gate's."""
        self.described = self.attributes()
        return self.described

    def attributes(self) -> tuple[Any, ...]:
        """What the statement's rows consist of."""
        shown = self.admitted is None or self.admitted.shows_rows
        return tuple(self.prepared._get_attributes()) if shown else ()

    @property
    def own(self) -> int:
        """How many parameters the caller's text has."""
        return self.admitted.caller_parameters if self.admitted is not None else 0


def fits(state: GatedState, args: Sequence[object] | None, sets: Sequence[tuple[object, ...]]) -> bool:
    """Check the number of parameters, and whether they are what the gate assumed of them."""
    admitted, own = state.admitted, state.own
    every = sets if args is None else [args]
    for given in every:
        if len(given) != own:
            raise InterfaceError(f"the statement has {own} parameters, and {len(given)} values were given")
    if admitted is None or not admitted.assumptions:
        return True
    return all(hold(admitted.assumptions, state.types, [_bytes(each) for each in given]) for given in every)


def _bytes(value: object) -> bytes | None:
    """What `hold` looks at: a text's own characters; of anything else the type says enough."""
    return None if value is None else value.encode() if isinstance(value, str) else b"\\"
