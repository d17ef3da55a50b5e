"""What signs checkpoints and heads: HMAC-SHA-256, or Ed25519, whose public half suffices to verify."""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from datagate.audit.chain import Link
from datagate.errors import KeyringError

SHORTEST_KEY = 32


class Verifier(Protocol):
    """Tells a good signature from a bad one."""

    @property
    def name(self) -> str:
        """Algorithm and key, for humans; it gives nothing of a secret key away."""

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether the signature is of this key over this message."""


class Signer(Verifier, Protocol):
    """Makes signatures, and verifies them."""

    def sign(self, message: bytes) -> str:
        """The signature in hex."""


class HmacKey:
    """HMAC-SHA-256 (RFC 2104). Whoever verifies could also sign: keep the key from those who are audited.

    Raises:
        KeyringError: The key is shorter than 32 bytes.
    """

    __slots__ = ("_keyed", "name")

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY:
            raise KeyringError(f"the audit's key has {len(key)} bytes; make one of {SHORTEST_KEY} or more random bytes")
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)
        told = self._keyed.copy()
        told.update(b"datagate audit key")
        self.name = f"hmac-sha256:{told.hexdigest()[:16]}"

    def sign(self, message: bytes) -> str:
        """The signature in hex."""
        signing = self._keyed.copy()
        signing.update(message)
        return signing.hexdigest()

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether the signature is of this key over this message."""
        return hmac.compare_digest(self.sign(message), signature)


class Ed25519Verifier:
    """The public half of an Ed25519 key (RFC 8032), 32 bytes: verifies and cannot sign."""

    __slots__ = ("_public", "name")

    def __init__(self, public: bytes) -> None:
        self._public = Ed25519PublicKey.from_public_bytes(public)
        self.name = f"ed25519:{public.hex()}"

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether the signature is of this key over this message."""
        try:
            self._public.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Ed25519Key(Ed25519Verifier):
    """An Ed25519 key from its seed of 32 bytes."""

    __slots__ = ("_private",)

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        super().__init__(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> str:
        """The signature in hex."""
        return self._private.sign(message).hex()


def checkpoint_message(link: Link) -> bytes:
    """What a checkpoint signs."""
    return f"datagate audit checkpoint {link.seq} {link.hash}".encode()


def head_message(link: Link) -> bytes:
    """What the head file signs."""
    return f"datagate audit head {link.seq} {link.hash}".encode()
