"""What a client says once it is known, and what we say to a server: the front end's messages.

Readers take a body and give a message; writers give whole messages as bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, pack

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.protocol.fields import Fields

QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, FLUSH, SYNC = b"QPBDECHS"
TERMINATE, PASSWORD, FUNCTION_CALL, COPY_DATA, COPY_DONE, COPY_FAIL = b"XpFdcf"
TYPES = frozenset(b"QPBDECHSXpFdcf")
"""All type bytes that a front end may send."""

STATEMENT, PORTAL = b"SP"

_INT4 = Struct("!i").pack
_UINT4 = Struct("!I").pack
_INT2 = Struct("!H").pack
_NULL = _INT4(-1)
SYNC_MESSAGE = b"S\0\0\0\x04"
FLUSH_MESSAGE = b"H\0\0\0\x04"
TERMINATE_MESSAGE = b"X\0\0\0\x04"


@dataclass(frozen=True, slots=True)
class Parse:
    """Prepare a text under a name, with types of some of its parameters (0: to be worked out)."""

    name: bytes
    text: bytes
    types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """Give a statement its parameters. ``results``: the formats of the columns, as they stood in the message."""

    portal: bytes
    statement: bytes
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    results: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """Describe or close a statement or portal: ``kind`` is STATEMENT or PORTAL."""

    kind: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a portal, up to some rows (0: all)."""

    portal: bytes
    rows: int


def read_query(body: bytes) -> bytes:
    """The text of a simple query."""
    fields = Fields(body)
    text = fields.text()
    fields.end()
    return text


def read_parse(body: bytes) -> Parse:
    """A Parse message."""
    fields = Fields(body)
    message = Parse(fields.text(), fields.text(), fields.oids())
    fields.end()
    return message


def read_bind(body: bytes) -> Bind:
    """A Bind message; its formats are held to be as many as there may be, and 0 or 1."""
    fields = Fields(body)
    portal, statement, formats = fields.text(), fields.text(), fields.counts()
    values = tuple([fields.value() for _ in range(fields.count())])
    results = fields.rest()
    _check_formats(formats)
    if len(formats) > 1 and len(formats) != len(values):
        raise ProtocolViolation(f"bind message has {len(formats)} parameter formats but {len(values)} parameters")
    columns = Fields(results)
    _check_formats(columns.counts())
    columns.end()
    return Bind(portal, statement, formats, values, results)


def _check_formats(formats: tuple[int, ...]) -> None:
    if any(code > 1 for code in formats):
        raise ProtocolViolation("unsupported format code; text is 0, binary is 1", sqlstate="22023")


def read_named(body: bytes) -> Named:
    """A Describe or Close message."""
    fields = Fields(body)
    message = Named(fields.byte(), fields.text())
    fields.end()
    if message.kind not in (STATEMENT, PORTAL):
        raise ProtocolViolation(f"invalid DESCRIBE or CLOSE message subtype {message.kind}")
    return message


def read_execute(body: bytes) -> Execute:
    """An Execute message; PostgreSQL takes a negative number of rows for all."""
    fields = Fields(body)
    message = Execute(fields.text(), max(fields.signed(), 0))
    fields.end()
    return message


def read_password(body: bytes) -> bytes:
    """The text of a password message."""
    return read_query(body)


def read_sasl_initial(body: bytes) -> tuple[str, bytes | None]:
    """Mechanism and first data of a SASLInitialResponse."""
    fields = Fields(body)
    mechanism, data = fields.text(), fields.value()
    fields.end()
    return mechanism.decode("ascii", "replace"), data


def _message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + _UINT4(len(body) + 4) + body


def query(text: bytes) -> bytes:
    """A simple query."""
    return _message(b"Q", text, b"\0")


def parse(name: bytes, text: bytes, types: Sequence[int]) -> bytes:
    """Prepare a text."""
    return _message(b"P", name, b"\0", text, b"\0", pack(f"!H{len(types)}I", len(types), *types))


def bind(
    portal: bytes, statement: bytes, formats: Sequence[int], values: Sequence[bytes | None], results: bytes
) -> bytes:
    """Give a statement its parameters; ``formats``: none, one for all, or one each."""
    parts = [portal, b"\0", statement, b"\0", pack(f"!H{len(formats)}H", len(formats), *formats), _INT2(len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_INT4(len(value)), value)
    parts.append(results)
    return _message(b"B", *parts)


def describe(kind: int, name: bytes) -> bytes:
    """Describe a statement or portal."""
    return _message(b"D", bytes((kind,)), name, b"\0")


def close(kind: int, name: bytes) -> bytes:
    """Close a statement or portal."""
    return _message(b"C", bytes((kind,)), name, b"\0")


def execute(portal: bytes, rows: int) -> bytes:
    """Run a portal."""
    return _message(b"E", portal, b"\0", _INT4(rows))


def copy_data(data: bytes) -> bytes:
    """A piece of what is copied in."""
    return _message(b"d", data)


def copy_done() -> bytes:
    """The end of what is copied in."""
    return b"c\0\0\0\x04"


def copy_fail(why: bytes) -> bytes:
    """What is copied in breaks off."""
    return _message(b"f", why, b"\0")


def password(text: bytes) -> bytes:
    """A password, plain or hashed."""
    return _message(b"p", text, b"\0")


def sasl_initial(mechanism: str, data: bytes) -> bytes:
    """Begin a SASL exchange."""
    return _message(b"p", mechanism.encode(), b"\0", _INT4(len(data)), data)


def sasl_response(data: bytes) -> bytes:
    """Go on with a SASL exchange."""
    return _message(b"p", data)


def startup(parameters: dict[str, str], *, minor: int = 0) -> bytes:
    """Begin a session."""
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return _UINT4(len(body) + 9) + _UINT4(3 << 16 | minor) + body + b"\0"


def ssl_request() -> bytes:
    """Ask for encryption."""
    return _UINT4(8) + _UINT4(80877103)


def cancel(process: int, key: bytes) -> bytes:
    """Ask to cancel what a session runs."""
    return _UINT4(12 + len(key)) + _UINT4(80877102) + _UINT4(process) + key
