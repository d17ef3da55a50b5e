"""From the tree to the text."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.cursor import TooDeep
from datagate.sql.dialect.write_expressions import EXPRESSIONS
from datagate.sql.dialect.write_queries import QUERIES
from datagate.sql.dialect.write_writes import WRITES
from datagate.sql.dialect.writer import WRITERS, write

WRITERS.update(EXPRESSIONS)
WRITERS.update(QUERIES)
WRITERS.update(WRITES)


def generate(tree: exp.Expr) -> str:
    """Write a tree; NotCarried for a node that the dialect does not know."""
    try:
        return write(tree)
    except RecursionError:
        raise TooDeep from None
