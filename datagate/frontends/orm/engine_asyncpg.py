"""Engines that lend asyncpg's connections; imported where an application has asyncpg."""

from __future__ import annotations

from datagate.frontends.driver.asyncpg_dialect import AsyncpgDialect
from datagate.frontends.orm.engine import PingsForBorrowers


class LendingAsyncpgDialect(PingsForBorrowers, AsyncpgDialect):
    """The driver's dialect for asyncpg, where connections go from caller to caller."""

    supports_statement_cache = True
