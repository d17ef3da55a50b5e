"""PostgreSQL's lexical rules (src/backend/parser/scan.l), so that no text reads differently here than there.

Two parallel lists come out: the class of each token, and its text exactly as written. The class is the key word in
upper case, the punctuation or operator itself, or one of ``name``, ``string``, ``number``, ``param``, ``end``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot.errors import TokenError

from datagate.sql.dialect.keywords import ALL

_WORD = r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*"
_QUOTED = r"'[^']*(?:''[^']*)*'"
_ESCAPED = r"'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'"
# Two strings with a newline between them are one; the pieces after the first have no prefix of their own.
_NEXT = r"(?:[ \t\r\n\f\v]*[\n\r][ \t\r\n\f\v]*{piece})*"
_DIGITS = r"[0-9](?:_?[0-9])*"
# PostgreSQL refuses letters that follow a number directly.
_NO_JUNK = r"(?![A-Za-z_\x80-\U0010ffff])"
_UESCAPE = r"(?:[ \t\r\n\f\v]*[uU][eE][sS][cC][aA][pP][eE][ \t\r\n\f\v]*'[^']')?"

_TOKEN = re.compile(
    r"[ \t\r\n\f\v]*(?:"
    rf"(?P<string>[eE]{_ESCAPED}{_NEXT.format(piece=_ESCAPED)}"
    rf"|[uU]&{_QUOTED}{_NEXT.format(piece=_QUOTED)}{_UESCAPE}"
    rf"|[bBxXnN]?{_QUOTED}{_NEXT.format(piece=_QUOTED)})"
    rf"|(?P<unicode>[uU]&\")"
    rf"|(?P<word>{_WORD})"
    r"|(?P<punct>::|:=|\.\.|[(),;\[\]:]|\.(?![0-9]))"
    rf"|(?P<number>(?:0[xX](?:_?[0-9A-Fa-f])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+"
    rf"|(?:{_DIGITS}(?:\.(?!\.)(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?){_NO_JUNK})"
    rf"|(?P<param>\$[0-9]+{_NO_JUNK})"
    r"|(?P<op>[~!@#^&|`?+\-*/%<>=]+)"
    r'|(?P<quoted>"[^"]*(?:""[^"]*)*")'
    rf"|(?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)"
    r"|(?P<end>$))",
    re.DOTALL,
)
_COMMENT = re.compile(r"--|/\*")
_BLOCK = re.compile(r"/\*|\*/")
_LINE_END = re.compile(r"[\n\r]|\Z")
# An operator may end in + or - only if it holds one of these as well.
_SPECIAL = frozenset("~!@#^&|`?%")


@dataclass(slots=True)
class Tokens:
    """The tokens of one text; the last one is ``end``."""

    text: str
    classes: list[str]
    texts: list[str]
    starts: list[int]


def tokenize(text: str) -> Tokens:
    """Split a text; TokenError where PostgreSQL's rules give no token."""
    classes: list[str] = []
    texts: list[str] = []
    starts: list[int] = []
    match_at = _TOKEN.match
    position, size = 0, len(text)
    while True:
        match = match_at(text, position)
        if match is None:
            raise TokenError(f"no token at {position + 1}: {text[position : position + 20]!r}")
        kind = match.lastgroup
        piece = match[kind]  # type: ignore[index]  # one of the groups matched
        end = match.end()
        start = end - len(piece)
        if kind == "word":
            upper = piece.upper()
            classes.append(upper if upper in ALL and piece.isascii() else "name")
        elif kind == "punct":
            classes.append(piece)
        elif kind == "op":
            if len(piece) > 1:
                piece = _operator(piece)
                if not piece:
                    position = _skip_comment(text, start)
                    continue
                end = start + len(piece)
            classes.append(piece)
        elif kind == "quoted":
            classes.append("name")
        elif kind == "dollar":
            close = text.find(piece, end)
            if close < 0:
                raise TokenError(f"unterminated dollar-quoted string at {start + 1}")
            end = close + len(piece)
            piece = text[start:end]
            classes.append("string")
        elif kind == "unicode":
            raise TokenError(f'U&"" identifier at {start + 1}')
        else:
            classes.append(kind)  # type: ignore[arg-type]  # as above
        texts.append(piece)
        starts.append(start)
        position = end
        if kind == "end":
            if position != size:
                raise TokenError(f"no token at {position + 1}")
            return Tokens(text, classes, texts, starts)


def _operator(run: str) -> str:
    """The operator at the start of a run of operator characters; empty where a comment starts there."""
    comment = _COMMENT.search(run)
    if comment is not None:
        run = run[: comment.start()]
    if len(run) > 1 and run[-1] in "+-" and _SPECIAL.isdisjoint(run):
        run = run.rstrip("+-") or run[0]
    return run


def _skip_comment(text: str, start: int) -> int:
    """The position after the comment that starts here; block comments nest."""
    if text.startswith("--", start):
        found = _LINE_END.search(text, start)
        return found.end() if found is not None else len(text)
    depth, position = 0, start
    while found := _BLOCK.search(text, position):
        depth += 1 if found[0] == "/*" else -1
        position = found.end()
        if depth == 0:
            return position
    raise TokenError(f"unterminated comment at {start + 1}")
