"""SASL OAUTHBEARER, the server's side (RFC 7628): what a client says first, and how a token is turned down."""

from __future__ import annotations

import json
import re

from datagate.errors import ProtocolViolation

MECHANISM = "OAUTHBEARER"
DUMMY = b"\x01"
"""What a client answers to a refusal, before it is told that its login failed (RFC 7628, 3.2.3)."""

# A GS2 header without channel binding and without another's name, then pairs (RFC 7628, 3.1).
_FIRST = re.compile(rb"[ny],,\x01((?:[A-Za-z]+=[\x09\x0a\x0d\x20-\x7e]*\x01)*)\x01")
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_MALFORMED = "malformed OAUTHBEARER message"


def read_bearer(first: bytes) -> bytes | None:
    """The token of a client's first message; None where it brings none, and asks where it can be had.

    Raises:
        ProtocolViolation: The message is malformed, or speaks for somebody else.
    """
    found = _FIRST.fullmatch(first)
    if found is None:
        raise ProtocolViolation(_MALFORMED)
    pairs = [pair.partition(b"=")[::2] for pair in found[1].split(b"\x01") if pair]
    values = [value for name, value in pairs if name == b"auth"]
    if len(values) != 1:
        raise ProtocolViolation(_MALFORMED)
    if not values[0]:
        return None
    bearer = _BEARER.fullmatch(values[0])
    if bearer is None:
        raise ProtocolViolation(_MALFORMED)
    return bearer[1]


def refusal(issuer: str) -> bytes:
    """Why a token does not do, and where its issuer says how to get one (OpenID Connect Discovery, 4)."""
    where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    return json.dumps({"status": "invalid_token", "openid-configuration": where, "scope": "openid"}).encode()
