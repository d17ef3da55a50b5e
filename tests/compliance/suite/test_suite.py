"""SQLAlchemy's suite, whole."""

from sqlalchemy.testing.suite import *  # noqa: F403
