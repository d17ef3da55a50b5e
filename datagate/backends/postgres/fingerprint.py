"""What tells statements apart without showing what is in them: a fingerprint, and the text without literals.

Neither is made of a text that libpg_query would have to spell: its deparser does not survive every tree.
"""

from __future__ import annotations

import postgast
from postgast.errors import PgQueryError
from postgast.pg_query_pb2 import Token

from datagate.backends.postgres.engine import encode, refuse_deep, scan
from datagate.errors import DatagateError

_CONSTANTS = frozenset({Token.ICONST, Token.FCONST, Token.SCONST, Token.USCONST, Token.BCONST, Token.XCONST})
_COMMENTS = frozenset({Token.SQL_COMMENT, Token.C_COMMENT})


def fingerprint(text: str) -> str | None:
    """Sixteen hex digits, equal for statements that differ in literals alone; None where the text does not parse."""
    try:
        refuse_deep(encode(text))
        found: str = postgast.fingerprint(text).hex
    except (DatagateError, PgQueryError):
        return None
    return found


def normalized(text: str) -> str | None:
    """The text with ``?`` in the place of each constant, and without comments; None where it cannot be read."""
    try:
        raw = encode(text)
        refuse_deep(raw)
        tokens = scan(raw)
    except DatagateError:
        return None
    out: list[bytes] = []
    end = 0
    for token in tokens:
        if token.token in _CONSTANTS or token.token in _COMMENTS:
            out += [raw[end : token.start], b"?" if token.token in _CONSTANTS else b" "]
            end = token.end
    return b" ".join(b"".join([*out, raw[end:]]).split()).decode()
