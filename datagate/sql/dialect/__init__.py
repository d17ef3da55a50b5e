"""The sqlglot dialect of the road: PostgreSQL 18's SELECT, read and written without changing what it says.

Here lives the reading of a query's text into sqlglot's tree and back. sqlglot's own reader folds functions,
operators, types and intervals into a common form of all dialects, which loses meaning; this one follows PostgreSQL's
grammar rule by rule and keeps every one of them verbatim. ``nodes`` says what the trees look like.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError

from datagate.sql.dialect.cursor import NotCarried, TooDeep
from datagate.sql.dialect.generator import generate
from datagate.sql.dialect.query import StatementParser
from datagate.sql.dialect.tokens import tokenize

__all__ = ["GatePostgres", "NotCarried", "TooDeep", "generate", "parse_canonical"]


def parse_canonical(text: str) -> exp.Expression:
    """Read one query; NotCarried where the dialect does not read it.

    The text must be one that PostgreSQL's own parser has accepted: the caller's, or libpg_query's spelling of it.
    """
    try:
        return StatementParser(tokenize(text)).statement()
    except NotCarried:
        raise
    except SqlglotError as error:
        raise NotCarried(str(error)) from error
    except RecursionError:
        raise TooDeep from None


class GatePostgres(Postgres):
    """The dialect under sqlglot's own roof: ``parse_one(text, dialect=GatePostgres)``, ``tree.sql(GatePostgres)``."""

    def parse(self, sql: str, **_: Any) -> list[exp.Expr | None]:
        """Read one query."""
        return [parse_canonical(sql)]

    def generate(self, expression: exp.Expr, copy: bool = True, **_: Any) -> str:  # noqa: ARG002 - nothing is changed
        """Write a tree."""
        return generate(expression)
