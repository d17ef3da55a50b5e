"""What tells statements apart without showing what is in them: libpg_query's fingerprint, and the text without literals.

Both are made of the engine's own spelling, so that a comment, which may hold anything, is never part of them.
"""

from __future__ import annotations

import postgast
from postgast.errors import PgQueryError

from datagate.backends.postgres.engine import canonical
from datagate.errors import DatagateError


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
    """The text with ``$n`` in the place of each literal; None where it does not parse."""
    spelled = _canonical(text)
    if spelled is None:
        return None
    try:
        found: str = postgast.normalize(spelled)
    except PgQueryError:
        return None
    return found


def _canonical(text: str) -> str | None:
    try:
        return canonical(text)
    except DatagateError:
        return None
