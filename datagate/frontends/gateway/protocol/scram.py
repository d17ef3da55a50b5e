"""The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; PostgreSQL manual, 55.3).

Verifiers are spelled as PostgreSQL keeps them in ``pg_authid.rolpassword``. libpq sends an empty user name, since the
start-up packet has told it already: that is allowed, and the name is not looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from scramp import ScramMechanism

from datagate.errors import ProtocolViolation

PLAIN = "SCRAM-SHA-256"
PLUS = "SCRAM-SHA-256-PLUS"
ITERATIONS = 4096
_BINDING = b"tls-server-end-point"
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_FIRST = re.compile(rb"(?:a=[^,]*)?,(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)", re.DOTALL)
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[^,]*)*?),p=([A-Za-z0-9+/=]+)", re.DOTALL)
_MALFORMED = "malformed SCRAM message"


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps of a password: enough to check it, too little to log in elsewhere with it."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def read(cls, text: str) -> Verifier:
        """Read PostgreSQL's spelling; ValueError for any other."""
        found = _VERIFIER.fullmatch(text)
        if found is None:
            raise ValueError("not a SCRAM-SHA-256 verifier as PostgreSQL spells it")
        salt, stored, server = (base64.b64decode(each, validate=True) for each in found.groups()[1:])
        if len(stored) != 32 or len(server) != 32 or not salt or int(found[1]) < 1:
            raise ValueError("not a SCRAM-SHA-256 verifier as PostgreSQL spells it")
        return cls(int(found[1]), salt, stored, server)

    @classmethod
    def of(cls, password: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
        """The verifier of a password, normalised by SASLprep (RFC 4013) where it can be."""
        _, stored, server, _ = ScramMechanism(PLAIN).make_auth_info(password, iterations, salt)
        return cls(iterations, salt, stored, server)

    @classmethod
    def mock(cls, secret: bytes, name: str) -> Verifier:
        """A verifier that no password fits, and always the same for a name: for names that do not exist."""
        salt = hmac.digest(secret, b"salt:" + name.encode(), "sha256")[:16]
        return cls(ITERATIONS, salt, hmac.digest(secret, b"key:" + name.encode(), "sha256"), bytes(32))

    def __str__(self) -> str:
        salt, stored, server = (base64.b64encode(x).decode() for x in (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"


class ScramServer:
    """One exchange.

    Args:
        verifier: The user's, or a mock.
        nonce: The server's share of the nonce: printable ASCII without comma.
        binding: The channel's ``tls-server-end-point`` data, where there is such a channel.
    """

    def __init__(self, verifier: Verifier, nonce: bytes, binding: bytes | None) -> None:
        self._verifier = verifier
        self._own = nonce
        self._binding = binding
        self._nonce = b""
        self._bare = b""
        self._header = b""
        self._bound = False
        self._challenge = b""

    def challenge(self, mechanism: str, first: bytes) -> bytes:
        """Answer the client's first message.

        Raises:
            ProtocolViolation: It is malformed, or binds to a channel in another way than was offered.
        """
        flag, comma, rest = first.partition(b",")
        found = _FIRST.fullmatch(rest)
        if not comma or found is None:
            raise ProtocolViolation(_MALFORMED)
        if flag.startswith(b"p="):
            if mechanism != PLUS or flag != b"p=" + _BINDING or self._binding is None:
                raise ProtocolViolation("unsupported SCRAM channel-binding type")
            self._bound = True
        elif flag not in (b"n", b"y") or mechanism != PLAIN:
            raise ProtocolViolation(_MALFORMED)
        elif flag == b"y" and self._binding is not None:
            # The client could bind and believes that we cannot: somebody between us took the offer away.
            raise ProtocolViolation("SCRAM channel binding negotiation error", sqlstate="28000")
        self._header = first[: len(first) - len(found[1])]
        self._bare, self._nonce = found[1], found[2] + self._own
        salt = base64.b64encode(self._verifier.salt)
        self._challenge = b"r=%s,s=%s,i=%d" % (self._nonce, salt, self._verifier.iterations)
        return self._challenge

    def proof(self, final: bytes) -> bytes | None:
        """Check the client's proof: the server's own signature, or None where the password is wrong.

        Raises:
            ProtocolViolation: The message is malformed, or from another exchange.
        """
        found = _FINAL.fullmatch(final)
        if found is None:
            raise ProtocolViolation(_MALFORMED)
        header = self._header + (self._binding or b"" if self._bound else b"")
        if _decoded(found[2]) != header or not hmac.compare_digest(found[3], self._nonce):
            raise ProtocolViolation(_MALFORMED)
        proof = _decoded(found[4])
        if len(proof) != 32:
            raise ProtocolViolation(_MALFORMED)
        said = b",".join((self._bare, self._challenge, found[1]))
        signature = hmac.digest(self._verifier.stored_key, said, "sha256")
        key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(key).digest(), self._verifier.stored_key):
            return None
        return b"v=" + base64.b64encode(hmac.digest(self._verifier.server_key, said, "sha256"))


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ProtocolViolation(_MALFORMED) from None
