"""What the verifier raises: the text is not sent."""

from __future__ import annotations

from enum import Enum

from datagate.errors import VerificationFailed


class MismatchKind(Enum):
    """What was wrong.

    STATEMENT: not one statement of a kind that is carried. TREE: the final text does not mean what the original
    means; another rendering may. GUARD: a base relation without the guard that is prescribed for it. FORBIDDEN: a
    construct, function, operator or type that is not on its list; no rendering will help. DEPTH: no statement that
    this thread's stack bears to verify.
    """

    STATEMENT = "statement"
    TREE = "tree"
    GUARD = "guard"
    FORBIDDEN = "forbidden"
    DEPTH = "depth"


class Mismatch(VerificationFailed):
    """The final text may not be sent; ``reason`` says why and never shows a value."""

    def __init__(self, reason: str, kind: MismatchKind) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


def differs(where: str) -> Mismatch:
    """The final text differs from the original at such a node."""
    return Mismatch(f"the final text differs from the original in {where}", MismatchKind.TREE)


def forbidden(what: str) -> Mismatch:
    """The statement uses what is not on a list."""
    return Mismatch(f"{what} is not allowed", MismatchKind.FORBIDDEN)


def unguarded(what: str) -> Mismatch:
    """A relation stands there without its guard."""
    return Mismatch(what, MismatchKind.GUARD)


def too_deep() -> Mismatch:
    """The trees nest more deeply than can be walked here."""
    return Mismatch("the statement is nested too deeply to be verified", MismatchKind.DEPTH)
