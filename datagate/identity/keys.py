"""An issuer's public keys, and which of them may verify a token (RFC 7517, RFC 8725 section 3.1)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from datagate.identity.compact import Json, read_json, refusal

LARGEST_SET = 262_144
_MOST_KEYS = 100
_SHORTEST_RSA = 2048

ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}) | frozenset(
    {"EdDSA", "Ed25519"}
)
SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
_CURVES: Mapping[str, str] = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key of a set, with what its owner says that it is for."""

    key: Key
    kid: str | None
    alg: str | None

    def fits(self, alg: str) -> bool:
        """Whether the algorithm is one of this key's own kind, so that no key is used as what it is not."""
        if self.alg is not None and self.alg != alg:
            return False
        if isinstance(self.key, RSAKey):
            return alg[:2] in {"RS", "PS"} and self.key.raw_value.key_size >= _SHORTEST_RSA
        if isinstance(self.key, ECKey):
            return alg in _CURVES and self.key.curve_name == _CURVES[alg]
        if isinstance(self.key, OKPKey):
            return alg in {"EdDSA", "Ed25519"} and self.key.curve_name == "Ed25519"
        return alg in SYMMETRIC


class KeySource(Protocol):
    """Where an issuer's keys come from."""

    def find(self, kid: str | None, alg: str) -> Key:
        """The one key that may verify; TokenRefused where there is none, or more than one."""
        ...


def read_keys(raw: bytes) -> tuple[PublishedKey, ...]:
    """The keys of a JWK set that can verify signatures; keys of other kinds and uses are passed over.

    Raises:
        TokenRefused: No JWK set, too large, or it holds a private key.
    """
    if len(raw) > LARGEST_SET:
        raise refusal(f"the key set is larger than {LARGEST_SET} bytes")
    found = read_json(raw, "key set")
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise refusal(f"the key set is no JWK set of at most {_MOST_KEYS} keys")
    return tuple(key for entry in entries if (key := _key(entry)) is not None)


def choose(keys: tuple[PublishedKey, ...], kid: str | None, alg: str) -> Key | None:
    """The key of that id that fits the algorithm; without an id, the only one that fits; None: there is none.

    Raises:
        TokenRefused: Several fit.
    """
    fitting = [each for each in keys if each.fits(alg) and (kid is None or each.kid == kid)]
    if len(fitting) > 1:
        raise refusal(f"{len(fitting)} keys fit {alg}, key id {kid!r:.80}")
    return fitting[0].key if fitting else None


def _key(entry: Json) -> PublishedKey | None:
    if not isinstance(entry, dict):
        return None
    if "d" in entry:
        raise refusal("the key set holds a private key; publish public ones only")
    use, operations = entry.get("use", "sig"), entry.get("key_ops", ["verify"])
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kid, alg = entry.get("kid"), entry.get("alg")
    if not isinstance(kid, str | None) or not isinstance(alg, str | None):
        return None
    members = {name: value for name, value in entry.items() if isinstance(value, str)}
    members.pop("use", None)
    try:
        with warnings.catch_warnings():
            # Too short keys are refused by `fits`.
            warnings.simplefilter("ignore", SecurityWarning)
            key = JWKRegistry.import_key(members)  # type: ignore[arg-type] # its TypedDict is str and list
            assert key.raw_value is not None  # noqa: S101 - reads the numbers, which may be none
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return PublishedKey(key, kid, alg)
