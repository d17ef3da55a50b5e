"""Psycopg's placeholders become the engine's own (``%s`` → ``$1``) before the gate reads a statement.

Psycopg's own converter does the work, so that both agree on every corner by construction; this module only feeds it
text instead of bytes, keeps its answers, and speaks datagate's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import psycopg
from psycopg import sql

# Private, and pinned with psycopg's minor version in pyproject.toml; tests/frontends/driver/test_placeholders.py
# compares what is sent with what psycopg sends.
from psycopg._queries import (
    MAX_CACHED_STATEMENT_LENGTH,
    MAX_CACHED_STATEMENT_PARAMS,
    QueryPart,
    _query2pg_nocache,
)
from psycopg.abc import Params, Query
from psycopg.adapt import PyFormat

from datagate.errors import InterfaceError, NotSupportedError, ProgrammingError

try:
    from string.templatelib import Template  # type: ignore[import-not-found,unused-ignore] # Python 3.14
except ImportError:
    Template = None

_UTF8 = "utf-8"


class Converted(NamedTuple):
    """A statement in engine style, and how to put the caller's parameters into the engine's order.

    ``order`` names the parameters for a mapping, and is None for a sequence; ``parts`` is what psycopg's own check of
    the parameters against the placeholders reads.
    """

    text: str
    formats: list[PyFormat]
    order: list[str] | None
    parts: list[QueryPart]


def read_text(query: Query, connection: psycopg.BaseConnection[object]) -> str:
    """Read a query in any of psycopg's spellings: str, bytes, or a ``psycopg.sql`` composition.

    Raises:
        ProgrammingError: The bytes are not text in the connection's encoding.
        NotSupportedError: A template string (Python 3.14).
        InterfaceError: Something else altogether.
    """
    if isinstance(query, str):
        return str.__str__(query)
    if isinstance(query, bytes):
        try:
            return query.decode(connection.info.encoding)
        except UnicodeDecodeError:
            problem = "the statement's bytes are not text in the connection's encoding; pass a str"
        raise ProgrammingError(problem, sqlstate="22021")
    if isinstance(query, sql.Composable):
        return query.as_string(connection)
    if Template is not None and isinstance(query, Template):
        raise NotSupportedError("template strings are not supported; use %s placeholders and parameters")
    raise InterfaceError(f"a statement is a str, bytes or psycopg.sql composition, not {type(query).__qualname__}")


def convert(query: str, count: int) -> Converted:
    """Rewrite psycopg's placeholders into ``$n``; ``count`` is how many parameters came with the statement.

    Raises:
        ProgrammingError: A placeholder is malformed, or styles are mixed.
    """
    # psycopg's own limits: long texts and long parameter lists are hardly ever seen twice.
    if len(query) <= MAX_CACHED_STATEMENT_LENGTH and count <= MAX_CACHED_STATEMENT_PARAMS:
        return _cached(query)
    return _convert(query)


def _convert(query: str) -> Converted:
    try:
        text, formats, order, parts = _query2pg_nocache(query.encode(_UTF8), _UTF8)
    except psycopg.ProgrammingError as error:
        problem = str(error)
    except UnicodeError:
        problem = "a placeholder is incomplete, or the statement holds what is no character"
    else:
        return Converted(text.decode(_UTF8), formats, order, parts)
    raise ProgrammingError(problem, sqlstate="42601")


_cached = lru_cache(maxsize=512)(_convert)


def in_order(converted: Converted, parameters: Params) -> Sequence[object]:
    """Put the caller's parameters into the engine's order.

    Raises:
        ProgrammingError: Too few, too many, unnamed where names are needed, or the other way round.
    """
    try:
        return psycopg._queries.PostgresQuery.validate_and_reorder_params(  # noqa: SLF001 - see above
            converted.parts, parameters, converted.order
        )
    except (psycopg.ProgrammingError, TypeError) as error:
        problem = str(error)
    raise ProgrammingError(problem)
