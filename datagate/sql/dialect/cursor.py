"""A place in the tokens, and the grammar of names."""

from __future__ import annotations

from typing import NoReturn

from sqlglot import exp
from sqlglot.errors import ParseError

from datagate.sql.dialect.keywords import COL_ID, FUNCTION_ID, LABEL
from datagate.sql.dialect.tokens import Tokens

_NAME_BYTES = 63
# PostgreSQL folds ASCII letters only (src/backend/parser/scansup.c).
_FOLD = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class NotCarried(ParseError):
    """The dialect does not carry this statement.

    ``construct`` names what stood in the way, ``position`` counts the text's characters from one.
    """

    def __init__(self, construct: str, position: int | None = None) -> None:
        super().__init__(f"{construct} at {position}" if position is not None else construct)
        self.construct = construct
        self.position = position


class TooDeep(NotCarried):
    """The statement nests more deeply than this thread's stack goes."""

    def __init__(self) -> None:
        super().__init__("so deep a nesting")


def identifier(text: str) -> exp.Identifier:
    """The Identifier of a name token."""
    if text[0] == '"':
        name, quoted = text[1:-1].replace('""', '"'), True
    else:
        name, quoted = (text.lower() if text.isascii() else text.translate(_FOLD)), False
    if len(name) > _NAME_BYTES // 4 and len(name.encode()) > _NAME_BYTES:
        name = name.encode()[:_NAME_BYTES].decode(errors="ignore")
    return exp.Identifier(this=name, quoted=quoted)


class Cursor:
    """Reads tokens from left to right; ``words`` are the classes, ``at`` the index of the next token."""

    def __init__(self, tokens: Tokens) -> None:
        self.source = tokens
        self.words = tokens.classes
        self.texts = tokens.texts
        self.at = 0

    def fail(self, construct: str | None = None) -> NoReturn:
        """Raise NotCarried at the next token."""
        at = min(self.at, len(self.words) - 1)
        raise NotCarried(construct or f"unexpected {self.texts[at] or 'end'!r}", self.source.starts[at] + 1)

    def peek(self, offset: int = 1) -> str:
        """The class of a later token."""
        at = self.at + offset
        return self.words[at] if at < len(self.words) else "end"

    def accept(self, word: str) -> bool:
        """Step over the word if it is next."""
        if self.words[self.at] == word:
            self.at += 1
            return True
        return False

    def expect(self, *words: str) -> None:
        """Step over these words or fail."""
        for word in words:
            if self.words[self.at] != word:
                self.fail()
            self.at += 1

    def accept_words(self, *words: str) -> bool:
        """Step over all of these words if they are next, else over none."""
        if tuple(self.words[self.at : self.at + len(words)]) == words:
            self.at += len(words)
            return True
        return False

    def one_of(self, *words: str) -> str | None:
        """Step over whichever of these is next, or None."""
        word = self.words[self.at]
        if word in words:
            self.at += 1
            return word
        return None

    def take(self) -> str:
        """The next token's text, stepping over it."""
        self.at += 1
        return self.texts[self.at - 1]

    def since(self, start: int) -> str:
        """The text from token ``start`` up to the next token, but for white space and comments between tokens."""
        pieces = self.texts[start : self.at]
        for index in range(1, len(pieces)):
            if _wordy(pieces[index - 1][-1]) and _wordy(pieces[index][0]):
                pieces[index] = " " + pieces[index]
        return "".join(pieces)

    def name(self, allowed: frozenset[str] = COL_ID) -> exp.Identifier:
        """A name of the given class."""
        if self.words[self.at] not in allowed:
            self.fail()
        return identifier(self.take())

    def label(self) -> exp.Identifier:
        """Any word as a label."""
        return self.name(LABEL)

    def names(self) -> list[exp.Identifier]:
        """``a, b, …``."""
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        return found

    def dotted(self, first: frozenset[str] = COL_ID) -> list[exp.Identifier]:
        """``a.b.c``; names after a dot may be any word."""
        found = [self.name(first)]
        while self.words[self.at] == ".":
            self.at += 1
            found.append(self.label())
        return found

    def operator_name(self) -> str:
        """``OPERATOR(a.b.+)`` after its first word was seen, verbatim."""
        start = self.at
        self.expect("OPERATOR", "(")
        while self.words[self.at] in FUNCTION_ID | COL_ID:
            self.at += 1
            self.expect(".")
        if not is_operator(self.words[self.at]):
            self.fail()
        self.at += 1
        self.expect(")")
        return self.since(start)


_OPERATOR_CHARACTERS = frozenset("~!@#^&|`?+-*/%<>=")


def is_operator(word: str) -> bool:
    """Whether a token class is an operator."""
    return word[0] in _OPERATOR_CHARACTERS and word != "=>"


def _wordy(character: str) -> bool:
    return character.isalnum() or character in "_$\"'" or character > "\x7f"
