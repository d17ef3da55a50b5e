"""Makes SQLAlchemy's own plugin run its suite over the dialect under test."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import registry

registry.register("postgresql.datagate", "tests.compliance.dialect", "SuiteDialect")
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403 - as SQLAlchemy's manual for dialects has it
