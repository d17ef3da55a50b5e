"""What the suite may ask of the database: what SQLAlchemy's dialects for PostgreSQL are asked by default."""

from __future__ import annotations

from sqlalchemy.testing.requirements import SuiteRequirements


class Requirements(SuiteRequirements):
    """The suite's defaults, for both sides alike."""
