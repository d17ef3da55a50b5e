"""Policy values as typed literals, for statements that the server runs without parameters (COPY, EXPLAIN, PREPARE)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from postgast.pg_query_pb2 import Token

from datagate.backends.postgres.engine import Tree, encode, parse_tree, scan, without_positions
from datagate.errors import InternalError, VerificationFailed


def literal(value: object) -> str:
    r"""An SQL string constant, or NULL, that a cast turns into the value (PostgreSQL manual, 4.1.2, 8.15.2).

    >>> literal(("a", None)), literal("O'Brien"), literal(True)
    ('\'{"a",NULL}\'', "'O''Brien'", "'true'")
    """
    if value is None:
        return "NULL"
    return _quote(_array(value) if isinstance(value, tuple | list) else _text(value))


def with_literals(text: str, first: int, values: Mapping[int, object]) -> str:
    """The verified text with its policy parameters, those numbered from ``first`` on, replaced by literals.

    Each stands before a cast, which gives the literal its type. The outcome is read once more: it must be the same tree
    but for these constants. Raises VerificationFailed where it is not.
    """
    raw = encode(text)
    out: list[bytes] = []
    done = 0
    for token in scan(raw):
        if token.token != Token.PARAM:
            continue
        number = int(raw[token.start + 1 : token.end])
        if number >= first:
            out += [raw[done : token.start], literal(values[number]).encode()]
            done = token.end
    spelled = b"".join([*out, raw[done:]]).decode()
    if _constants(without_positions(parse_tree(text)), first, values) != without_positions(parse_tree(spelled)):
        raise VerificationFailed("policy values could not be written as literals")
    return spelled


def _constants(tree: object, first: int, values: Mapping[int, object]) -> object:
    """The tree with the constant in the place of each policy parameter."""
    if isinstance(tree, list):
        return [_constants(item, first, values) for item in tree]
    if not isinstance(tree, dict):
        return tree
    parameter: Tree | None = tree.get("ParamRef")
    if isinstance(parameter, dict) and parameter.get("number", 0) >= first:
        value = values[parameter["number"]]
        if value is None:
            return {"A_Const": {"isnull": True}}
        text = _array(value) if isinstance(value, tuple | list) else _text(value)
        return {"A_Const": {"sval": {"sval": text} if text else {}}}
    return {key: _constants(item, first, values) for key, item in tree.items()}


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _array(values: tuple[object, ...] | list[object]) -> str:
    return "{" + ",".join(_element(value) for value in values) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    return '"' + _text(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: object) -> str:
    """A value as PostgreSQL's input functions read it, whatever the session's settings."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case bytes():
            return f"\\x{value.hex()}"
        case datetime():
            if value.utcoffset() is None:
                raise InternalError("a policy value is a time without a zone; nothing was sent")
            return value.isoformat(" ")
        case date() | int() | Decimal() | UUID():
            return str(value)
    raise InternalError("a policy value of no known type; nothing was sent")
