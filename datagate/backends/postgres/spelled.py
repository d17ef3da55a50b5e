"""Spells out calls that look things up by name: as queries over the catalogs, which then get their guards.

``to_regclass('bank.x')`` becomes a query of pg_class, as the caller could have written it, and goes down the road like
any other: so it finds what he may see, and a hidden name is answered like a missing one. Nothing here is trusted: the
verifier judges what came out as the caller's own statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from datagate.backends.postgres.engine import Tree, deparse, parse_tree, without_positions
from datagate.backends.postgres.spelled_calls import (
    CALLS,
    FUNCTION_COLUMNS,
    NAMED_CASTS,
    array_cast,
    expression,
    named_cast,
)
from datagate.errors import UndefinedRelation, UnsupportedConstruct
from datagate.model.catalog import Catalog

_NAMES = {*(name for name, _ in CALLS), *NAMED_CASTS, *FUNCTION_COLUMNS, "tableoid"}
_MENTIONS = re.compile("|".join(sorted(_NAMES)), re.IGNORECASE)
_OID_TYPES = frozenset({"oid", "int4", "int8", "int2", *NAMED_CASTS})
_TEXTS = frozenset({"text", "name", "varchar"})
_PROCEDURES = {"array_in(cstring,oid,integer)": "array_in"}
"""Signatures that clients ask for (Rails), each with the name of its function, of which there is one."""
_NAME_PART = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)')


def spell_out(text: str, catalog: Catalog, exists: Callable[[str | None, str], bool]) -> str:
    """The statement with each such call spelled out; the same text where there is none.

    Args:
        text: one statement.
        catalog: whose names are looked up.
        exists: whether a relation, by its schema (None: on the search path) and name, exists for the caller.

    Raises:
        UndefinedRelation: a literal names a relation that does not exist for the caller.
        UnsupportedConstruct: what came out does not read as it was meant.
    """
    if _MENTIONS.search(text) is None:
        return text
    before = parse_tree(text)["stmts"]
    speller = _Speller(catalog, exists)
    after = speller.statement(without_positions(before))
    if not speller.changed:
        return text
    spelled = deparse({"stmts": after})
    if without_positions(parse_tree(spelled)["stmts"][0]["stmt"]) != without_positions(after[0]["stmt"]):
        raise UnsupportedConstruct("a look-up of a name in a statement that libpg_query does not spell faithfully")
    return spelled


class _Speller:
    def __init__(self, catalog: Catalog, exists: Callable[[str | None, str], bool]) -> None:
        self._catalog = catalog
        self._exists = exists
        self._catalogs: dict[str, int | None] = {}
        self.changed = False

    def statement(self, statements: list[Tree]) -> list[Tree]:
        """All of a text."""
        for variable in _range_variables(statements):
            alias = variable.get("alias", {}).get("aliasname", variable["relname"])
            found = self._catalog.resolve(variable.get("schemaname"), variable["relname"])
            known = found is not None and found.schema == "pg_catalog"
            oid = self._catalog.relations[found].oid if known and found is not None else None
            self._catalogs[alias] = oid if self._catalogs.get(alias, oid) == oid else None
        spelled: list[Tree] = self.node(statements)
        self.outputs(spelled[0]["stmt"])
        return spelled

    def node(self, node: Any) -> Any:
        """A node, or a list of them, with all calls in it spelled out."""
        if isinstance(node, list):
            return [self.node(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "ResTarget" in node:
            return {"ResTarget": self._target(node["ResTarget"])}
        if "SubLink" in node and node["SubLink"]["subLinkType"] == "ANY_SUBLINK":
            node = {"SubLink": {**node["SubLink"], "subselect": _oids_in_arms(node["SubLink"]["subselect"])}}
        inner = {key: self.node(value) for key, value in node.items()}
        if "ColumnRef" in inner:
            return self._table_oid(inner)
        if "FuncCall" in inner:
            return self._call(inner)
        if "TypeCast" in inner:
            return self._cast(inner)
        return inner

    def _replaced(self, node: Tree) -> Tree:
        self.changed = True
        return node

    def _target(self, target: Tree) -> Tree:
        spelled: Tree = {key: self.node(value) for key, value in target.items()}
        value = target.get("val")
        if "name" not in target and value is not None and spelled["val"] != value:
            name = _column_name(value)
            if name is not None:
                return {**spelled, "name": name}
        return spelled

    def _table_oid(self, node: Tree) -> Tree:
        """``c.tableoid`` of a catalog, by which comments are found: it is the same in all its rows."""
        match [field.get("String", {}).get("sval") for field in node["ColumnRef"]["fields"]]:
            case [str(alias), "tableoid"] if (oid := self._catalogs.get(alias)) is not None:
                row = {"ColumnRef": {"fields": [_string(alias), _string("oid")]}}
                return self._replaced(_filled(expression(f"CASE WHEN $1 IS NOT NULL THEN {oid}::oid END"), [row]))
            case _:
                return node

    def _call(self, node: Tree) -> Tree:
        call = node["FuncCall"]
        names = [each["String"]["sval"] for each in call["funcname"]]
        arguments = call.get("args", [])
        plain = call.keys() <= {"funcname", "args", "funcformat"} and names[:-1] in ([], ["pg_catalog"])
        template = CALLS.get((names[-1], len(arguments))) if plain else None
        if template is None or any("NamedArgExpr" in each for each in arguments):
            return node
        if names[:-1] == [] and names[-1] in self._catalog.user_functions:
            return node
        return self._replaced(_filled(template, arguments))

    def _cast(self, node: Tree) -> Tree:
        cast = node["TypeCast"]
        names = [each["String"]["sval"] for each in cast["typeName"]["names"]]
        argument = cast["arg"]
        if names[:-1] not in ([], ["pg_catalog"]):
            return node
        if names[-1] in _TEXTS and (column := _function_column(argument)) is not None:
            return self._replaced(_filled(column, [argument]))
        if names[-1] == "regprocedure":
            return self._procedure(node)
        if names[-1] not in NAMED_CASTS:
            return node
        bounds = cast["typeName"].get("arrayBounds")
        if bounds is not None:
            template = array_cast(names[-1])
            plain = _is_plain(argument) and "A_Const" not in argument
            return self._replaced(_filled(template, [argument])) if plain else node
        literal = argument.get("A_Const", {}).get("sval", {}).get("sval")
        if literal is not None:
            return self._literal(node, names[-1], literal)
        if "A_Const" in argument or _is_oid(argument):
            return node
        return self._replaced(_filled(named_cast(names[-1]), [argument]))

    def _procedure(self, node: Tree) -> Tree:
        """A signature by the function's name alone, where it is known to be the only one of that name."""
        literal = node["TypeCast"]["arg"].get("A_Const", {}).get("sval", {}).get("sval", "")
        name = _PROCEDURES.get(literal)
        if name is None:
            return node
        cast = {
            "arg": {"A_Const": {"sval": {"sval": name}}},
            "typeName": {"names": [_string("regproc")], "typemod": -1},
        }
        return self._replaced({"TypeCast": cast})

    def _literal(self, node: Tree, type_: str, literal: str) -> Tree:
        """A name in a literal: the engine's own look-up stands where it is known to find what the caller sees."""
        parts = _parts(literal)
        if parts is None:
            return self._replaced(_filled(named_cast(type_), [node["TypeCast"]["arg"]]))
        schema, name = parts
        if type_ == "regclass":
            if not self._exists(schema, name):
                raise UndefinedRelation(f'relation "{literal}" does not exist')
            known = literal == (name if schema is None else f"{schema}.{name}")
        elif type_ == "regtype":
            known = schema in (None, "pg_catalog") and literal.rpartition(".")[2] in self._catalog.types
        elif type_ == "regproc":
            return node
        else:
            known = False
        if known and literal.islower() and literal.replace("_", "a").replace(".", "a").isalnum():
            return node
        return self._replaced(_filled(named_cast(type_), [node["TypeCast"]["arg"]]))

    def outputs(self, statement: Tree) -> None:
        """Columns of pg_type and others that say a function are shown by its name in the output, in place."""
        for target in statement.get("SelectStmt", {}).get("targetList", ()):
            body = target["ResTarget"]
            column = _function_column(body["val"])
            if column is not None and self._reads_functions(statement):
                name = body.get("name") or _column_name(body["val"])
                type_ = {"names": [_string("regproc")], "typemod": -1}
                body["val"] = {"TypeCast": {"arg": body["val"], "typeName": type_}}
                body["name"] = name
                self.changed = True

    def _reads_functions(self, statement: Tree) -> bool:
        tables = (item.get("RangeVar") for item in statement["SelectStmt"].get("fromClause", ()))
        return all(table is not None and table.get("relname") in FUNCTION_COLUMNS.values() for table in tables)


def _range_variables(node: Any) -> Iterator[Tree]:
    if isinstance(node, list):
        for item in node:
            yield from _range_variables(item)
    elif isinstance(node, dict):
        if "RangeVar" in node:
            yield node["RangeVar"]
        for value in node.values():
            yield from _range_variables(value)


def _filled(template: Tree, arguments: list[Tree]) -> Tree:
    """A template's tree with the arguments in the place of its parameters."""

    def fill(node: Any) -> Any:
        if isinstance(node, list):
            return [fill(item) for item in node]
        if not isinstance(node, dict):
            return node
        if node.keys() == {"ParamRef"}:
            return arguments[node["ParamRef"]["number"] - 1]
        return {key: fill(value) for key, value in node.items()}

    filled: Tree = fill(template)
    return filled


def _string(text: str) -> Tree:
    return {"String": {"sval": text}}


def _parts(literal: str) -> tuple[str | None, str] | None:
    """Schema and name that a literal says, folded as PostgreSQL does; None where it is no such name."""
    parts, at = [], 0
    while True:
        found = _NAME_PART.match(literal, at)
        if found is None:
            return None
        quoted, plain = found.groups()
        parts.append(quoted.replace('""', '"') if quoted is not None else re.sub("[A-Z]+", _lower, plain))
        at = found.end()
        if at == len(literal):
            break
        if literal[at] != ".":
            return None
        at += 1
    if len(parts) > 2:
        return None
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def _lower(found: re.Match[str]) -> str:
    return found[0].lower()


def _is_oid(argument: Tree) -> bool:
    """Whether an expression is an OID by its looks: a column but for names, or what is cast to a number."""
    if "A_Indirection" in argument:
        return _is_oid(argument["A_Indirection"]["arg"])
    if "ColumnRef" in argument:
        last = argument["ColumnRef"]["fields"][-1].get("String", {}).get("sval", "")
        return not last.endswith("name")
    if "TypeCast" in argument:
        return _is_plain(argument) and argument["TypeCast"]["typeName"]["names"][-1]["String"]["sval"] in _OID_TYPES
    return False


def _is_plain(argument: Tree) -> bool:
    """Whether an expression gives the same value when it is computed twice."""
    if "TypeCast" in argument:
        return _is_plain(argument["TypeCast"]["arg"])
    return bool(argument.keys() & {"ColumnRef", "A_Const", "ParamRef"})


def _function_column(node: Tree) -> Tree | None:
    """The text of a column that says a function; None where it is no such column."""
    if "ColumnRef" not in node:
        return None
    name = node["ColumnRef"]["fields"][-1].get("String", {}).get("sval")
    return _function_text() if name in FUNCTION_COLUMNS else None


@lru_cache(maxsize=1)
def _function_text() -> Tree:
    return expression("CASE WHEN $1 = 0 THEN '-' ELSE $1::regproc::text END")


def _oids_in_arms(select: Tree) -> Tree:
    """``'16400'::regclass`` as an OID, in the arms of what is compared with IN: the comparison is the same."""
    body = select["SelectStmt"]
    if body.get("op", "SETOP_NONE") != "SETOP_NONE":
        arms = {side: _oids_in_arms({"SelectStmt": body[side]})["SelectStmt"] for side in ("larg", "rarg")}
        return {"SelectStmt": {**body, **arms}}
    if "valuesLists" not in body:
        return select
    rows = [{"List": {"items": [_as_oid(item) for item in row["List"]["items"]]}} for row in body["valuesLists"]]
    return {"SelectStmt": {**body, "valuesLists": rows}}


def _as_oid(node: Tree) -> Tree:
    cast = node.get("TypeCast", {})
    names = [each["String"]["sval"] for each in cast.get("typeName", {}).get("names", ())]
    literal = cast.get("arg", {}).get("A_Const", {}).get("sval", {}).get("sval", "")
    if names[-1:] and names[-1] in NAMED_CASTS and literal.isdigit():
        type_ = {**cast["typeName"], "names": [_string("pg_catalog"), _string("oid")]}
        return {"TypeCast": {**cast, "typeName": type_}}
    return node


def _column_name(value: Tree) -> str | None:
    """What PostgreSQL calls an output column that has no name (FigureColname); None for ``?column?`` and the rest."""
    return _figured(value)[0]


def _figured(value: Tree) -> tuple[str | None, bool]:
    """The name, and whether it is a good one, which a cast around it does not replace by its type's."""
    if "FuncCall" in value:
        return _last(value["FuncCall"]["funcname"]), True
    if "ColumnRef" in value:
        fields = value["ColumnRef"]["fields"]
        return (_last(fields), True) if "String" in fields[-1] else (None, False)
    if "TypeCast" in value:
        name, good = _figured(value["TypeCast"]["arg"])
        return (name, True) if good else (_last(value["TypeCast"]["typeName"]["names"]), False)
    if "CollateClause" in value:
        return _figured(value["CollateClause"]["arg"])
    if "A_Indirection" in value:
        names = [step for step in value["A_Indirection"]["indirection"] if "String" in step]
        return (_last(names), True) if names else _figured(value["A_Indirection"]["arg"])
    if "CaseExpr" in value:
        name, good = _figured(value["CaseExpr"].get("defresult", {}))
        return (name, True) if good else ("case", False)
    if "SubLink" in value and value["SubLink"]["subLinkType"] == "EXPR_SUBLINK":
        for target in value["SubLink"]["subselect"]["SelectStmt"].get("targetList", ())[:1]:
            named = target["ResTarget"].get("name")
            return (named, True) if named is not None else _figured(target["ResTarget"]["val"])
    return None, False


def _last(names: list[Tree]) -> str:
    name: str = names[-1]["String"]["sval"]
    return name
