"""PostgreSQL's own parser (libpg_query, PostgreSQL 18 grammar), as the road uses it.

Three calls: text to tree (plain dicts, as libpg_query's JSON output gives them), text to canonical text, and tree to
text. Canonical text goes from the C parser straight to the C deparser, so that no depth limit of a Python decoder
stands between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from postgast import native
from postgast.pg_query_pb2 import ParseResult, ScanResult, ScanToken, Token

from datagate.backends.postgres.depth import is_deep
from datagate.errors import DatagateError, NestedTooDeeply, StatementSyntaxError, UnsupportedConstruct

Tree = dict[str, Any]
"""A libpg_query node: ``{"SelectStmt": {...}}``; enums are strings, absent fields have their default."""

_GRAMMAR = 180004  # the version number that libpg_query writes into its trees

MAX_TEXT = 1_000_000
"""Longest statement text read, in bytes of UTF-8."""

MAX_NESTING = 1_000
"""Deepest nesting given to the C parser, whose output functions recurse without a check of their own."""

MAX_DEEP_NESTING = 10_000
"""The same where there is room (``depth``). PostgreSQL's own stack ends before, by default, or its grammar's."""

SHORT_TEXT = 2_000
"""A text of so many bytes cannot nest deeply enough to hurt, so it is not scanned first."""


def encode(text: str) -> bytes:
    """The text as the C parser takes it; refuses what a C string cannot carry, and texts over the size limit."""
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StatementSyntaxError(
            f"character {error.start + 1} of the statement is half of a surrogate pair, which UTF-8 cannot carry",
            sqlstate="22021",
            position=error.start + 1,
        ) from None
    if b"\0" in raw:
        at = text.index("\0") + 1
        raise StatementSyntaxError(
            f"character {at} of the statement is NUL, which PostgreSQL does not read", sqlstate="22021", position=at
        )
    if len(raw) > MAX_TEXT:
        raise UnsupportedConstruct(f"the statement has {len(raw)} bytes; at most {MAX_TEXT} are read", sqlstate="54000")
    return raw


def parse_tree(text: str) -> Tree:
    """The tree of all statements: ``{"version": …, "stmts": [{"stmt": {"SelectStmt": …}}, …]}``."""
    raw_text = encode(text)
    refuse_deep(raw_text)
    result = native.lib.pg_query_parse(raw_text)
    try:
        _raise_error(result.error)
        raw: bytes = result.parse_tree
        try:
            tree: Tree = json.loads(raw)
        except RecursionError:
            raise NestedTooDeeply from None
        return tree
    finally:
        native.lib.pg_query_free_parse_result(result)


def canonical(text: str) -> str:
    """The engine's own spelling of the text: no comments, no dollar quotes, no lexical tricks."""
    raw_text = encode(text)
    refuse_deep(raw_text)
    result = native.lib.pg_query_parse_protobuf(raw_text)
    try:
        _raise_error(result.error)
        return _deparse(result.parse_tree)
    finally:
        native.lib.pg_query_free_protobuf_parse_result(result)


def deparse(tree: Tree) -> str:
    """SQL text of a tree (as :func:`parse_tree` gives it)."""
    message = ParseResult()
    try:
        _fill(message, {"version": _GRAMMAR, **tree})
    except RecursionError:
        raise NestedTooDeeply from None
    raw = message.SerializeToString()
    struct = native.PgQueryProtobuf()
    buffer = native.ctypes.create_string_buffer(raw, len(raw))
    struct.len = len(raw)
    struct.data = native.ctypes.cast(buffer, native.ctypes.c_void_p)
    return _deparse(struct)


def _fill(message: Message, tree: Tree) -> None:
    """Set the fields of an empty message; ``google.protobuf.json_format`` does the same, fifty times slower."""
    fields = _fields(message.DESCRIPTOR)
    for key, value in tree.items():
        field = fields[key]
        if field.is_repeated:
            for item in value:
                _fill(getattr(message, field.name).add(), item)
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            _fill(inner, value)
        else:
            setattr(message, field.name, value)


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {field.json_name: field for field in descriptor.fields}


_POSITIONS = frozenset(
    {"location", "stmt_location", "stmt_len", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"}
)


def without_positions(tree: Any) -> Any:
    """A copy of the tree without the positions of its nodes in the text, so that two spellings compare equal."""
    if isinstance(tree, dict):
        return {
            key: without_positions(value)
            for key, value in tree.items()
            if not (key in _POSITIONS and isinstance(value, int))
        }
    if isinstance(tree, list):
        return [without_positions(item) for item in tree]
    return tree


_OPEN = frozenset({Token.ASCII_40, Token.ASCII_91, Token.CASE})
_CLOSE = frozenset({Token.ASCII_41, Token.ASCII_93, Token.END_P})
_SIBLING = frozenset({Token.ASCII_44, Token.ASCII_59, Token.AND, Token.OR, Token.WHEN, Token.THEN, Token.ELSE})
_WHITE = " \t\r\n\f\v;"
_NOTHING = frozenset({Token.SQL_COMMENT, Token.C_COMMENT, Token.ASCII_59})
_LEAF = frozenset({Token.IDENT, Token.ICONST, Token.FCONST, Token.SCONST, Token.PARAM, Token.ASCII_46})
_CHAIN = frozenset({Token.UNION, Token.INTERSECT, Token.EXCEPT, Token.JOIN})
"""What nests to its left whatever stands between."""


# At each operator and each comment that opens inside such a run, the lexer reads the whole rest of it anew.
_OPERATOR_RUN = re.compile(rb"[-~!@#^&|`?+*/%<>=]{200,}")
_MOST_READ_ANEW = 100_000_000


def refuse_deep(raw: bytes) -> None:
    """Refuse a text that may nest too deeply for the C parser's output functions.

    The depth is bounded from above by the tokens: brackets nest, and so may every operator of a chain.
    """
    if len(raw) <= SHORT_TEXT:
        return
    levels = [0]
    chains = [0]
    total, deepest = 0, _deepest()
    for token in scan(raw):
        kind = token.token
        if kind in _LEAF:
            continue
        if kind in _SIBLING:
            total -= levels[-1]
            levels[-1] = 0
        elif kind in _OPEN:
            levels.append(0)
            chains.append(0)
            total += 1
        elif kind in _CLOSE and len(levels) > 1:
            total -= levels.pop() + chains.pop() + 1
        else:
            (chains if kind in _CHAIN else levels)[-1] += 1
            total += 1
        if total > deepest:
            raise NestedTooDeeply


def _deepest() -> int:
    return MAX_DEEP_NESTING if is_deep() else MAX_NESTING


def scan(raw: bytes) -> Sequence[ScanToken]:
    """The engine's own tokens of the text; each has ``token``, ``start`` and ``end`` (bytes)."""
    if sum(len(run[0]) ** 2 for run in _OPERATOR_RUN.finditer(raw)) > _MOST_READ_ANEW:
        raise UnsupportedConstruct("the statement has too long a run of operator characters", sqlstate="54000")
    result = native.lib.pg_query_scan(raw)
    try:
        _raise_error(result.error)
        tokens: Sequence[ScanToken] = ScanResult.FromString(
            native.ctypes.string_at(result.pbuf.data, result.pbuf.len)
        ).tokens
        return tokens
    finally:
        native.lib.pg_query_free_scan_result(result)


def is_blank(text: str) -> bool:
    """Whether there is no statement in the text: nothing but white space, comments and semicolons."""
    start = text.lstrip(_WHITE)
    if not start.startswith(("--", "/*")):
        return not start
    try:
        return all(token.token in _NOTHING for token in scan(encode(text)))
    except DatagateError:
        return False


def _deparse(tree: native.PgQueryProtobuf) -> str:
    result = native.lib.pg_query_deparse_protobuf(tree)
    try:
        if result.error:
            raise UnsupportedConstruct("the statement has a construct that libpg_query cannot spell; rephrase it")
        text: bytes = result.query
        return text.decode("utf-8")
    finally:
        native.lib.pg_query_free_deparse_result(result)


def _raise_error(error: Any) -> None:
    if not error:
        return
    message = error.contents.message.decode("utf-8", "replace")
    cursor = error.contents.cursorpos
    if "stack depth" in message or message.startswith("memory exhausted"):
        # The grammar has a stack of its own, of ten thousand symbols.
        raise NestedTooDeeply
    position = cursor if cursor > 0 else None
    where = f" (character {position})" if position else ""
    raise StatementSyntaxError(f"{message}{where}", position=position)
