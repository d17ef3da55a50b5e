"""What of a SELECT the engine may compute early: the parts of HAVING that are conditions on rows, and sort keys."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from datagate.sql.calls import own_calls
from datagate.sql.constants import whole_number
from datagate.sql.dialect.nodes import Call, Quantified, Sample
from datagate.sql.scopes import Scope

_AGGREGATES = frozenset("count sum avg min max bool_and bool_or every array_agg string_agg stddev variance".split())
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.Paren, exp.Cast)
_CLAUSES = (exp.Order, exp.Ordered, exp.Group, exp.Distinct, exp.Limit, exp.Offset, exp.Having, exp.Values, exp.Tuple)
_WHOLE = 100
"""Percent."""


def children(value: object) -> list[exp.Expression]:
    """The expressions that an argument of a node holds."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, exp.Expression)]
    return [value] if isinstance(value, exp.Expression) else []


def expressions_of(node: exp.Expression) -> Iterable[exp.Expression]:
    """The value expressions of a clause."""
    if isinstance(node, _CLAUSES) or not isinstance(node, exp.Condition | exp.Query | exp.Predicate):
        for value in node.args.values():
            for child in children(value):
                yield from expressions_of(child)
    else:
        yield node


def conjuncts(node: exp.Expression) -> Iterable[exp.Expression]:
    """The parts of a condition that AND joins, in order; parentheses are kept."""
    if isinstance(node, exp.And):
        yield from conjuncts(node.this)
        yield from conjuncts(node.expression)
    else:
        yield node


def subqueries(node: exp.Expression) -> Iterable[exp.Expression]:
    """The outermost queries inside an expression (or the expression itself)."""
    if isinstance(node, exp.Query | exp.Values):
        yield node
        return
    for value in node.args.values():
        for child in children(value):
            yield from subqueries(child)


def memberships(node: exp.Expression) -> Iterable[exp.Expression]:
    """The comparisons with the rows of a subquery, not those inside subqueries."""
    if isinstance(node, exp.Query | exp.Values):
        return
    if isinstance(node, exp.In) and node.args.get("query") is not None:
        yield node
    if isinstance(node, Quantified) and isinstance(node.expression, exp.Query | exp.Values):
        yield node
    for value in node.args.values():
        for child in children(value):
            yield from memberships(child)


def aggregates(nodes: Iterable[exp.Expression]) -> list[Call]:
    """The aggregate calls, not those inside subqueries."""
    return [
        call
        for node in nodes
        for call in own_calls(node)
        if call.args.get("over") is None and (call.name in _AGGREGATES or call.args.get("within_group") is not None)
    ]


def gathers_here(call: Call, scope: Scope) -> bool:
    """Whether an aggregate is certainly of this SELECT: one that names only columns from further out is of that."""
    if call.expressions and isinstance(call.expressions[0], exp.Star):
        return True
    return any(scope.names(column) for part in call.expressions for column in part.find_all(exp.Column))


def stays(part: exp.Expression, scope: Scope) -> bool:
    """Whether a part of HAVING is certainly computed after grouping.

    The engine takes HAVING apart at its ANDs, also at those that it makes itself (of NOT and OR, BETWEEN, rows), and
    moves what holds no aggregate into WHERE. One operator between an aggregate and anything stays whole.
    """
    if isinstance(part, exp.Paren):
        return stays(part.this, scope)
    return isinstance(part, _COMPARISONS) and (_plainly(part.this, scope) or _plainly(part.expression, scope))


def own_conditions(select: exp.Select, scope: Scope) -> list[exp.Expression]:
    """WHERE, and what the engine may take of HAVING into it."""
    where, having = select.args.get("where"), select.args.get("having")
    out = list(conjuncts(where.this)) if where is not None else []
    if having is not None:
        out += [part for part in conjuncts(having.this) if not stays(part, scope)]
    return out


def _plainly(node: exp.Expression, scope: Scope) -> bool:
    """Whether a value is an aggregate of this SELECT, or arithmetic with one."""
    if isinstance(node, _ARITHMETIC):
        return any(_plainly(child, scope) for value in node.args.values() for child in children(value))
    return isinstance(node, Call) and node in aggregates([node]) and gathers_here(node, scope)


def sort_keys(select: exp.Select) -> Iterable[exp.Expression]:
    """What rows may be sorted by on the way: ORDER BY, GROUP BY, DISTINCT, windows, and aggregates' own orders."""
    order, group, distinct = (select.args.get(key) for key in ("order", "group", "distinct"))
    named = {item.alias: item for item in select.expressions if isinstance(item, exp.Alias)}
    for clause in (order, group, *(select.args.get("windows") or [])):
        for key in expressions_of(clause) if clause is not None else ():
            if isinstance(key, exp.Literal):
                yield from select.expressions
            elif isinstance(key, exp.Column) and not key.table and key.name in named:
                yield named[key.name]
            else:
                yield key
    if distinct is not None:
        yield from select.expressions
        yield from expressions_of(distinct)
    for item in [*select.expressions, *children(order), *children(select.args.get("having"))]:
        for call in own_calls(item):
            yield from _orders_within(call)


def _orders_within(call: Call) -> Iterable[exp.Expression]:
    for key in ("order", "within_group", "over"):
        clause = call.args.get(key)
        if isinstance(clause, exp.Expression) and not isinstance(clause, exp.Identifier):
            yield from expressions_of(clause)
    if call.args.get("distinct"):
        yield from call.expressions


def limited_plainly(query: exp.Expression) -> bool:
    """Whether LIMIT and OFFSET are whole numbers in the text: a negative one raises when it is computed."""
    counts = [query.args.get(key) for key in ("limit", "offset")]
    given = [each.args.get("expression") or each.args.get("count") for each in counts if each is not None]
    return all(isinstance(each, exp.Var | None) or whole_number(each) for each in given)


def sampled_plainly(sample: Sample | None) -> bool:
    """Whether TABLESAMPLE takes a percentage, and a seed if any, that stand in the text as whole numbers."""
    if sample is None:
        return True
    seed = sample.args.get("seed")
    plain = all(whole_number(each) and int(each.this) <= _WHOLE for each in sample.expressions)
    return plain and (seed is None or whole_number(seed))
