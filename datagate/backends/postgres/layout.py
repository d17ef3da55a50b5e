"""Lay a statement out over lines: white space changes, and nothing else.

The engine's own tokens are set apart anew, so that what is printed is what would be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from postgast.pg_query_pb2 import ScanToken, Token

from datagate.backends.postgres.engine import encode, parse_tree, scan, without_positions

_INDENT = "  "
_SHORT = 72
_OPEN, _CLOSE, _COMMA = Token.ASCII_40, Token.ASCII_41, Token.ASCII_44
_QUERY = frozenset({Token.SELECT, Token.WITH, Token.VALUES})
_CLAUSES = frozenset(
    {
        Token.SELECT,
        Token.FROM,
        Token.WHERE,
        Token.GROUP_P,
        Token.HAVING,
        Token.ORDER,
        Token.LIMIT,
        Token.OFFSET,
        Token.UNION,
        Token.INTERSECT,
        Token.EXCEPT,
        Token.WINDOW,
    }
)
_JOINS = frozenset({Token.JOIN, Token.LEFT, Token.RIGHT, Token.FULL, Token.INNER_P, Token.CROSS, Token.NATURAL})
_LOGIC = frozenset({Token.AND, Token.OR})


@dataclass(slots=True)
class _Bracket:
    """An open parenthesis; ``query``: a SELECT of its own stands in it. ``listing``: its target list is being read."""

    query: bool
    depth: int
    listing: bool = False
    between: int = 0


@dataclass(slots=True)
class _Page:
    """What is written so far, and how far its last line is set in."""

    text: list[str] = field(default_factory=list)
    depth: int = 0

    def break_line(self, depth: int) -> None:
        self.depth = depth
        self.text.append("\n" + _INDENT * depth)


def laid_out(text: str) -> str:
    """The statement over several lines; as it was, should that not read as the same."""
    raw = encode(text)
    tokens = list(scan(raw))
    out = _lay(raw, tokens)
    same = without_positions(parse_tree(out)["stmts"]) == without_positions(parse_tree(text)["stmts"])
    return out if same else text


def _lay(raw: bytes, tokens: Sequence[ScanToken]) -> str:
    page = _Page()
    open_brackets = [_Bracket(query=True, depth=0)]
    for at, token in enumerate(tokens):
        kind = token.token
        before = tokens[at - 1].token if at else None
        after = tokens[at + 1].token if at + 1 < len(tokens) else None
        innermost = open_brackets[-1]
        if kind == _CLOSE and len(open_brackets) > 1:
            closed = open_brackets.pop()
            if closed.query:
                page.break_line(closed.depth - 1)
        elif before == _OPEN and innermost.query:
            page.break_line(innermost.depth)
        elif not _breaks(kind, before, after, innermost):
            if at and tokens[at - 1].end < token.start:
                page.text.append(" ")
        else:
            extra = 0 if kind in _CLAUSES else 1
            page.break_line(innermost.depth + extra)
        _note(kind, innermost)
        page.text.append(raw[token.start : token.end].decode())
        if kind == _OPEN:
            query = after in _QUERY and not _is_short(tokens, at)
            open_brackets.append(_Bracket(query=query, depth=page.depth + 1))
    return "".join(page.text)


def _is_short(tokens: Sequence[ScanToken], at: int) -> bool:
    """Whether the bracket that opens here closes soon enough to stay on one line."""
    depth = 0
    for token in tokens[at:]:
        if token.end - tokens[at].start > _SHORT:
            return False
        depth += (token.token == _OPEN) - (token.token == _CLOSE)
        if depth == 0:
            return True
    return False


def _breaks(kind: int, before: int | None, after: int | None, innermost: _Bracket) -> bool:
    """Whether a token starts a line of its own."""
    if not innermost.query or before is None:
        return False
    if before == _COMMA and innermost.listing:
        return True
    if kind in _JOINS:
        is_function = kind in {Token.LEFT, Token.RIGHT} and after == _OPEN
        return before not in _JOINS and before != Token.OUTER_P and not is_function
    if kind in _LOGIC:
        return not (kind == Token.AND and innermost.between)
    if kind == Token.FROM:
        return bool(before != Token.DISTINCT)
    if kind == Token.GROUP_P:
        return bool(before != Token.WITHIN)
    return kind in _CLAUSES


def _note(kind: int, innermost: _Bracket) -> None:
    if kind == Token.SELECT:
        innermost.listing = True
    elif kind in _CLAUSES:
        innermost.listing = False
    if kind == Token.BETWEEN:
        innermost.between += 1
    elif kind == Token.AND and innermost.between:
        innermost.between -= 1
