"""Tokens are PostgreSQL's: no text hides in, or slips out of, a comment, a string or an operator."""

from __future__ import annotations

import pytest
from sqlglot.errors import TokenError

from datagate.sql.dialect.tokens import tokenize


def texts(text: str) -> list[str]:
    """The tokens' texts without the end."""
    return tokenize(text).texts[:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$1,$2 -- $1,$", ["$1", ",", "$2"]),
        ("$1::text||$2", ["$1", "::", "text", "||", "$2"]),
        ("a/* b /* c */ d */e", ["a", "e"]),
        ("a--b\nc", ["a", "c"]),
        ("a+--b\nc", ["a", "+", "c"]),
        ("a*/**/b", ["a", "*", "b"]),
        ("a<-1", ["a", "<", "-", "1"]),
        ("a@-1", ["a", "@-", "1"]),
        ("a=~b", ["a", "=~", "b"]),
        ("a- -1", ["a", "-", "-", "1"]),
        ("a<>-1", ["a", "<>", "-", "1"]),
        ("x::int[1:2]", ["x", "::", "int", "[", "1", ":", "2", "]"]),
        ("f(a=>1,b:=2)", ["f", "(", "a", "=>", "1", ",", "b", ":=", "2", ")"]),
        ("1..2", ["1", "..", "2"]),
        ("t.1", ["t", ".1"]),
        ("1.5e-3.5", ["1.5e-3", ".5"]),
        ("0x1F 1_000", ["0x1F", "1_000"]),
        ("a\u00a0b", ["a\u00a0b"]),
        ("a\u3000b", ["a\u3000b"]),
        ("'a''b'", ["'a''b'"]),
        ("'a'\n 'b'", ["'a'\n 'b'"]),
        ("'a' 'b'", ["'a'", "'b'"]),
        (r"E'\'' 'x'", [r"E'\''", "'x'"]),
        (r"'\' 'x'", [r"'\'", "'x'"]),
        ("E'a'\n'b\\'c'", ["E'a'\n'b\\'c'"]),
        ("$$a'b$$", ["$$a'b$$"]),
        ("$t$ $$ $u$ $t$x", ["$t$ $$ $u$ $t$", "x"]),
        ("a$b$c", ["a$b$c"]),
        ("U&'\\0061' UESCAPE '!'", ["U&'\\0061' UESCAPE '!'"]),
        ("n'x' b'1' X'f'", ["n'x'", "b'1'", "X'f'"]),
        ('"a""b""c"', ['"a""b""c"']),
    ],
)
def test_texts_split_as_in_the_engine(text: str, expected: list[str]) -> None:
    """Each text gives the tokens of PostgreSQL's scanner."""
    assert texts(text) == expected


@pytest.mark.parametrize(
    "text", ["'a", '"a', "$$a", "/* a /* b */", "{# a #}", 'U&"a"', "1a", "$1a", "a \\ b", "\u200b\0"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Unterminated quotes and comments, junk after numbers, and characters of no token raise TokenError."""
    with pytest.raises(TokenError):
        tokenize(text)


def test_key_words_are_ascii() -> None:
    """A letter that only Unicode folds to ASCII makes no key word."""
    assert tokenize("SELECT \u017felect \u212aEY").classes[:3] == ["SELECT", "name", "name"]
