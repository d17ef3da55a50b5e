"""What key words begin in an expression (gram.y: func_expr_common_subexpr, case_expr, array_expr, row …)."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from datagate.sql.dialect.calls import Calls
from datagate.sql.dialect.keywords import LABEL
from datagate.sql.dialect.nodes import KeywordCall, Row, ValueFunction
from datagate.sql.dialect.scalar import OPERATOR

_NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_PRECISE = frozenset({"CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"})
_VALUES = _PRECISE | {
    "CURRENT_DATE",
    "CURRENT_ROLE",
    "CURRENT_USER",
    "SESSION_USER",
    "SYSTEM_USER",
    "USER",
    "CURRENT_CATALOG",
}
Part = exp.Expression | str


class Specials(Calls):
    """Reads them."""

    def special(self, word: str) -> exp.Expression | None:
        """What a key word begins; None where it is only a name here."""
        reader = _RESERVED.get(word)
        if reader is not None:
            self.at += 1
            return reader(self)
        following = self.peek()
        if following != "(":
            if word in _VALUES or (word == "CURRENT_SCHEMA" and following != "."):
                self.at += 1
                return ValueFunction(this=word)
            if word == "COLLATION" and following == "FOR":
                self.at += 2
                self.expect("(")
                return KeywordCall(this="COLLATION FOR", parts=self.closed([self.expr()]))
            return None
        if word in _PRECISE:
            self.at += 2
            precision = self.take()
            self.expect(")")
            return ValueFunction(this=word, precision=precision)
        reader = _PARENTHESISED.get(word)
        if reader is not None:
            self.at += 2
            return reader(self)
        return self.json_or_xml(word)

    def json_or_xml(self, word: str) -> exp.Expression | None:
        """A call of SQL/JSON or SQL/XML; the class built upon this one reads them."""
        raise NotImplementedError(word)

    def closed(self, parts: list[Part]) -> list[Part]:
        """The parts, after stepping over ``)``."""
        self.expect(")")
        return parts

    def null(self) -> exp.Expression:
        """``NULL``."""
        return exp.Null()

    def true(self) -> exp.Expression:
        """``TRUE``."""
        return exp.Boolean(this=True)

    def false(self) -> exp.Expression:
        """``FALSE``."""
        return exp.Boolean(this=False)

    def case(self) -> exp.Expression:
        """CASE after its word."""
        operand = None if self.words[self.at] == "WHEN" else self.expr()
        branches = []
        while self.accept("WHEN"):
            condition = self.expr()
            self.expect("THEN")
            branches.append(exp.If(this=condition, true=self.expr()))
        default = self.expr() if self.accept("ELSE") else None
        self.expect("END")
        return exp.Case(this=operand, ifs=branches, default=default)

    def cast(self) -> exp.Expression:
        """``CAST(x AS type)``."""
        self.expect("(")
        operand = self.expr()
        self.expect("AS")
        to = self.type_name()
        self.expect(")")
        return exp.Cast(this=operand, to=to, call=True)

    def array(self) -> exp.Expression:
        """``ARRAY[…]`` and ``ARRAY(query)``."""
        if self.accept("("):
            query = self.inside()
            if isinstance(query, list):
                self.fail()
            return KeywordCall(this="ARRAY", parts=[query])
        return self.array_elements()

    def array_elements(self) -> exp.Expression:
        """``[…]``, whose elements may be of the same kind."""
        self.expect("[")
        elements: list[exp.Expression] = []
        if self.words[self.at] != "]":
            nested = self.words[self.at] == "["
            elements.append(self.inner_elements() if nested else self.expr())
            while self.accept(","):
                elements.append(self.inner_elements() if nested else self.expr())
        self.expect("]")
        return exp.Array(expressions=elements)

    def inner_elements(self) -> exp.Expression:
        """A row of a nested array: without the word ARRAY."""
        node = self.array_elements()
        node.set("inner", True)
        return node

    def exists(self) -> exp.Expression:
        """``EXISTS (query)``."""
        query = self.inside()
        if isinstance(query, list):
            self.fail()
        return exp.Exists(this=query)

    def row(self) -> exp.Expression:
        """``ROW(…)``."""
        found = [] if self.words[self.at] == ")" else self.expressions()
        self.expect(")")
        return Row(expressions=found)

    def listed(self) -> exp.Expression:
        """COALESCE and others whose arguments are a plain list; for ``f()`` see the grammar."""
        name = self.words[self.at - 2]
        parts: list[Part] = []
        if self.words[self.at] != ")":
            parts.append(self.expr())
            while self.accept(","):
                parts += [",", self.expr()]
        return KeywordCall(this=name, parts=self.closed(parts))

    def extract(self) -> exp.Expression:
        """``EXTRACT(field FROM x)``; the field may be any word or a string."""
        field = self.string() if self.words[self.at] == "string" else self.name(LABEL)
        self.expect("FROM")
        return KeywordCall(this="EXTRACT", parts=self.closed([field, "FROM", self.expr()]))

    def position(self) -> exp.Expression:
        """``POSITION(a IN b)``."""
        first = self.expr(OPERATOR)
        self.expect("IN")
        return KeywordCall(this="POSITION", parts=self.closed([first, "IN", self.expr(OPERATOR)]))

    def separated(self, name: str, *words: str) -> exp.Expression:
        """Operands with these key words or commas between them; an empty list stays so."""
        parts: list[Part] = []
        while self.words[self.at] != ")":
            word = self.one_of(*words, ",")
            if word is not None:
                parts.append(word)
            else:
                parts.append(self.argument())
        return KeywordCall(this=name, parts=self.closed(parts))

    def overlay(self) -> exp.Expression:
        """``OVERLAY(a PLACING b FROM c FOR d)``."""
        return self.separated("OVERLAY", "PLACING", "FROM", "FOR")

    def substring(self) -> exp.Expression:
        """``SUBSTRING(a FROM b FOR c)`` and its other forms."""
        return self.separated("SUBSTRING", "FROM", "FOR", "SIMILAR", "ESCAPE")

    def trim(self) -> exp.Expression:
        """``TRIM(BOTH a FROM b)`` and its shorter forms."""
        return self.separated("TRIM", "BOTH", "LEADING", "TRAILING", "FROM")

    def normalize(self) -> exp.Expression:
        """``NORMALIZE(a, NFC)``."""
        parts: list[Part] = [self.expr()]
        if self.accept(","):
            form = self.one_of(*_NORMAL_FORMS)
            if form is None:
                self.fail()
            parts += [",", form]
        return KeywordCall(this="NORMALIZE", parts=self.closed(parts))

    def merge_action(self) -> exp.Expression:
        """``MERGE_ACTION()``."""
        return KeywordCall(this="MERGE_ACTION", parts=self.closed([]))

    def treat(self) -> exp.Expression:
        """``TREAT(a AS type)``."""
        operand = self.expr()
        self.expect("AS")
        return KeywordCall(this="TREAT", parts=self.closed([operand, "AS", self.type_name()]))


_RESERVED: dict[str, Callable[[Specials], exp.Expression]] = {
    "NULL": Specials.null,
    "TRUE": Specials.true,
    "FALSE": Specials.false,
    "CASE": Specials.case,
    "CAST": Specials.cast,
    "ARRAY": Specials.array,
}
_PARENTHESISED: dict[str, Callable[[Specials], exp.Expression]] = {
    "EXISTS": Specials.exists,
    "ROW": Specials.row,
    "COALESCE": Specials.listed,
    "GREATEST": Specials.listed,
    "LEAST": Specials.listed,
    "NULLIF": Specials.listed,
    "GROUPING": Specials.listed,
    "XMLCONCAT": Specials.listed,
    "EXTRACT": Specials.extract,
    "POSITION": Specials.position,
    "OVERLAY": Specials.overlay,
    "SUBSTRING": Specials.substring,
    "TRIM": Specials.trim,
    "NORMALIZE": Specials.normalize,
    "TREAT": Specials.treat,
    "MERGE_ACTION": Specials.merge_action,
}
