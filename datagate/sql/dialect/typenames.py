"""The grammar of types (gram.y: Typename), read without changing a letter."""

from __future__ import annotations

from datagate.sql.dialect.cursor import Cursor
from datagate.sql.dialect.keywords import FUNCTION_ID
from datagate.sql.dialect.nodes import TypeName

# A first word of the grammar's own type names, and whether VARYING may follow.
_KEYWORD_TYPES = {
    "INT": False,
    "INTEGER": False,
    "SMALLINT": False,
    "BIGINT": False,
    "REAL": False,
    "FLOAT": False,
    "DECIMAL": False,
    "DEC": False,
    "NUMERIC": False,
    "BOOLEAN": False,
    "JSON": False,
    "VARCHAR": False,
    "BIT": True,
    "CHARACTER": True,
    "CHAR": True,
    "NCHAR": True,
}
_INTERVAL_FIELDS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
TYPE_WORDS = frozenset(_KEYWORD_TYPES) | {"TIME", "TIMESTAMP", "INTERVAL", "NATIONAL", "DOUBLE"}


class TypeNames(Cursor):
    """Reads types."""

    def type_name(self) -> TypeName:
        """A type with its modifiers and array bounds."""
        start = self.at
        setof = self.accept("SETOF")
        node = self.simple_type()
        dimensions = self.array_bounds()
        if setof or dimensions:
            node.args["this"] = self.since(start)
            node.args["dimensions"] = dimensions
            node.args["setof"] = setof
        return node

    def simple_type(self) -> TypeName:
        """A type without array bounds."""
        start = self.at
        keyword = self.keyword_type()
        if keyword is not None:
            modifiers = None if keyword.startswith("time") else self.modifiers()
            if keyword.startswith("time"):
                keyword, modifiers = self.time_zone(keyword)
            elif keyword == "interval" and modifiers is None:
                self.interval_fields()
            return TypeName(this=self.since(start), keyword=keyword, modifiers=modifiers)
        names = self.dotted(FUNCTION_ID)
        modifiers = self.modifiers()
        return TypeName(this=self.since(start), names=names, modifiers=modifiers)

    def keyword_type(self) -> str | None:
        """The grammar's own spelling that is next, in lower case, without modifiers and time zone."""
        word = self.words[self.at]
        if word not in TYPE_WORDS or (word == "DOUBLE" and self.peek() != "PRECISION"):
            return None
        self.at += 1
        if word == "DOUBLE":
            self.at += 1
            return "double precision"
        if word == "NATIONAL":
            second = self.one_of("CHARACTER", "CHAR")
            if second is None:
                self.fail()
            word = f"{word} {second}"
        if (_KEYWORD_TYPES.get(word) or word.startswith("NATIONAL")) and self.accept("VARYING"):
            word += " VARYING"
        return word.lower()

    def time_zone(self, keyword: str) -> tuple[str, str | None]:
        """What follows TIME and TIMESTAMP."""
        modifiers = self.modifiers()
        if self.accept_words("WITH", "TIME", "ZONE"):
            return f"{keyword} with time zone", modifiers
        if self.accept_words("WITHOUT", "TIME", "ZONE"):
            return f"{keyword} without time zone", modifiers
        return keyword, modifiers

    def interval_fields(self) -> None:
        """``DAY TO SECOND(3)``."""
        if self.one_of(*_INTERVAL_FIELDS) is None:
            return
        if self.accept("TO") and self.one_of(*_INTERVAL_FIELDS) is None:
            self.fail()
        self.modifiers()

    def modifiers(self) -> str | None:
        """``(10, 2)`` without its parentheses."""
        if self.words[self.at] != "(":
            return None
        self.at += 1
        start, depth = self.at, 1
        while depth:
            word = self.words[self.at]
            if word == "end":
                self.fail()
            depth += (word == "(") - (word == ")")
            self.at += 1
        self.at -= 1
        text = self.since(start)
        self.at += 1
        return text

    def array_bounds(self) -> int:
        """``[][3]`` or ``ARRAY[3]``; gives their number."""
        if self.accept("ARRAY"):
            if self.accept("["):
                self.expect("number", "]")
            return 1
        count = 0
        while self.accept("["):
            self.accept("number")
            self.expect("]")
            count += 1
        return count
