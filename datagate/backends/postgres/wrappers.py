"""Statements that carry a query inside: what stands around it, and the whole put together again and verified.

The query inside goes down the road like any other; what stands around it is libpg_query's own spelling of the caller's.
The text that is sent is read once more: with the query taken out, it must be the caller's statement, and what stands in
the query's place must be the query that was verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from postgast.pg_query_pb2 import Token

from datagate.backends.postgres.engine import Tree, deparse, encode, parse_tree, scan, without_positions
from datagate.errors import Refused, StatementSyntaxError, UnsupportedConstruct, VerificationFailed


class WrapperKind(Enum):
    """What a statement does with the query inside it."""

    DECLARE = "DECLARE"
    COPY_OUT = "COPY"
    TEMPORARY_TABLE = "CREATE TEMPORARY TABLE AS"
    EXPLAIN = "EXPLAIN"
    PREPARE = "PREPARE"


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """The table of COPY table TO: its schema as written, its name, its columns as listed (None: all)."""

    schema: str | None
    name: str
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A statement without the query inside it.

    ``inner``: the query's text, empty for COPY of a table, which ``table`` then names. ``name``: of the cursor, the
    temporary table or the prepared statement. ``tree``: the statement with a marker in the place of the query.
    ``types``: the parameter types of PREPARE, as text. ``options``: those of EXPLAIN, lower case.
    """

    kind: WrapperKind
    inner: str
    name: str
    tree: Tree
    table: CopiedTable | None = None
    types: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_parameters(self) -> bool:
        """Whether the server takes parameters in it (COPY and PREPARE are run without)."""
        return self.kind in (WrapperKind.DECLARE, WrapperKind.TEMPORARY_TABLE)


_KINDS = {
    "DeclareCursorStmt": WrapperKind.DECLARE,
    "CopyStmt": WrapperKind.COPY_OUT,
    "CreateTableAsStmt": WrapperKind.TEMPORARY_TABLE,
    "ExplainStmt": WrapperKind.EXPLAIN,
    "PrepareStmt": WrapperKind.PREPARE,
}
_MARKER = "datagate: the query"
_MARKED: Tree = parse_tree(f"SELECT '{_MARKER}'")["stmts"][0]["stmt"]
_QUERY_STARTS = frozenset(
    {Token.SELECT, Token.VALUES, Token.WITH, Token.TABLE, Token.INSERT, Token.UPDATE, Token.DELETE_P, Token.MERGE}
    | {Token.ASCII_40}
)
_COPY_OPTIONS = frozenset({"format", "delimiter", "null", "header", "quote", "escape", "force_quote", "encoding"})
_EXPLAIN_OPTIONS = frozenset(
    {"analyze", "verbose", "costs", "format", "timing", "summary", "buffers", "settings", "wal"}
)


def is_wrapper(node: str) -> bool:
    """Whether a kind of statement carries a query inside."""
    return node in _KINDS


def read_wrapper(text: str, node: str, body: Tree) -> Wrapper:
    """Take a statement apart; UnsupportedConstruct or Refused for what is not carried of its kind."""
    kind = _KINDS[node]
    match kind:
        case WrapperKind.COPY_OUT:
            return _copy(text, body)
        case WrapperKind.TEMPORARY_TABLE:
            _check_temporary(body)
            name = body["into"]["rel"]["relname"]
        case WrapperKind.DECLARE:
            name = body["portalname"]
        case WrapperKind.PREPARE:
            name = body["name"]
        case WrapperKind.EXPLAIN:
            name = ""
    if "ExecuteStmt" in body["query"]:
        raise UnsupportedConstruct(f"{kind.value} of EXECUTE is not carried; write the query out")
    inner = _inner(text, body["query"])
    tree = {node: {**body, "query": _MARKED}}
    types = tuple(_type_text(each["TypeName"]) for each in body.get("argtypes", ()))
    return Wrapper(kind, inner, name, without_positions(tree), types=types, options=_explain_options(kind, body))


def put_together(wrapper: Wrapper, query: str) -> str:
    """The whole statement with the query in its place, verified.

    Raises VerificationFailed where the text does not say what the caller's statement says of that query.
    """
    spelled = deparse({"stmts": [{"stmt": wrapper.tree}]})
    head, marker, tail = spelled.partition(f"SELECT '{_MARKER}'")
    text = f"{head}{query}{tail}"
    statements = parse_tree(text)["stmts"]
    if not marker or len(statements) != 1:
        raise VerificationFailed(f"{wrapper.kind.value} could not be put together")
    ((node, body),) = statements[0]["stmt"].items()
    around = without_positions({node: {**body, "query": _MARKED}})
    inside = without_positions(body.get("query", {}))
    if around != wrapper.tree or inside != without_positions(parse_tree(query)["stmts"][0]["stmt"]):
        raise VerificationFailed(f"{wrapper.kind.value} does not carry the query that was verified")
    return text


def _inner(text: str, query: Tree) -> str:
    """The query's own text: what the caller wrote where it ends the statement, else libpg_query's spelling of it."""
    wanted = without_positions(query)
    raw = encode(text)
    for token in scan(raw):
        if token.token in _QUERY_STARTS:
            candidate = raw[token.start :].decode()
            if _reads_as(candidate, wanted):
                return candidate
    spelled = deparse({"stmts": [{"stmt": query}]})
    if not _reads_as(spelled, wanted):
        raise UnsupportedConstruct("a query that libpg_query does not spell faithfully; put it last, or rephrase it")
    return spelled


def _reads_as(text: str, wanted: Tree) -> bool:
    try:
        statements = parse_tree(text)["stmts"]
    except (StatementSyntaxError, UnsupportedConstruct):
        return False
    return len(statements) == 1 and without_positions(statements[0]["stmt"]) == wanted


def _copy(text: str, body: Tree) -> Wrapper:
    """COPY … TO STDOUT."""
    if body.get("is_from"):
        raise UnsupportedConstruct("COPY … FROM is not carried, since rows could not be checked; send INSERTs")
    if body.get("is_program") or body.get("filename"):
        raise Refused("COPY to a file or a program of the server; write TO STDOUT")
    for option in body.get("options", ()):
        name = option["DefElem"]["defname"]
        if name not in _COPY_OPTIONS:
            raise UnsupportedConstruct(f"option {name} of COPY is not carried")
        if name == "encoding" and _option(option).lower() not in ("utf8", "utf-8", "unicode"):
            raise UnsupportedConstruct("COPY in another encoding than UTF8")
    tree = without_positions({"CopyStmt": {**_without_table(body), "query": _MARKED}})
    if "query" in body:
        return Wrapper(WrapperKind.COPY_OUT, _parenthesised(text, body["query"]), "", tree)
    if "whereClause" in body or "catalogname" in body["relation"]:
        raise UnsupportedConstruct("COPY of a table named with its database, or with WHERE")
    listed = tuple(each["String"]["sval"] for each in body["attlist"]) if "attlist" in body else None
    table = CopiedTable(body["relation"].get("schemaname"), body["relation"]["relname"], listed)
    return Wrapper(WrapperKind.COPY_OUT, "", "", tree, table=table)


def _without_table(body: Tree) -> Tree:
    return {field: value for field, value in body.items() if field not in ("relation", "attlist", "query")}


def _parenthesised(text: str, query: Tree) -> str:
    """The query in the first parentheses of COPY (query) TO."""
    raw = encode(text)
    depth, start = 0, None
    for token in scan(raw):
        if token.token == Token.ASCII_40:
            depth += 1
            start = token.end if start is None else start
        elif token.token == Token.ASCII_41:
            depth -= 1
            if depth == 0 and start is not None:
                candidate = raw[start : token.start].decode()
                if _reads_as(candidate, without_positions(query)):
                    return candidate
                break
    raise UnsupportedConstruct("COPY of a query that could not be found in the text")


def _check_temporary(body: Tree) -> None:
    into, relation = body["into"], body["into"]["rel"]
    if relation["relpersistence"] != "t" or relation.get("schemaname", "pg_temp") != "pg_temp":
        raise UnsupportedConstruct("CREATE TABLE is not carried; CREATE TEMPORARY TABLE … AS is")
    if body.get("objtype") != "OBJECT_TABLE" or into.keys() & {"accessMethod", "options", "tableSpaceName"}:
        raise UnsupportedConstruct("options of CREATE TEMPORARY TABLE are not carried")


def _explain_options(kind: WrapperKind, body: Tree) -> Mapping[str, str]:
    if kind is not WrapperKind.EXPLAIN:
        return MappingProxyType({})
    found = {}
    for option in body.get("options", ()):
        name = option["DefElem"]["defname"].lower()
        if name not in _EXPLAIN_OPTIONS:
            raise UnsupportedConstruct(f"option {name} of EXPLAIN is not carried")
        found[name] = _option(option).lower()
    return MappingProxyType(found)


def _option(option: Tree) -> str:
    """An option's value as text; ``on`` where none is written."""
    argument: Any = option["DefElem"].get("arg")
    if argument is None:
        return "on"
    ((_, value),) = argument.items()
    return str(next(iter(value.values()), ""))


def _type_text(name: Tree) -> str:
    """The text of a type's name."""
    cast = {"TypeCast": {"arg": {"A_Const": {"isnull": True}}, "typeName": name}}
    select = {"SelectStmt": {"targetList": [{"ResTarget": {"val": cast}}], "limitOption": "LIMIT_OPTION_DEFAULT"}}
    return deparse({"stmts": [{"stmt": {"SelectStmt": {**select["SelectStmt"], "op": "SETOP_NONE"}}}]}).partition("::")[
        2
    ]
