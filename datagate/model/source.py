"""Where in a policy file something was said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class SourceRef:
    """A position in a policy file: path as the steward gave it, line and column counted from one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = SourceRef("(built in)", 0, 0)
"""The source of what no policy file says: the engine's catalogs, programs that build policies themselves."""
