"""Whole numbers of a caller's text that may travel as parameters, so that texts which differ in them share a rewriting.

What is changed is nothing but where a number stands: ``WHERE aid = 17`` becomes ``WHERE aid = $1``, with $1 an int4 of
value 17. Why that gives what the caller's own text gives, and shows no more:

*Authority.* The text with parameters, and these values, are what a caller may send himself by the extended protocol.
It goes down the whole road as it is, so that leak-proof judgements, fences and masks are those for a parameter of which
nothing is known but its type, and the verifier reads the very text that is sent. Whatever was judged safe for the
parameter is safe for each number; nothing that was concluded from one caller's number is used for another's.

*Meaning.* The engine's parser says where the numbers stand, not we. Only one kind of place counts: beside a column in a
comparison, an IN or a BETWEEN, within WHERE or ON of the outermost statement, and not in a subquery. There a constant
is an expression like any other; it is no ordinal, no type modifier and names no output column, and no clause is matched
with it. Up to nine digits it is an int4 (manual, 4.1.2.6), so that operators resolve as for a parameter of that type.
The tree of the text with parameters, with each parameter put back, has to equal the tree of the caller's text.

*All texts of a skeleton.* They equal the text that was looked at byte for byte, but for digits in these places. The
lexer there is past the same bytes, so it stands in no literal, name or comment; so many digits between the same
neighbours are one token of the same kind, and no rule of the grammar in these places asks for its value. All other
numbers, wherever they stand, belong to the skeleton's key by their value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from postgast.pg_query_pb2 import Token

from datagate.backends.postgres.engine import Tree, parse_tree, scan, without_positions
from datagate.errors import DatagateError

INT4 = 23
_NUMBERS = re.compile(rb"(?<![\w.$])([0-9]{1,9})(?![\w.$])")
_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">="))
_STATEMENTS = frozenset(("SelectStmt", "UpdateStmt", "DeleteStmt"))

split = _NUMBERS.split
"""A text as what stands between its numbers and, at every second place, the numbers."""


def movable(text: bytes) -> tuple[int, ...]:
    """Which of the numbers that :func:`split` finds may be parameters, counted from zero; none where all must stay."""
    try:
        return _movable(text)
    except (DatagateError, UnicodeDecodeError, RecursionError):
        # What cannot be read goes the slow road, which says what is wrong.
        return ()


def _movable(text: bytes) -> tuple[int, ...]:
    original = parse_tree(text.decode())
    places = set(_places(original["stmts"]))
    numbers = {token.start for token in scan(text) if token.token == Token.ICONST}
    found = [
        index
        for index, match in enumerate(_NUMBERS.finditer(text))
        if match.start() in places and match.start() in numbers
    ]
    values = [int(match[1]) for match in _NUMBERS.finditer(text)]
    if not found or _has_parameters(original):
        return ()
    back = _put_back(parse_tree(with_parameters(split(text), found).decode()), [values[index] for index in found])
    return tuple(found) if without_positions(back) == without_positions(original) else ()


def with_parameters(parts: list[bytes], moved: tuple[int, ...] | list[int]) -> bytes:
    """The text with these of its numbers as parameters, from ``$1`` on."""
    out = list(parts)
    for number, index in enumerate(moved, 1):
        out[2 * index + 1] = b"$%d" % number
    return b"".join(out)


def _places(statements: list[Tree]) -> Iterator[int]:
    """Where numbers stand that may be parameters, as positions in the text."""
    if len(statements) != 1:
        return
    ((kind, body),) = statements[0]["stmt"].items()
    if kind not in _STATEMENTS:
        return
    if "whereClause" in body:
        yield from _conditions(body["whereClause"])
    for key in ("fromClause", "usingClause"):
        for each in body.get(key, ()):
            yield from _joins(each)


def _joins(node: Tree) -> Iterator[int]:
    join = node.get("JoinExpr")
    if join is None:
        return
    if "quals" in join:
        yield from _conditions(join["quals"])
    for side in ("larg", "rarg"):
        yield from _joins(join.get(side, {}))


def _conditions(node: Tree) -> Iterator[int]:
    ((kind, body),) = node.items()
    if kind == "BoolExpr":
        for each in body.get("args", ()):
            yield from _conditions(each)
    elif kind == "A_Expr":
        yield from _comparison(body)


def _comparison(body: Tree) -> Iterator[int]:
    names = [each.get("String", {}).get("sval") for each in body.get("name", ())]
    left, right = body.get("lexpr", {}), body.get("rexpr", {})
    if body["kind"] == "AEXPR_OP" and len(names) == 1 and names[0] in _COMPARISONS:
        for one, other in ((left, right), (right, left)):
            if "ColumnRef" in one:
                yield from _number(other)
    elif body["kind"] in ("AEXPR_IN", "AEXPR_BETWEEN") and "ColumnRef" in left:
        for each in right.get("List", {}).get("items", ()):
            yield from _number(each)


def _number(node: Tree) -> Iterator[int]:
    constant = node.get("A_Const", {})
    if "ival" in constant and constant["ival"].get("ival", 0) >= 0:
        yield constant.get("location", 0)


def _has_parameters(node: Any) -> bool:
    if isinstance(node, dict):
        return "ParamRef" in node or any(map(_has_parameters, node.values()))
    return isinstance(node, list) and any(map(_has_parameters, node))


def _put_back(node: Any, values: list[int]) -> Any:
    """The tree with the constants again in the place of the parameters."""
    if isinstance(node, list):
        return [_put_back(each, values) for each in node]
    if not isinstance(node, dict):
        return node
    if "ParamRef" in node:
        value = values[node["ParamRef"]["number"] - 1]
        return {"A_Const": {"ival": {"ival": value} if value else {}}}
    return {key: _put_back(each, values) for key, each in node.items()}
