"""What the suite may ask of the database: what SQLAlchemy's dialects for PostgreSQL are asked by default."""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements


def _is_gated(config: Any) -> bool:
    return bool(config.db.url.drivername == "postgresql+datagate")


_skip_if: Any = exclusions.skip_if
_TEMPORARY = _skip_if(_is_gated, "temporary tables come from guarded queries alone")


class Requirements(SuiteRequirements):
    """The suite's defaults, for both sides alike but where it says why."""

    @property
    def temp_table_reflection(self) -> Any:
        """Temporary tables are made by CREATE TEMPORARY TABLE … AS through the gate, and by nothing else."""
        return _TEMPORARY

    @property
    def temporary_tables(self) -> Any:
        """As above."""
        return _TEMPORARY
