"""What a client says first: a request to encrypt, a request to cancel, or who it is (PostgreSQL manual, 55.2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.protocol.fields import Fields

_CANCEL = 80877102
_SSL = 80877103
_GSSENC = 80877104
_MAJOR = 3
NEWEST = (3, 2)
"""The newest version that is spoken; 3.1 was never used."""
_MOST_PARAMETERS = 200


class Encryption(Enum):
    """What a client asks to encrypt with."""

    TLS = "tls"
    GSS = "gss"


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel what the session with this key runs."""

    process: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Startup:
    """Who connects, and how the session shall be.

    ``minor``: the protocol's version that is spoken from here on. ``unknown``: protocol options that are not; where
    there are some, or the client's version is newer, NegotiateProtocolVersion says so.
    """

    minor: int
    asked: tuple[int, int]
    parameters: Mapping[str, str]
    unknown: tuple[str, ...]

    @property
    def negotiates(self) -> bool:
        """Whether the client has to be told what is not spoken."""
        return self.asked[1] > self.minor or bool(self.unknown)


Opening = Encryption | Cancel | Startup


def read_opening(body: bytes) -> Opening:
    """Read the body of a start-up packet.

    Raises:
        ProtocolViolation: It is none, or of a version that is not spoken.
    """
    fields = Fields(body)
    code = fields.unsigned()
    if code in (_SSL, _GSSENC):
        fields.end()
        return Encryption.TLS if code == _SSL else Encryption.GSS
    if code == _CANCEL:
        cancel = Cancel(fields.unsigned(), fields.rest())
        if not 4 <= len(cancel.key) <= 256:
            raise ProtocolViolation("invalid length of cancel key")
        return cancel
    major, minor = code >> 16, code & 0xFFFF
    if major != _MAJOR:
        raise ProtocolViolation(
            f"unsupported frontend protocol {major}.{minor}: this server supports 3.0 to {NEWEST[0]}.{NEWEST[1]}",
            sqlstate="0A000",
        )
    return _read_parameters(fields, minor)


def _read_parameters(fields: Fields, minor: int) -> Startup:
    parameters: dict[str, str] = {}
    unknown = []
    while name := _decoded(fields.text()):
        value = _decoded(fields.text())
        if name.startswith("_pq_."):
            unknown.append(name)
        elif name in parameters:
            raise ProtocolViolation(f"start-up parameter {name} comes twice")
        else:
            parameters[name] = value
        if len(parameters) + len(unknown) > _MOST_PARAMETERS:
            raise ProtocolViolation(f"more than {_MOST_PARAMETERS} start-up parameters")
    fields.end()
    spoken = NEWEST[1] if minor >= NEWEST[1] else 0
    return Startup(spoken, (_MAJOR, minor), MappingProxyType(parameters), tuple(unknown))


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("start-up parameters must be UTF-8") from None
