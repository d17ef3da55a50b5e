"""A token's parts as they stand in it, read strictly: what two readers could read differently is refused.

The compact form of RFC 7515 (7.1), and JSON as RFC 8725 (3.11 and on) wants it: no duplicate names, no NaN, bounded in
size, depth and digits, before anything in it is believed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from datagate.errors import TokenRefused

Json = str | int | Decimal | bool | None | list["Json"] | dict[str, "Json"]

LONGEST_TOKEN = 16_384
_DEEPEST = 16
_MOST_DIGITS = 24
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Compact:
    """A signed token: its protected header and its claims; nothing in here has been verified."""

    header: dict[str, Json]
    claims: dict[str, Json]


def refusal(reason: str) -> TokenRefused:
    """The error for a token; the reason is for the audit alone."""
    error = TokenRefused("the token is not accepted; log in again")
    error.audit_reason = f"token: {reason}"
    return error


def read(token: str) -> Compact:
    """Header and claims of a compact JWS; TokenRefused for what is none, or is ambiguous or too large."""
    if not isinstance(token, str):
        raise refusal("not a text")
    if len(token) > LONGEST_TOKEN:
        raise refusal(f"longer than {LONGEST_TOKEN} characters")
    segments = token.split(".")
    if len(segments) == 5:
        raise refusal("encrypted (JWE); only signed tokens are read")
    if len(segments) != 3:
        raise refusal("not in the compact form of three parts")
    if not segments[2]:
        raise refusal("not signed")
    header, claims, _ = (_bytes(segment) for segment in segments)
    return Compact(_object(header, "header"), _object(claims, "claims"))


def read_json(raw: bytes, what: str) -> Json:
    """JSON that every reader reads alike; TokenRefused for any other."""
    depth = 0
    for found in _NESTING.finditer(raw):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found.group(), 0)
        if depth > _DEEPEST:
            raise refusal(f"{what}: nested more than {_DEEPEST} deep")
    try:
        read: Json = json.loads(
            raw.decode("utf-8"),
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_without_duplicates,
        )
    except (ValueError, RecursionError) as error:
        problem = "bytes that are no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise refusal(f"{what}: not JSON that is read one way only ({problem[:80]!r})") from None
    return read


def _bytes(segment: str) -> bytes:
    """Base64url without padding, in its one canonical spelling (RFC 4648, 3.5)."""
    if not _SEGMENT.fullmatch(segment):
        raise refusal("a part is not base64url")
    try:
        raw = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise refusal("a part is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != segment:
        raise refusal("a part is not in canonical base64url")
    return raw


def _object(raw: bytes, what: str) -> dict[str, Json]:
    found = read_json(raw, what)
    if not isinstance(found, dict):
        raise refusal(f"{what}: not a JSON object")
    return found


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number of too many digits")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number of too many digits")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("a number out of range") from None
    if abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError("a number out of range")
    return number


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no number")


def _without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found
