"""What a server says: the back end's messages, to be made and to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.protocol.fields import Fields

AUTHENTICATION, KEY_DATA, PARAMETER_STATUS, NEGOTIATE = b"RKSv"
PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, NO_DATA, PARAMETER_DESCRIPTION, ROW_DESCRIPTION = b"123ntT"
DATA_ROW, COMMAND_COMPLETE, PORTAL_SUSPENDED, EMPTY_QUERY, READY, ERROR, NOTICE, NOTIFICATION = b"DCsIZENA"
COPY_IN, COPY_OUT, COPY_BOTH, COPY_DATA, COPY_DONE, FUNCTION_RESULT = b"GHWdcV"
TYPES = frozenset(b"RKSv123ntTDCsIZENAGHWdcV")
"""All type bytes that a back end may send."""

IDLE, IN_TRANSACTION, FAILED = b"ITE"

_UINT4 = Struct("!I").pack
_COLUMN = Struct("!IHIhih")
_LENGTH = Struct("!I").unpack_from
_READY_HEADER = b"Z\0\0\0\x05"

PARSE_COMPLETE_MESSAGE = b"1\0\0\0\x04"
BIND_COMPLETE_MESSAGE = b"2\0\0\0\x04"
CLOSE_COMPLETE_MESSAGE = b"3\0\0\0\x04"
EMPTY_QUERY_MESSAGE = b"I\0\0\0\x04"
NO_DATA_MESSAGE = b"n\0\0\0\x04"
AUTHENTICATION_OK = b"R\0\0\0\x08\0\0\0\0"
CLEARTEXT_PASSWORD = b"R\0\0\0\x08\0\0\0\x03"

Diagnostics = Mapping[str, str]
"""The fields of an error or notice by their letter (PostgreSQL manual, 55.8)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a RowDescription: its name, the table and number that it comes from (0: none), and its type."""

    name: bytes
    table: int
    number: int
    type: int
    size: int
    modifier: int
    format: int


def _message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + _UINT4(len(body) + 4) + body


def ready(status: int) -> bytes:
    """Ready for the next statement."""
    return b"Z\0\0\0\x05" + bytes((status,))


def error(diagnostics: Diagnostics) -> bytes:
    """An error."""
    return _message(b"E", _diagnostics(diagnostics))


def notice(diagnostics: Diagnostics) -> bytes:
    """A notice."""
    return _message(b"N", _diagnostics(diagnostics))


def _diagnostics(diagnostics: Diagnostics) -> bytes:
    fields = [f"{letter}{text}".encode() + b"\0" for letter, text in diagnostics.items()]
    return b"".join(fields) + b"\0"


def read_diagnostics(body: bytes) -> Diagnostics:
    """The fields of an error or notice; bytes that are no UTF-8 are replaced."""
    fields = Fields(body)
    found: dict[str, str] = {}
    while letter := fields.byte():
        found[chr(letter)] = fields.text().decode("utf-8", "replace")
    return found


def parameter_status(name: bytes, value: bytes) -> bytes:
    """The present value of a setting."""
    return _message(b"S", name, b"\0", value, b"\0")


def read_parameter_status(body: bytes) -> tuple[bytes, bytes]:
    """Name and value of a setting."""
    fields = Fields(body)
    return fields.text(), fields.text()


def key_data(process: int, key: bytes) -> bytes:
    """With what a client can cancel."""
    return _message(b"K", _UINT4(process), key)


def negotiate(newest_minor: int, unknown: Sequence[str]) -> bytes:
    """What is not spoken of what a client asked for."""
    names = b"".join(name.encode() + b"\0" for name in unknown)
    return _message(b"v", _UINT4(3 << 16 | newest_minor), _UINT4(len(unknown)), names)


def sasl(mechanisms: Sequence[str]) -> bytes:
    """Ask for a SASL exchange."""
    return _message(b"R", _UINT4(10), b"".join(name.encode() + b"\0" for name in mechanisms), b"\0")


def sasl_continue(data: bytes) -> bytes:
    """Go on with a SASL exchange."""
    return _message(b"R", _UINT4(11), data)


def sasl_final(data: bytes) -> bytes:
    """End a SASL exchange."""
    return _message(b"R", _UINT4(12), data)


def command_complete(tag: str) -> bytes:
    """A statement is done."""
    return _message(b"C", tag.encode(), b"\0")


def row_description(columns: Sequence[Column]) -> bytes:
    """The columns of what comes."""
    parts = [len(columns).to_bytes(2, "big")]
    for column in columns:
        fixed = (column.table, column.number, column.type, column.size, column.modifier, column.format)
        parts += (column.name, b"\0", _COLUMN.pack(*fixed))
    return _message(b"T", *parts)


def read_row_description(body: bytes) -> list[Column]:
    """The columns of a RowDescription."""
    fields = Fields(body)
    columns = []
    for _ in range(fields.count()):
        name = fields.text()
        columns.append(Column(name, *_COLUMN.unpack(fields.take(_COLUMN.size))))
    fields.end()
    return columns


def data_row(values: Sequence[bytes | None]) -> bytes:
    """One row of the gateway's own."""
    parts = [len(values).to_bytes(2, "big")]
    for value in values:
        parts += (b"\xff\xff\xff\xff",) if value is None else (_UINT4(len(value)), value)
    return _message(b"D", *parts)


def parameter_description(types: Sequence[int]) -> bytes:
    """The types of a statement's parameters."""
    return _message(b"t", len(types).to_bytes(2, "big"), *map(_UINT4, types))


def read_parameter_description(body: bytes) -> tuple[int, ...]:
    """The types of a statement's parameters."""
    fields = Fields(body)
    types = fields.oids()
    fields.end()
    return types


def read_authentication(body: bytes) -> tuple[int, bytes]:
    """Which way of authentication a server asks for, and what comes with it."""
    fields = Fields(body)
    return fields.unsigned(), fields.rest()


def read_mechanisms(rest: bytes) -> list[str]:
    """The SASL mechanisms that a server offers."""
    if not rest.endswith(b"\0\0"):
        raise ProtocolViolation("invalid message format")
    return [name.decode("ascii", "replace") for name in rest[:-2].split(b"\0")]


def whole_answer(data: bytes) -> int:
    """Where CommandComplete begins, if this is just BindComplete, rows, CommandComplete and ReadyForQuery; else 0."""
    last = len(data) - 6
    if not data.startswith(BIND_COMPLETE_MESSAGE) or data[last:-1] != _READY_HEADER:
        return 0
    at, stop = 5, last - 5
    while at <= stop:
        kind = data[at]
        end: int = at + 1 + _LENGTH(data, at + 1)[0]
        if kind == COMMAND_COMPLETE:
            return at if end == last else 0
        if kind != DATA_ROW:
            return 0
        at = end
    return 0
