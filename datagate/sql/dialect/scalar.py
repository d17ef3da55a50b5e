"""Expressions (gram.y: a_expr, c_expr) with PostgreSQL's own precedences."""

from __future__ import annotations

from abc import abstractmethod

from sqlglot import exp

from datagate.sql.dialect.cursor import is_operator
from datagate.sql.dialect.nodes import (
    Collation,
    Infix,
    Overlaps,
    Prefix,
    Quantified,
)
from datagate.sql.dialect.typenames import TypeNames

# gram.y's %left, %right and %nonassoc lines, loosest first.
OR, AND, NOT, IS, COMPARISON, LIKE, OPERATOR, SUM, PRODUCT, POWER, AT, COLLATE, SIGN, CAST = range(1, 15)

_LEVELS = {
    "OR": OR,
    "AND": AND,
    "IS": IS,
    "ISNULL": IS,
    "NOTNULL": IS,
    "<": COMPARISON,
    ">": COMPARISON,
    "=": COMPARISON,
    "<=": COMPARISON,
    ">=": COMPARISON,
    "<>": COMPARISON,
    "!=": COMPARISON,
    "BETWEEN": LIKE,
    "IN": LIKE,
    "LIKE": LIKE,
    "ILIKE": LIKE,
    "SIMILAR": LIKE,
    "NOT": LIKE,
    "OVERLAPS": LIKE,
    "OPERATOR": OPERATOR,
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
    "%": PRODUCT,
    "^": POWER,
    "AT": AT,
    "COLLATE": COLLATE,
    "::": CAST,
}
_BINARY: dict[str, type[exp.Expression]] = {
    "OR": exp.Or,
    "AND": exp.And,
    "<": exp.LT,
    ">": exp.GT,
    "=": exp.EQ,
    "<=": exp.LTE,
    ">=": exp.GTE,
    "<>": exp.NEQ,
    "!=": exp.NEQ,
    "+": exp.Add,
    "-": exp.Sub,
    "*": exp.Mul,
    "/": exp.Div,
    "%": exp.Mod,
    "^": exp.Pow,
    "||": exp.DPipe,
}
_QUANTIFIERS = frozenset({"ANY", "ALL", "SOME"})
_LIKES: dict[str, type[exp.Expression]] = {"LIKE": exp.Like, "ILIKE": exp.ILike, "SIMILAR": exp.SimilarTo}
_NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


class Scalar(TypeNames):
    """Reads expressions; operands are read by the class built upon this one."""

    @abstractmethod
    def primary(self) -> exp.Expression:
        """An operand with its subscripts and field selections."""

    @abstractmethod
    def inside(self) -> exp.Expression | list[exp.Expression]:
        """A query or a list of expressions after ``(``, and the ``)``."""

    def expr(self, floor: int = OR) -> exp.Expression:
        """An expression of operators that bind at least as tightly as ``floor``."""
        word = self.words[self.at]
        if word == "NOT":
            self.at += 1
            return self.infixes(exp.Not(this=self.expr(NOT)), floor)
        if is_operator(word) or (word == "OPERATOR" and self.peek() == "("):
            return self.infixes(self.prefix(word), floor)
        return self.infixes(self.primary(), floor)

    def prefix(self, word: str) -> exp.Expression:
        """A prefix operator and its operand."""
        if word == "-":
            self.at += 1
            return exp.Neg(this=self.expr(SIGN))
        operator = self.operator_name() if word == "OPERATOR" else self.take()
        return Prefix(operator=operator, this=self.expr(SIGN if word == "+" else OPERATOR + 1))

    def infixes(self, left: exp.Expression, floor: int) -> exp.Expression:
        """What follows an operand."""
        words = self.words
        while True:
            word = words[self.at]
            level = _LEVELS.get(word)
            if level is None:
                if not is_operator(word):
                    return left
                level = OPERATOR
            if level < floor:
                return left
            binary = _BINARY.get(word)
            if binary is not None:
                if words[self.at + 1] in _QUANTIFIERS:
                    left = self.quantified(left, self.take())
                    continue
                self.at += 1
                right = self.expr(level + 1)
                left = binary(this=left, expression=right)
            else:
                following = self.other_infix(left, word)
                if following is None:
                    return left
                left = following

    def other_infix(self, left: exp.Expression, word: str) -> exp.Expression | None:
        """An infix or postfix other than the plain binary ones; None where the word is not one after all."""
        match word:
            case "::":
                self.at += 1
                return exp.Cast(this=left, to=self.type_name())
            case "IS" | "ISNULL" | "NOTNULL":
                return self.is_predicate(left)
            case "SIMILAR" if self.peek() != "TO":
                return None
            case "BETWEEN" | "IN" | "LIKE" | "ILIKE" | "SIMILAR":
                return self.pattern_or_range(left, negate=False)
            case "NOT":
                if self.peek() not in ("BETWEEN", "IN", "LIKE", "ILIKE", "SIMILAR"):
                    return None
                self.at += 1
                return self.pattern_or_range(left, negate=True)
            case "AT":
                return self.at_time_zone(left)
            case "COLLATE":
                self.at += 1
                return Collation(this=left, names=self.dotted())
            case "OVERLAPS":
                self.at += 1
                return Overlaps(this=left, expression=self.primary())
        if word == "OPERATOR" and self.peek() != "(":
            return None
        operator = self.operator_name() if word == "OPERATOR" else self.take()
        if self.words[self.at] in _QUANTIFIERS:
            return self.quantified(left, operator)
        return Infix(this=left, operator=operator, expression=self.expr(OPERATOR + 1))

    def quantified(self, left: exp.Expression, operator: str) -> exp.Expression:
        """``ANY (…)`` after an operator."""
        quantifier = self.words[self.at]
        self.at += 1
        self.expect("(")
        inner = self.inside()
        if isinstance(inner, list):
            if len(inner) != 1:
                self.fail()
            inner = inner[0]
        return Quantified(this=left, operator=operator, quantifier=quantifier, expression=inner)

    def is_predicate(self, left: exp.Expression) -> exp.Expression:
        """``IS …``."""
        word = self.words[self.at]
        self.at += 1
        if word != "IS":
            return exp.Is(this=left, expression=exp.Null(), negate=word == "NOTNULL")
        negate = self.accept("NOT")
        if self.accept_words("DISTINCT", "FROM"):
            right = self.expr(IS + 1)
            return (exp.NullSafeEQ if negate else exp.NullSafeNEQ)(this=left, expression=right)
        if self.accept("NULL"):
            return exp.Is(this=left, expression=exp.Null(), negate=negate)
        truth = self.one_of("TRUE", "FALSE")
        if truth is not None:
            return exp.Is(this=left, expression=exp.Boolean(this=truth == "TRUE"), negate=negate)
        start = self.at
        if self.accept("JSON"):
            self.one_of("VALUE", "SCALAR", "ARRAY", "OBJECT")
            if self.one_of("WITH", "WITHOUT"):
                self.expect("UNIQUE")
                self.accept("KEYS")
        elif not self.one_of("UNKNOWN", "DOCUMENT"):
            self.one_of(*_NORMAL_FORMS)
            self.expect("NORMALIZED")
        return exp.Is(this=left, expression=exp.Var(this=self.since(start).upper()), negate=negate)

    def pattern_or_range(self, left: exp.Expression, *, negate: bool) -> exp.Expression:
        """``BETWEEN``, ``IN``, ``LIKE`` and its kin, with the word next."""
        word = self.words[self.at]
        self.at += 1
        if word == "BETWEEN":
            symmetric = self.one_of("SYMMETRIC", "ASYMMETRIC")
            # b_expr: AND ends it; comparisons may stand in it bare.
            low = self.expr(COMPARISON)
            self.expect("AND")
            high = self.expr(LIKE + 1)
            return exp.Between(this=left, low=low, high=high, symmetric=symmetric == "SYMMETRIC", negate=negate)
        if word == "IN":
            return self.in_predicate(left, negate=negate)
        if word == "SIMILAR":
            self.expect("TO")
        elif self.words[self.at] in _QUANTIFIERS:
            return self.quantified(left, f"NOT {word}" if negate else word)
        right = self.expr(LIKE + 1)
        node = _LIKES[word](this=left, expression=right, negate=negate)
        if self.accept("ESCAPE"):
            node.set("escape", self.expr(LIKE + 1))
        return node

    def in_predicate(self, left: exp.Expression, *, negate: bool) -> exp.Expression:
        """``IN (…)`` from the parenthesis on."""
        self.expect("(")
        inner = self.inside()
        if isinstance(inner, list):
            return exp.In(this=left, expressions=inner, negate=negate)
        return exp.In(this=left, query=inner, negate=negate)

    def at_time_zone(self, left: exp.Expression) -> exp.Expression | None:
        """``AT TIME ZONE x`` and ``AT LOCAL``."""
        if self.accept_words("AT", "LOCAL"):
            return exp.AtTimeZone(this=left, zone=exp.Var(this="LOCAL"))
        if self.accept_words("AT", "TIME", "ZONE"):
            return exp.AtTimeZone(this=left, zone=self.expr(AT + 1))
        return None
