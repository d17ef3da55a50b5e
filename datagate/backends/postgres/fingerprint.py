"""What tells statements apart without showing what is in them: a fingerprint, and the text without literals.

Both are made of the engine's own spelling, so that a comment, which may hold anything, is never part of them.
"""

from __future__ import annotations

import postgast
from postgast.errors import PgQueryError
from postgast.pg_query_pb2 import Token

from datagate.backends.postgres.engine import canonical
from datagate.errors import DatagateError

_CONSTANTS = frozenset({Token.ICONST, Token.FCONST, Token.SCONST, Token.USCONST, Token.BCONST, Token.XCONST})


def fingerprint(text: str) -> str | None:
    """Sixteen hex digits, equal for statements that differ in literals alone; None where the text does not parse."""
    spelled = _canonical(text)
    if spelled is None:
        return None
    try:
        found: str = postgast.fingerprint(spelled).hex
    except PgQueryError:
        return None
    return found


def normalized(text: str) -> str | None:
    """The text with ``$n`` in the place of each literal, and ``?`` where none may stand; None where it does not parse.

    libpg_query leaves constants that its grammar keeps outside of expressions (EXECUTE, a JSON path); so what the
    scanner still calls a constant is taken out after it.
    """
    spelled = _canonical(text)
    if spelled is None:
        return None
    try:
        raw = postgast.normalize(spelled).encode()
        found, end = b"", 0
        for token in postgast.scan(raw.decode()).tokens:
            if token.token in _CONSTANTS:
                found, end = found + raw[end : token.start] + b"?", token.end
    except PgQueryError:
        return None
    out: str = (found + raw[end:]).decode()
    return out


def _canonical(text: str) -> str | None:
    try:
        return canonical(text)
    except DatagateError:
        return None
