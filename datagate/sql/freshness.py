"""Puts the check that the caller's rights are still what they were when they were read, once, above the statement.

``OFFSET check`` is computed before the first row is fetched, in the statement's own snapshot, and does not disturb the
planning of what stands below it, as a condition in every guard would.
"""

from __future__ import annotations

from sqlglot import exp


def checked(text: str, check: str, *, limited: bool) -> str:
    """The query under the check; ``limited``: it has a LIMIT, an OFFSET or row locks of its own."""
    return f"SELECT * FROM ({text}) AS q OFFSET {check}" if limited else f"{text} OFFSET {check}"


def is_limited(tree: exp.Expression) -> bool:
    """Whether the query, or what stands in its parentheses, has a LIMIT, an OFFSET or row locks of its own."""
    step: object = tree
    while isinstance(step, exp.Expression):
        if any(step.args.get(key) for key in ("limit", "offset", "locks", "fetch")):
            return True
        step = step.this if isinstance(step, exp.Subquery) else None
    return False
