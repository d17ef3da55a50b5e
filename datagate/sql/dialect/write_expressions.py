"""Writes expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sqlglot import exp

from datagate.sql.dialect import nodes
from datagate.sql.dialect.writer import identifier_text, many, names, verbatim, write

_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Or: "OR",
    exp.And: "AND",
    exp.LT: "<",
    exp.GT: ">",
    exp.EQ: "=",
    exp.LTE: "<=",
    exp.GTE: ">=",
    exp.NEQ: "<>",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
    exp.Pow: "^",
    exp.DPipe: "||",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}
_OPERATOR_START = re.compile(r"[~!@#^&|`?+\-*/%<>=]")


def _column(node: exp.Expr) -> str:
    args = node.args
    if len(args) == 1:
        return write(args["this"])
    return names([args[part] for part in ("catalog", "db", "table", "this") if args.get(part) is not None])


def _literal(node: exp.Expr) -> str:
    text: str = node.args["this"]
    return "'" + text.replace("'", "''") + "'" if node.args["is_string"] else text


# -- operators


def _binary(node: exp.Expr) -> str:
    """Chains are walked down their left side, so that a thousand ORs do not nest a thousand calls."""
    pieces: list[str] = []
    current = node
    while True:
        kind = current.__class__
        operator = _OPERATORS.get(kind) or (current.args["operator"] if kind is nodes.Infix else None)
        if operator is None:
            pieces.append(write(current))
            break
        pieces.append(write(current.args["expression"]))
        pieces.append(operator)
        current = current.args["this"]
    return " ".join(reversed(pieces))


def _neg(node: exp.Expr) -> str:
    operand = write(node.this)
    return f"- {operand}" if _OPERATOR_START.match(operand) else f"-{operand}"


def _prefix(node: exp.Expr) -> str:
    return f"{node.args['operator']} {write(node.this)}"


def _not_word(node: exp.Expr) -> str:
    return "NOT " if node.args.get("negate") else ""


def _pattern(word: str) -> Callable[[exp.Expr], str]:
    def write_pattern(node: exp.Expr) -> str:
        escape = node.args.get("escape")
        tail = f" ESCAPE {write(escape)}" if escape is not None else ""
        return f"{write(node.this)} {_not_word(node)}{word} {write(node.expression)}{tail}"

    return write_pattern


def _between(node: exp.Expr) -> str:
    args = node.args
    symmetric = "SYMMETRIC " if args.get("symmetric") else ""
    return f"{write(args['this'])} {_not_word(node)}BETWEEN {symmetric}{write(args['low'])} AND {write(args['high'])}"


def _in(node: exp.Expr) -> str:
    query = node.args.get("query")
    inner = write(query) if query is not None else many(node.expressions)
    return f"{write(node.this)} {_not_word(node)}IN ({inner})"


def _is(node: exp.Expr) -> str:
    return f"{write(node.this)} IS {_not_word(node)}{write(node.expression)}"


def _at_time_zone(node: exp.Expr) -> str:
    zone = node.args["zone"]
    if zone.__class__ is exp.Var:
        return f"{write(node.this)} AT LOCAL"
    return f"{write(node.this)} AT TIME ZONE {write(zone)}"


def _quantified(node: exp.Expr) -> str:
    args = node.args
    return f"{write(args['this'])} {args['operator']} {args['quantifier']} ({write(args['expression'])})"


def _cast(node: exp.Expr) -> str:
    operand, to = write(node.args["this"]), node.args["to"].args["this"]
    if node.args.get("prefix"):
        return f"{to} {operand}"
    return f"CAST({operand} AS {to})" if node.args.get("call") else f"{operand}::{to}"


def _case(node: exp.Expr) -> str:
    operand, default = node.args.get("this"), node.args.get("default")
    pieces = ["CASE"]
    if operand is not None:
        pieces.append(write(operand))
    pieces.extend([f"WHEN {write(branch.this)} THEN {write(branch.args['true'])}" for branch in node.args["ifs"]])
    if default is not None:
        pieces.append(f"ELSE {write(default)}")
    pieces.append("END")
    return " ".join(pieces)


def _array(node: exp.Expr) -> str:
    return f"{'' if node.args.get('inner') else 'ARRAY'}[{many(node.expressions)}]"


def _slice(node: exp.Expr) -> str:
    low, high = node.args.get("this"), node.args.get("expression")
    return f"{write(low) if low is not None else ''} : {write(high) if high is not None else ''}"


# -- calls


def _aggregation(node: exp.Expr, text: str) -> str:
    args = node.args
    if args.get("filter") is not None:
        text = f"{text} FILTER (WHERE {write(args['filter'])})"
    if args.get("over") is not None:
        text = f"{text} OVER {write(args['over'])}"
    return text


def _call(node: exp.Expr) -> str:
    args = node.args
    qualifiers = args.get("qualifiers")
    name = names([*qualifiers, args["this"]]) if qualifiers else write(args["this"])
    found = args.get("expressions")
    inner = many(found) if found else ""
    if args.get("distinct"):
        inner = f"DISTINCT {inner}"
    if args.get("order") is not None:
        inner = f"{inner} {write(args['order'])}"
    text = f"{name}({inner})"
    if args.get("within_group") is not None:
        text = f"{text} WITHIN GROUP ({write(args['within_group'])})"
    return _aggregation(node, text)


def _keyword_call(node: exp.Expr) -> str:
    pieces: list[str] = []
    for part in node.args["parts"]:
        if part == "," and pieces:
            pieces[-1] += ","
        else:
            pieces.append(part if isinstance(part, str) else write(part))
    return _aggregation(node, f"{node.args['this']}({' '.join(pieces)})")


def _value_function(node: exp.Expr) -> str:
    precision = node.args.get("precision")
    return f"{node.args['this']}({precision})" if precision is not None else str(node.args["this"])


def _window_definition(node: exp.Expr) -> str:
    args = node.args
    pieces = []
    if args.get("this") is not None:
        pieces.append(write(args["this"]))
    if args.get("partition_by"):
        pieces.append(f"PARTITION BY {many(args['partition_by'])}")
    pieces.extend([write(args[key]) for key in ("order", "frame") if args.get(key) is not None])
    return f"({' '.join(pieces)})"


def _frame(node: exp.Expr) -> str:
    args = node.args
    start, end = write(args["start"]), args.get("end")
    extent = start if end is None else f"BETWEEN {start} AND {write(end)}"
    exclude = f" EXCLUDE {args['exclude']}" if args.get("exclude") else ""
    return f"{args['mode']} {extent}{exclude}"


def _bound(node: exp.Expr) -> str:
    offset = node.args.get("this")
    words: str = node.args["words"]
    return f"{write(offset)} {words}" if offset is not None else words


def _ordered(node: exp.Expr) -> str:
    args = node.args
    text = write(args["this"])
    desc, using, nulls_first = args.get("desc"), args.get("using"), args.get("nulls_first")
    if desc is not None:
        text += " DESC" if desc else " ASC"
    if using is not None:
        text += f" USING {using}"
    if nulls_first is not None:
        text += " NULLS FIRST" if nulls_first else " NULLS LAST"
    return text


EXPRESSIONS: Mapping[type[exp.Expr], Callable[[exp.Expr], str]] = {
    exp.Identifier: identifier_text,
    exp.Column: _column,
    exp.Star: lambda _: "*",
    exp.Literal: _literal,
    exp.Parameter: lambda node: f"${node.args['this']}",
    exp.Null: lambda _: "NULL",
    exp.Boolean: lambda node: "TRUE" if node.args["this"] else "FALSE",
    exp.Var: verbatim,
    nodes.RawString: verbatim,
    nodes.TypeName: verbatim,
    nodes.DefaultValue: lambda _: "DEFAULT",
    **dict.fromkeys(_OPERATORS, _binary),
    nodes.Infix: _binary,
    exp.Neg: _neg,
    nodes.Prefix: _prefix,
    exp.Not: lambda node: f"NOT {write(node.this)}",
    exp.Paren: lambda node: f"({write(node.this)})",
    exp.Tuple: lambda node: f"({many(node.expressions)})",
    nodes.Row: lambda node: f"ROW({many(node.expressions)})",
    exp.Like: _pattern("LIKE"),
    exp.ILike: _pattern("ILIKE"),
    exp.SimilarTo: _pattern("SIMILAR TO"),
    exp.Between: _between,
    exp.In: _in,
    exp.Is: _is,
    exp.AtTimeZone: _at_time_zone,
    nodes.Collation: lambda node: f"{write(node.this)} COLLATE {names(node.args['names'])}",
    nodes.Overlaps: lambda node: f"{write(node.this)} OVERLAPS {write(node.expression)}",
    nodes.Quantified: _quantified,
    exp.Cast: _cast,
    exp.Case: _case,
    exp.Array: _array,
    exp.Slice: _slice,
    exp.Bracket: lambda node: f"{write(node.this)}[{many(node.expressions)}]",
    exp.Dot: lambda node: f"{write(node.this)}.{write(node.expression)}",
    exp.Exists: lambda node: f"EXISTS ({write(node.this)})",
    nodes.Call: _call,
    nodes.NamedArgument: lambda node: f"{write(node.this)} {node.args['operator']} {write(node.expression)}",
    nodes.Variadic: lambda node: f"VARIADIC {write(node.this)}",
    nodes.KeywordCall: _keyword_call,
    nodes.ValueFunction: _value_function,
    nodes.WindowDefinition: _window_definition,
    nodes.Frame: _frame,
    nodes.Bound: _bound,
    exp.Order: lambda node: f"ORDER BY {many(node.expressions)}",
    exp.Ordered: _ordered,
    exp.Alias: lambda node: f"{write(node.this)} AS {write(node.args['alias'])}",
}
