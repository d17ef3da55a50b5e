"""A steward's predicate on PostgreSQL: read it, and compile it into closed engine text.

Closed: columns, functions, operators and types are qualified, so that no search_path, temporary table or user-made
operator can capture them; placeholders become bindings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from postgast.pg_query_pb2 import Token
from sqlglot import exp

from datagate.backends.postgres.engine import Tree, deparse, encode, parse_tree, scan, without_positions
from datagate.errors import StatementSyntaxError, UnsupportedConstruct
from datagate.model.catalog import Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.values import ValueType
from datagate.policy.predicate import PredicateFault, PredicateParts
from datagate.sql.dialect import NotCarried, parse_canonical
from datagate.sql.knowledge import LEAKY, Knowledge
from datagate.sql.leakproof import judge

_ROOTS = frozenset({"principal", "actor", "mandate", "purpose", "now"})
_PREFIX = "SELECT "

_SQL_TYPE: Mapping[ValueType, str] = {
    ValueType.TEXT: "pg_catalog.text",
    ValueType.INT: "pg_catalog.int4",
    ValueType.BIGINT: "pg_catalog.int8",
    ValueType.NUMERIC: "pg_catalog.numeric",
    ValueType.BOOL: "pg_catalog.bool",
    ValueType.DATE: "pg_catalog.date",
    ValueType.TIMESTAMPTZ: "pg_catalog.timestamptz",
    ValueType.UUID: "pg_catalog.uuid",
    ValueType.BYTEA: "pg_catalog.bytea",
    ValueType.TEXT_ARRAY: "pg_catalog.text[]",
    ValueType.INT_ARRAY: "pg_catalog.int4[]",
    ValueType.BIGINT_ARRAY: "pg_catalog.int8[]",
    ValueType.NUMERIC_ARRAY: "pg_catalog.numeric[]",
    ValueType.DATE_ARRAY: "pg_catalog.date[]",
    ValueType.UUID_ARRAY: "pg_catalog.uuid[]",
}

_UNQUALIFIED_KINDS = frozenset({"AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL"})


@dataclass(frozen=True, slots=True)
class _Numbered:
    text: str
    placeholders: tuple[str, ...]


def sql_type(type_: ValueType) -> str:
    """A policy value's type, spelled so that nothing can capture it."""
    return _SQL_TYPE[type_]


def spell_parameter(binding: Binding, number: int) -> str:
    """``$n`` with its type, so that the engine never guesses one."""
    return f"${number}::{_SQL_TYPE[binding.type]}"


class PostgresPredicates:
    """Reads stewards' predicates for the policy room.

    ``functions``: the engine's pure built-in functions where a catalog is at hand; without one, an unqualified
    function is taken for a built-in, as which it is compiled.
    """

    def __init__(self, functions: frozenset[str] | None = None) -> None:
        self._functions = functions

    def read(self, text: str) -> PredicateParts:
        """A predicate's names; PredicateFault where it is not one SQL expression over the row's own columns."""
        numbered = _number_placeholders(text)
        tree = _expression_tree(numbered.text)
        columns: dict[str, None] = {}
        functions: dict[str, None] = {}
        for kind, node in _nodes(tree):
            if kind == "ColumnRef":
                columns[_own_column(node)] = None
            elif kind == "FuncCall":
                self._function(node, functions)
        return PredicateParts(numbered.placeholders, tuple(columns), tuple(functions))

    def _function(self, call: Tree, functions: dict[str, None]) -> None:
        *schema, name = _strings(call["funcname"])
        if "over" in call or call.get("agg_star") or call.get("agg_distinct") or "agg_order" in call:
            raise PredicateFault(f"{name} is used as an aggregate or window; a predicate looks at one row", 0)
        if schema and schema != ["pg_catalog"]:
            functions[".".join([*schema, name])] = None
        elif self._functions is not None and name not in self._functions:
            raise PredicateFault(f"function {name} is not among the engine's pure functions; name its schema", 0)


@lru_cache(maxsize=4096)
def compile_predicate(text: str, alias: str, bindings: tuple[tuple[str, Binding], ...]) -> Fragment:
    """Closed engine text of a predicate over the relation that stands as ``alias``.

    ``bindings`` gives each placeholder but ``now`` its binding; KeyError for a placeholder without one.
    """
    numbered = _number_placeholders(text)
    tree = _expression_tree(numbered.text)
    _qualify(tree, alias, numbered.placeholders)
    wanted = dict(bindings)
    target = {"ResTarget": {"val": tree}}
    select = {"SelectStmt": {"targetList": [target], "limitOption": "LIMIT_OPTION_DEFAULT", "op": "SETOP_NONE"}}
    whole = {"stmts": [{"stmt": select}]}
    spelled = deparse(whole).removeprefix(_PREFIX)
    if without_positions(parse_tree(_PREFIX + spelled)["stmts"]) != without_positions(whole["stmts"]):
        raise PredicateFault("an expression that libpg_query does not spell faithfully; rephrase it", 0)
    return _bind(spelled, [wanted[name] if name != "now" else None for name in numbered.placeholders])


def is_leakproof(text: str, relation: Relation) -> bool:
    """Whether computing a steward's expression over the relation's rows can neither raise nor talk."""

    def resolve(column: exp.Column) -> Knowledge:
        known = relation.column(column.name)
        return LEAKY if known is None or known.collated else Knowledge(leakproof=True, type=known.base_type)

    try:
        query = parse_canonical(f"{_PREFIX}({_number_placeholders(text).text}\n)")
    except NotCarried:
        return False
    # A policy's value travels with its own type.
    return judge(query.expressions[0], resolve, lambda _: LEAKY, lambda each: each.of_operand).leakproof


def _number_placeholders(text: str) -> _Numbered:
    """Replace ``:principal.regions`` by ``$1`` and so on, by the engine's own tokens."""
    try:
        raw = encode(text)
        tokens = list(scan(raw))
    except StatementSyntaxError as error:
        raise PredicateFault(error.message, (error.position or 1) - 1) from None
    names: dict[str, int] = {}
    out: list[bytes] = []
    done = at = 0
    while at < len(tokens):
        name, after = _placeholder(raw, tokens, at)
        if name is None:
            if tokens[at].token == Token.PARAM:
                raise PredicateFault(
                    "a numbered parameter; write :principal.…, :actor.… or :mandate.…", tokens[at].start
                )
            at += 1
            continue
        number = names.setdefault(name, len(names) + 1)
        out.append(raw[done : tokens[at].start] + b" $%d " % number)
        done = tokens[after - 1].end
        at = after
    out.append(raw[done:])
    return _Numbered(b"".join(out).decode("utf-8"), tuple(names))


def _placeholder(raw: bytes, tokens: list[Any], at: int) -> tuple[str | None, int]:
    """The placeholder that starts at a token (its name, the token after it), or (None, at)."""
    if tokens[at].token != Token.ASCII_58 or at + 1 >= len(tokens) or tokens[at + 1].start != tokens[at].end:
        return None, at
    words = [raw[tokens[at + 1].start : tokens[at + 1].end].decode("utf-8")]
    after = at + 2
    if words[0] not in _ROOTS:
        return None, at
    while after + 1 < len(tokens) and tokens[after].token == Token.ASCII_46 and len(words) == 1:
        words.append(raw[tokens[after + 1].start : tokens[after + 1].end].decode("utf-8"))
        after += 2
    return ".".join(words), after


def _expression_tree(text: str) -> Tree:
    try:
        statements = parse_tree(f"{_PREFIX}({text}\n)")["stmts"]
    except StatementSyntaxError as error:
        offset = max((error.position or 1) - len(_PREFIX) - 2, 0)
        raise PredicateFault(error.message.partition(" (character")[0], offset) from None
    except UnsupportedConstruct as error:
        raise PredicateFault(error.message, 0) from None
    select = statements[0]["stmt"].get("SelectStmt", {}) if len(statements) == 1 else {}
    targets = select.get("targetList", [])
    if len(targets) != 1 or set(select) - {"targetList", "limitOption", "op"} or "name" in targets[0]["ResTarget"]:
        raise PredicateFault("not a single SQL expression", 0)
    tree: Tree = targets[0]["ResTarget"]["val"]
    for kind, _ in _nodes(tree):
        if kind in ("SubLink", "RangeVar", "SelectStmt"):
            raise PredicateFault("a subquery; a predicate reads the row's own columns only (or use through:)", 0)
    return tree


def _nodes(tree: object) -> Iterator[tuple[str, Tree]]:
    """Every (node kind, node) in the tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key[:1].isupper() and isinstance(value, dict):
                yield key, value
            yield from _nodes(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _nodes(item)


def _strings(nodes: list[Tree]) -> list[str]:
    return [node["String"]["sval"] for node in nodes]


def _own_column(column: Tree) -> str:
    fields = column["fields"]
    if len(fields) != 1 or "String" not in fields[0]:
        raise PredicateFault("a qualified name or *; name the row's own columns plainly", 0)
    name: str = fields[0]["String"]["sval"]
    return name


def _qualify(tree: Tree, alias: str, placeholders: tuple[str, ...]) -> None:
    """Close the tree in place: qualify columns, functions, operators, types; ``:now`` becomes a call."""
    system = {"String": {"sval": "pg_catalog"}}
    for kind, node in list(_nodes(tree)):
        if kind == "ColumnRef":
            node["fields"] = [{"String": {"sval": alias}}, {"String": {"sval": _own_column(node)}}]
        elif kind == "A_Expr" and node["kind"] in _UNQUALIFIED_KINDS and len(node["name"]) == 1:
            node["name"] = [system, *node["name"]]
        elif kind == "FuncCall" and len(node["funcname"]) == 1:
            node["funcname"] = [system, *node["funcname"]]
        elif kind == "TypeCast" and len(node["typeName"]["names"]) == 1:
            node["typeName"]["names"] = [system, *node["typeName"]["names"]]
        if kind == "FuncCall":
            _fix_utc(node)
    _replace_now(tree, placeholders)


def _fix_utc(call: Tree) -> None:
    """``AT TIME ZONE 'UTC'`` becomes that of an offset: a session's TimeZone may give the name another meaning."""
    zone = call.get("args", [{}])[0].get("A_Const", {}).get("sval", {}).get("sval", "")
    if _strings(call["funcname"]) == ["pg_catalog", "timezone"] and zone.upper() == "UTC":
        names = [{"String": {"sval": "pg_catalog"}}, {"String": {"sval": "interval"}}]
        zero = {"A_Const": {"sval": {"sval": "0"}}}
        call["args"][0] = {"TypeCast": {"arg": zero, "typeName": {"names": names, "typemod": -1}}}


def _replace_now(tree: object, placeholders: tuple[str, ...]) -> None:
    if "now" not in placeholders:
        return
    number = placeholders.index("now") + 1
    call = {
        "funcname": [{"String": {"sval": "pg_catalog"}}, {"String": {"sval": "statement_timestamp"}}],
        "funcformat": "COERCE_EXPLICIT_CALL",
    }
    for container in _containers(tree):
        if "ParamRef" in container and container["ParamRef"].get("number") == number:
            del container["ParamRef"]
            container["FuncCall"] = call


def _containers(tree: object) -> list[Tree]:
    found: list[Tree] = []
    if isinstance(tree, dict):
        found.append(tree)
        for value in tree.values():
            found.extend(_containers(value))
    elif isinstance(tree, list):
        for item in tree:
            found.extend(_containers(item))
    return found


def _bind(spelled: str, bindings: list[Binding | None]) -> Fragment:
    """Cut the text at its ``$n`` and put the bindings there."""
    raw = spelled.encode("utf-8")
    parts: list[str | Binding] = []
    done = 0
    for token in scan(raw):
        if token.token != Token.PARAM:
            continue
        binding = bindings[int(raw[token.start + 1 : token.end]) - 1]
        if binding is None:
            raise KeyError("now")
        parts += [raw[done : token.start].decode("utf-8"), binding]
        done = token.end
    parts.append(raw[done:].decode("utf-8"))
    return Fragment.of(*parts)
