"""Writes INSERT, UPDATE, DELETE and MERGE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp

from datagate.sql.dialect import nodes
from datagate.sql.dialect.writer import many, names, write


def _write(node: exp.Expr) -> str:
    args = node.args
    pieces = [write(args["with_"])] if args.get("with_") is not None else []
    pieces += _STATEMENTS[args["action"]](args)
    if args.get("returning") is not None:
        pieces.append(f"RETURNING {many(args['returning'])}")
    return " ".join(pieces)


def _insert(args: Mapping[str, Any]) -> list[str]:
    pieces = ["INSERT INTO", write(args["target"])]
    pieces += _inserted_columns(args)
    source = args.get("source")
    pieces.append(write(source) if source is not None else "DEFAULT VALUES")
    if args.get("conflict") is not None:
        pieces.append(write(args["conflict"]))
    return pieces


def _inserted_columns(args: Mapping[str, Any]) -> list[str]:
    pieces = []
    if args.get("columns"):
        pieces.append(f"({many(args['columns'])})")
    if args.get("override"):
        pieces.append(f"OVERRIDING {args['override']} VALUE")
    return pieces


def _update(args: Mapping[str, Any]) -> list[str]:
    return ["UPDATE", write(args["target"]), "SET", _sets(args), *_items("FROM", args), *_where(args)]


def _delete(args: Mapping[str, Any]) -> list[str]:
    return ["DELETE FROM", write(args["target"]), *_items("USING", args), *_where(args)]


def _merge(args: Mapping[str, Any]) -> list[str]:
    arms = [write(arm) for arm in args["arms"]]
    return ["MERGE INTO", write(args["target"]), *_items("USING", args), "ON", write(args["on"]), *arms]


def _sets(args: Mapping[str, Any]) -> str:
    return many(args["sets"])


def _items(word: str, args: Mapping[str, Any]) -> list[str]:
    from_ = args.get("from_")
    if from_ is None:
        return []
    joins = args.get("joins") or ()
    return [f"{word} {write(from_.this)}{''.join([write(join) for join in joins])}"]


def _where(args: Mapping[str, Any]) -> list[str]:
    where = args.get("where")
    return [f"WHERE {write(where.this)}"] if where is not None else []


_STATEMENTS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "INSERT": _insert,
    "UPDATE": _update,
    "DELETE": _delete,
    "MERGE": _merge,
}


def _assignment(node: exp.Expr) -> str:
    columns = many(node.args["columns"])
    return f"{f'({columns})' if node.args.get('several') else columns} = {write(node.args['expression'])}"


def _conflict(node: exp.Expr) -> str:
    args = node.args
    pieces = ["ON CONFLICT"]
    if args.get("constraint") is not None:
        pieces.append(f"ON CONSTRAINT {write(args['constraint'])}")
    elif args.get("keys"):
        pieces.append(f"({many(args['keys'])})")
        if args.get("predicate") is not None:
            pieces.append(f"WHERE {write(args['predicate'])}")
    if not args.get("sets"):
        return " ".join([*pieces, "DO NOTHING"])
    pieces.append(f"DO UPDATE SET {many(args['sets'])}")
    if args.get("where") is not None:
        pieces.append(f"WHERE {write(args['where'])}")
    return " ".join(pieces)


def _index_key(node: exp.Expr) -> str:
    args = node.args
    pieces = [write(args["this"])]
    if args.get("collation"):
        pieces.append(f"COLLATE {names(args['collation'])}")
    if args.get("opclass"):
        pieces.append(names(args["opclass"]))
    return " ".join(pieces)


def _arm(node: exp.Expr) -> str:
    args = node.args
    pieces = ["WHEN", args["match"]]
    if args.get("condition") is not None:
        pieces.append(f"AND {write(args['condition'])}")
    pieces.append("THEN")
    match args["action"]:
        case "UPDATE":
            pieces.append(f"UPDATE SET {many(args['sets'])}")
        case "INSERT":
            values = f"VALUES ({many(args['values'])})" if args.get("values") else "DEFAULT VALUES"
            pieces += ["INSERT", *_inserted_columns(args), values]
        case "DELETE":
            pieces.append("DELETE")
        case _:
            pieces.append("DO NOTHING")
    return " ".join(pieces)


WRITES: Mapping[type[exp.Expr], Callable[[exp.Expr], str]] = {
    nodes.Write: _write,
    nodes.Assignment: _assignment,
    nodes.Conflict: _conflict,
    nodes.IndexKey: _index_key,
    nodes.MergeArm: _arm,
}
