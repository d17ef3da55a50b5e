"""An issuer with real keys, who can also be made to sign what no issuer should."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from datagate.identity import JwtVerifier
from datagate.identity.compact import refusal
from datagate.identity.keys import choose, read_keys

ISSUER = "https://login.example"
AUDIENCE = "datagate"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

KEYS: dict[str, Key] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "ec384"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
KEYS["PS256"] = KEYS["RS256"]
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})


def published(*keys: Key, **more: object) -> bytes:
    """A JWK set of public keys; of all of the issuer's by default."""
    every = keys or tuple({id(key): key for key in KEYS.values()}.values())
    return json.dumps({"keys": [{**key.as_dict(private=False), **more} for key in every]}).encode()


class Fixed:
    """A key source that holds one set."""

    def __init__(self, raw: bytes) -> None:
        self._keys = read_keys(raw)

    def find(self, kid: str | None, alg: str) -> Key:
        """The one key that may verify."""
        key = choose(self._keys, kid, alg)
        if key is None:
            raise refusal("no such key")
        return key


def verifier(raw: bytes | None = None, *, now: datetime = NOON, **more: Any) -> JwtVerifier:
    """A verifier of the issuer's tokens at an instant."""
    source = Fixed(raw if raw is not None else published())
    return JwtVerifier(source, issuer=ISSUER, audience=AUDIENCE, clock=lambda: now, **more)


def claims(**changes: object) -> dict[str, object]:
    """Claims that are accepted at noon; None leaves one out."""
    base: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "cora",
        "iat": int(NOON.timestamp()) - 60,
        "exp": int((NOON + timedelta(minutes=10)).timestamp()),
        "purpose": "tax",
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


def signed(payload: Mapping[str, object] | bytes, alg: str = "RS256", key: Key | None = None, **header: object) -> str:
    """A token; the header may be changed at will."""
    signer = key if key is not None else KEYS[alg]
    protected: dict[str, object] = {"alg": alg, "typ": "at+jwt", "kid": signer.kid} | header
    protected = {name: value for name, value in protected.items() if value is not None}
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    first = f"{part(json.dumps(protected).encode())}.{part(raw)}"
    registry = jws.JWSRegistry(algorithms=[alg])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        signature = registry.get_alg(alg).sign(first.encode(), signer)
    return f"{first}.{part(signature)}"


def part(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def secret(text: bytes) -> OctKey:
    """A symmetric key of these bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return OctKey.import_key(text)
