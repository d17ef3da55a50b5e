"""Writes queries and their clauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp

from datagate.sql.dialect import nodes
from datagate.sql.dialect.writer import many, names, verbatim, write

_SET_WORDS: dict[type[exp.Expr], str] = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}


def _table_alias(node: exp.Expr) -> str:
    name, columns = node.args.get("this"), node.args.get("columns")
    text = write(name) if name is not None else ""
    return f"{text}({many(columns)})" if columns else text


def _with_alias(node: exp.Expr, text: str) -> str:
    alias = node.args.get("alias")
    return f"{text} AS {write(alias)}" if alias is not None else text


def _table(node: exp.Expr) -> str:
    args = node.args
    text = names([args[part] for part in ("catalog", "db", "this") if args.get(part) is not None])
    if args.get("only"):
        text = f"ONLY {text}"
    text = _with_alias(node, text)
    sample = args.get("sample")
    return f"{text} {write(sample)}" if sample is not None else text


def _sample(node: exp.Expr) -> str:
    seed = node.args.get("seed")
    tail = f" REPEATABLE ({write(seed)})" if seed is not None else ""
    return f"TABLESAMPLE {names(node.args['names'])}({many(node.expressions)}){tail}"


def _joins(node: exp.Expr) -> str:
    return "".join([write(join) for join in node.args.get("joins") or ()])


def _join(node: exp.Expr) -> str:
    args = node.args
    on, using = args.get("on"), args.get("using")
    words = [args[key] for key in ("method", "side", "kind") if args.get(key)]
    if not words and on is None and using is None:
        return f", {write(args['this'])}"
    text = f" {' '.join([*words, 'JOIN'])} {write(args['this'])}"
    if on is not None:
        return f"{text} ON {write(on)}"
    if using is not None:
        text = f"{text} USING ({many(using)})"
        if args.get("using_alias") is not None:
            text = f"{text} AS {write(args['using_alias'])}"
    return text


def _join_group(node: exp.Expr) -> str:
    text = f"{write(node.this)}{_joins(node)}"
    return text if node.args.get("bare") else _with_alias(node, f"({text})")


def _function_source(node: exp.Expr) -> str:
    args = node.args
    text = many(args["expressions"])
    if args.get("rows_from"):
        text = f"ROWS FROM ({text})"
    if args.get("ordinality"):
        text += " WITH ORDINALITY"
    if args.get("lateral"):
        text = f"LATERAL {text}"
    return _with_alias(node, text)


def _column_definition(node: exp.Expr) -> str:
    collation = node.args.get("collation")
    tail = f" COLLATE {names(collation)}" if collation else ""
    return f"{write(node.this)} {write(node.args['type_name'])}{tail}"


def _select(node: exp.Expr) -> str:
    args = node.args
    pieces = ["SELECT"]
    distinct = args.get("distinct")
    if distinct is not None:
        on = distinct.args.get("on")
        pieces.append(f"DISTINCT ON ({many(on.expressions)})" if on is not None else "DISTINCT")
    found = args.get("expressions")
    if found:
        pieces.append(many(found))
    if args.get("from_") is not None:
        pieces.append(f"FROM {write(args['from_'].this)}{_joins(node)}")
    if args.get("where") is not None:
        pieces.append(f"WHERE {write(args['where'].this)}")
    group = args.get("group")
    if group is not None:
        word = "GROUP BY DISTINCT" if group.args.get("distinct") else "GROUP BY"
        pieces.append(f"{word} {many(group.expressions)}")
    if args.get("having") is not None:
        pieces.append(f"HAVING {write(args['having'].this)}")
    if args.get("windows"):
        pieces.append(f"WINDOW {many(args['windows'])}")
    return _with_tail(node, " ".join(pieces))


def _with_tail(node: exp.Expr, text: str) -> str:
    """The text with what stands before and behind any query."""
    args = node.args
    if args.get("with_") is not None:
        text = f"{write(args['with_'])} {text}"
    for key in ("order", "limit", "offset"):
        if args.get(key) is not None:
            text = f"{text} {write(args[key])}"
    for lock in args.get("locks") or ():
        text = f"{text} {write(lock)}"
    return text


def _set_operation(node: exp.Expr) -> str:
    """A chain is walked down its left side, as in _binary."""
    pieces: list[str] = []
    current = node
    while True:
        word = _SET_WORDS.get(current.__class__)
        if word is None or (current is not node and _has_tail(current)):
            pieces.append(write(current))
            break
        pieces.append(write(current.args["expression"]))
        pieces.append(word if current.args["distinct"] else f"{word} ALL")
        current = current.args["this"]
    return _with_tail(node, " ".join(reversed(pieces)))


def _has_tail(node: exp.Expr) -> bool:
    return any(node.args.get(key) for key in ("with_", "order", "limit", "offset", "locks"))


def _subquery(node: exp.Expr) -> str:
    text = f"({write(node.args['this'])})"
    if node.args.get("lateral"):
        text = f"LATERAL {text}"
    return _with_tail(node, _with_alias(node, text))


def _limit(node: exp.Expr) -> str:
    return f"LIMIT {write(node.expression)}"


def _fetch(node: exp.Expr) -> str:
    count = node.args.get("count")
    text = f"FETCH FIRST {write(count)} ROWS" if count is not None else "FETCH FIRST ROW"
    return f"{text} WITH TIES" if node.args.get("ties") else f"{text} ONLY"


def _row_lock(node: exp.Expr) -> str:
    args = node.args
    of = f" OF {many(args['expressions'])}" if args.get("expressions") else ""
    wait = f" {args['wait']}" if args.get("wait") else ""
    return f"FOR {args['strength']}{of}{wait}"


def _cte(node: exp.Expr) -> str:
    args = node.args
    hint = {True: "MATERIALIZED ", False: "NOT MATERIALIZED ", None: ""}[args.get("materialized")]
    text = f"{write(args['alias'])} AS {hint}({write(args['this'])})"
    for key in ("search", "cycle"):
        if args.get(key) is not None:
            text = f"{text} {write(args[key])}"
    return text


def _search(node: exp.Expr) -> str:
    return f"SEARCH {node.this} FIRST BY {many(node.expressions)} SET {write(node.args['column'])}"


def _cycle(node: exp.Expr) -> str:
    args = node.args
    text = f"CYCLE {many(args['expressions'])} SET {write(args['mark'])}"
    if args.get("value") is not None:
        text = f"{text} TO {write(args['value'])} DEFAULT {write(args['default'])}"
    return f"{text} USING {write(args['path'])}"


def _grouping_set(node: exp.Expr) -> str:
    found = node.args.get("expressions")
    return f"{node.args['this']}({many(found) if found else ''})"


QUERIES: Mapping[type[exp.Expr], Callable[[exp.Expr], str]] = {
    nodes.GuardText: verbatim,
    nodes.NamedWindow: lambda node: f"{write(node.this)} AS {write(node.args['definition'])}",
    exp.TableAlias: _table_alias,
    exp.Table: _table,
    nodes.Sample: _sample,
    exp.Join: _join,
    nodes.JoinGroup: _join_group,
    nodes.FunctionSource: _function_source,
    nodes.DefinedFunction: lambda node: f"{write(node.this)} AS ({many(node.args['columns'])})",
    nodes.ColumnDefinition: _column_definition,
    exp.Select: _select,
    **dict.fromkeys(_SET_WORDS, _set_operation),
    exp.Subquery: _subquery,
    exp.Values: lambda node: _with_tail(node, f"VALUES {many(node.expressions)}"),
    exp.Limit: _limit,
    exp.Fetch: _fetch,
    exp.Offset: lambda node: f"OFFSET {write(node.expression)}",
    nodes.RowLock: _row_lock,
    exp.With: lambda node: f"WITH {'RECURSIVE ' if node.args.get('recursive') else ''}{many(node.expressions)}",
    exp.CTE: _cte,
    nodes.Search: _search,
    nodes.Cycle: _cycle,
    nodes.GroupingSet: _grouping_set,
}
