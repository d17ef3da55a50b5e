"""Operands of expressions (gram.y: c_expr, columnref, AexprConst), their subscripts and field selections."""

from __future__ import annotations

from abc import abstractmethod

from sqlglot import exp

from datagate.sql.dialect.cursor import NotCarried, identifier
from datagate.sql.dialect.keywords import COL_ID, FUNCTION_ID
from datagate.sql.dialect.nodes import RawString, TypeName
from datagate.sql.dialect.scalar import OR, Scalar
from datagate.sql.dialect.typenames import TYPE_WORDS

_QUERY_WORDS = frozenset({"SELECT", "VALUES", "WITH", "TABLE"})
#: What can follow a query in parentheses only if it is a part of a larger query.
QUERY_TAIL = frozenset({"UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"})
_AFTER_NAME = frozenset({".", "(", "[", "string"})
_COLUMN_PARTS = ("this", "table", "db", "catalog")


class Operands(Scalar):
    """Reads operands."""

    @abstractmethod
    def query(self, left: exp.Expression | None = None) -> exp.Expression:
        """A query without its parentheses; ``left``: its first operand, already read."""

    @abstractmethod
    def special(self, word: str) -> exp.Expression | None:
        """What a key word begins; None where it is only a name here."""

    @abstractmethod
    def call(self, names: list[exp.Identifier]) -> exp.Expression:
        """A call of the function of that name; ``(`` is next."""

    def primary(self) -> exp.Expression:
        """An operand with its subscripts and field selections."""
        word = self.words[self.at]
        if word == "name":
            return self.named()
        if word == "number":
            return exp.Literal(this=self.take(), is_string=False)
        if word == "string":
            return self.string()
        if word == "param":
            return self.indirection(exp.Parameter(this=self.take()[1:]))
        if word == "(":
            return self.indirection(self.parenthesised())
        found = self.special(word)
        if found is None and word in TYPE_WORDS:
            found = self.typed_string()
        if found is not None:
            return found
        if word not in COL_ID and word not in FUNCTION_ID:
            self.fail()
        return self.named()

    def string(self) -> exp.Expression:
        """A string constant."""
        text = self.take()
        if text[0] == "'" and "\n" not in text and "\r" not in text:
            return exp.Literal(this=text[1:-1].replace("''", "'"), is_string=True)
        return RawString(this=text)

    def typed_string(self) -> exp.Expression | None:
        """``int '1'``, ``interval '1' year``: a cast; None where no string follows the type."""
        start = self.at
        if self.words[start] == "INTERVAL" and self.words[start + 1] == "string":
            self.at += 1
            text = self.string()
            fields_at = self.at
            self.interval_fields()
            fields = self.since(fields_at)
            to = TypeName(this=f"interval {fields}" if fields else "interval", keyword="interval")
            return exp.Cast(this=text, to=to)
        try:
            to = self.simple_type()
        except NotCarried:
            self.at = start
            return None
        if self.words[self.at] != "string":
            self.at = start
            return None
        # Not the same as '101'::bit, which is bit(1).
        return exp.Cast(this=self.string(), to=to, prefix=True)

    def named(self) -> exp.Expression:
        """A column, a call, or a string of a named type."""
        start, words = self.at, self.words
        if words[start + 1] not in _AFTER_NAME:
            return exp.Column(this=self.name())
        first = identifier(self.take())
        names, star = [first], False
        while words[self.at] == ".":
            self.at += 1
            if words[self.at] == "*":
                self.at += 1
                star = True
                break
            names.append(self.label())
        following = words[self.at]
        if following == "(" and not star:
            if len(names) == 1 and words[start] not in FUNCTION_ID:
                self.fail()
            call = self.call(names)
            if words[self.at] != "string":
                return call
        if words[self.at] == "string":
            self.at = start
            cast = self.typed_string()
            if cast is None:
                self.fail()
            return cast
        if words[start] not in COL_ID:
            self.fail()
        column = self.column(names, star=star)
        return column if star else self.indirection(column)

    def column(self, names: list[exp.Identifier], *, star: bool) -> exp.Expression:
        """A column of these names, ``t.*`` with ``star``."""
        parts: list[exp.Expression] = [*names, exp.Star()] if star else [*names]
        if len(parts) > len(_COLUMN_PARTS):
            self.fail("column name of more than four parts")
        return exp.Column(**dict(zip(_COLUMN_PARTS, reversed(parts), strict=False)))

    def indirection(self, node: exp.Expression) -> exp.Expression:
        """``.field``, ``.*``, ``[1]``, ``[1:2]`` after an operand."""
        while True:
            word = self.words[self.at]
            if word == "[":
                self.at += 1
                node = exp.Bracket(this=node, expressions=[self.subscript()])
            elif word == ".":
                self.at += 1
                if self.accept("*"):
                    return exp.Dot(this=node, expression=exp.Star())
                node = exp.Dot(this=node, expression=self.label())
            else:
                return node

    def subscript(self) -> exp.Expression:
        """What stands in brackets, and the closing one."""
        low = None if self.words[self.at] == ":" else self.expr()
        if not self.accept(":"):
            self.expect("]")
            assert low is not None  # noqa: S101 - only ":" leaves it out
            return low
        high = None if self.words[self.at] == "]" else self.expr()
        self.expect("]")
        return exp.Slice(this=low, expression=high)

    def parenthesised(self) -> exp.Expression:
        """``(query)``, ``(expression)``, ``(a, b)``."""
        self.expect("(")
        inner = self.inside()
        if not isinstance(inner, list):
            return exp.Subquery(this=inner)
        return exp.Paren(this=inner[0]) if len(inner) == 1 else exp.Tuple(expressions=inner)

    def inside(self) -> exp.Expression | list[exp.Expression]:
        """A query or a list of expressions after ``(``, and the ``)``."""
        word = self.words[self.at]
        if word in _QUERY_WORDS:
            query = self.query()
            self.expect(")")
            return query
        if word == "(":
            inner = self.parenthesised()
            following = self.words[self.at]
            if isinstance(inner, exp.Subquery) and (following == ")" or following in QUERY_TAIL):
                if following != ")":
                    inner = self.query(inner)
                self.expect(")")
                return inner
            first = self.infixes(self.indirection(inner), OR)
        else:
            first = self.expr()
        found = [first]
        while self.accept(","):
            found.append(self.expr())
        self.expect(")")
        return found

    def expressions(self) -> list[exp.Expression]:
        """``a, b, …``."""
        found = [self.expr()]
        while self.words[self.at] == ",":
            self.at += 1
            found.append(self.expr())
        return found
