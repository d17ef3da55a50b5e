"""LIKE and its kin, which raise for a pattern that ends in its escape character (PostgreSQL manual, 9.7.1).

The planner, too, matches a pattern that it knows: with the values of its statistics, hidden rows' among them, to guess
how many rows will match. So where such a pattern is not known to end well, a fence must hide the statistics as well.
Among the built-in operators that the planner tries on statistics these are the only ones that fail on some values.
"""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.nodes import Call, Infix, Quantified

_OPERATOR = "~~"
_FUNCTION = "like"


MOST_WILDCARDS = 100
"""The matching of ``%`` recurses: by thousands of them it runs out of stack."""


def ends_well(pattern: exp.Expression) -> bool:
    """Whether matching a pattern is certain not to fail: it does not end in a backslash, and is not too wild."""
    wild = sum(str(literal.this).count("%") for literal in pattern.find_all(exp.Literal))
    return wild <= MOST_WILDCARDS and _ends_well(pattern)


def _ends_well(pattern: exp.Expression) -> bool:
    """By its last piece, a literal without any backslash."""
    if isinstance(pattern, exp.Paren):
        return _ends_well(pattern.this)
    if isinstance(pattern, exp.DPipe) or (isinstance(pattern, Infix) and pattern.args["operator"] == "||"):
        return _ends_well(pattern.expression) and bool(pattern.expression.this)
    return isinstance(pattern, exp.Literal) and bool(pattern.is_string) and "\\" not in pattern.this


def matches_patterns(tree: exp.Expression, plain: frozenset[int]) -> bool:
    """Whether the statement matches a pattern that is not known to end well; ``plain``: parameters that do."""
    return any(_unsure(node, plain) for node in tree.walk())


def _unsure(node: object, plain: frozenset[int]) -> bool:
    match node:
        case exp.Like() | exp.ILike():
            pattern = node.expression
            known = isinstance(pattern, exp.Parameter) and int(pattern.name) in plain
            return node.args.get("escape") is not None or not (known or ends_well(pattern))
        case Infix() | Quantified():
            return _OPERATOR in node.args["operator"] or _FUNCTION in node.args["operator"].lower()
        case Call():
            return _FUNCTION in node.name
        case _:
            return False


def may_match_patterns(text: str) -> bool:
    """Whether a text holds any word or operator that could match a pattern."""
    return _OPERATOR in text or _FUNCTION in text.lower()
