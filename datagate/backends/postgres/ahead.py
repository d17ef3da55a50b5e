"""What of a new row can be asked by its values, before the row meets a key; see :class:`datagate.model.guard.Ahead`.

PostgreSQL looks at unique and exclusion indexes before RETURNING (src/backend/executor/nodeModifyTable.c, ExecInsert),
so a row that the rule refuses would first be told whether a hidden row has its key.
"""

from __future__ import annotations

import re
from functools import lru_cache

from datagate.backends.postgres.engine import Tree, parse_tree
from datagate.model.catalog import Column, Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Ahead, TargetKey
from datagate.model.policy import Action

_MODIFIER = re.compile(r"\(([0-9, -]+)\)")


def ahead_of(
    check: Fragment | None, key: TargetKey, relation: Relation, types: frozenset[str]
) -> tuple[Ahead | None, bool]:
    """What is asked of the values, where a key could be met by a row that ``check`` refuses; None where nothing.

    None also where a trigger, a generated column or a default that is computed has a say in what the check reads: then
    only the row as it was stored can be held to it. ``types``: the catalog's, by which domains' own are known. Given
    with whether the check is certain to hold of whatever row is written.
    """
    if check is None:
        return None, True
    if key.action is Action.DELETE or key.action.value.upper() in relation.triggered:
        return None, False
    columns = {column.name: column for column in relation.columns}
    read = {name: columns[name] for name in sorted(_columns_read(check.render(_as_null), key.alias))}
    if any(column.generated or column.collated or _type(column) is None for column in read.values()):
        return None, False
    if key.action is Action.UPDATE and key.columns.isdisjoint(read):
        return None, True
    defaults = {name: text for name, column in read.items() if (text := _constant(column)) is not None}
    unknown = read.keys() - defaults.keys()
    if not _meets_a_key(key, relation) or (key.action is Action.INSERT and not unknown <= key.columns):
        return None, False
    ahead = Ahead(
        read={name: _type(column) or "" for name, column in read.items()},
        given={name: _bare_type(columns[name], types) for name in sorted(key.columns)},
        defaults=defaults,
    )
    return ahead, not unknown or key.action is Action.UPDATE


def _meets_a_key(key: TargetKey, relation: Relation) -> bool:
    if key.action is Action.INSERT:
        return bool(relation.keys)
    return any("" in columns or not key.columns.isdisjoint(columns) for columns in relation.keys)


def _as_null(_binding: Binding) -> str:
    return "NULL"


@lru_cache(maxsize=4096)
def _columns_read(text: str, alias: str) -> frozenset[str]:
    """The columns of the row that stands as ``alias`` in an expression; everything in one is qualified."""
    return frozenset(_references(parse_tree(f"SELECT {text}"), alias))


def _references(node: object, alias: str) -> list[str]:
    found: list[str] = []
    todo = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            fields = item.get("ColumnRef", {}).get("fields", ())
            names = [field.get("String", {}).get("sval") for field in fields]
            if len(names) > 1 and names[0] == alias:
                found.append(names[1])
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
    return found


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _bare_type(column: Column, types: frozenset[str] = frozenset()) -> str:
    """The type without a modifier; a domain's own where that is built in, since a cast to a domain would cut texts."""
    if column.type != column.base_type and column.base_type in types:
        return f"pg_catalog.{_quote(column.base_type)}"
    return f"{_quote(column.type_schema)}.{_quote(column.type)}"


def _type(column: Column) -> str | None:
    """The column's type with its modifier, spelled so that nothing captures it; None for intervals of some fields."""
    if column.type == "interval" and column.type_text != "interval":
        return None
    modifier = _MODIFIER.search(column.type_text) if column.type == column.base_type else None
    return _bare_type(column) + (modifier[0] if modifier is not None else "")


def _constant(column: Column) -> str | None:
    """The default, where it is the same all through a statement; NULL without one; None where it is not, or unknown."""
    if column.default is None:
        has_other = column.has_default or column.identity or column.type != column.base_type
        return None if has_other else "NULL"
    tree = parse_tree(f"SELECT {column.default}")["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    match tree:
        case {"A_Const": constant} | {"TypeCast": {"arg": {"A_Const": constant}}}:
            return _spelled(constant)
        case {"SQLValueFunction": _}:
            return column.default
        case {"FuncCall": {"funcname": [{"String": {"sval": "now"}}]}}:
            return "pg_catalog.now()"
        case _:
            return None


def _spelled(constant: Tree) -> str | None:
    match constant:
        case {"isnull": True}:
            return "NULL"
        case {"sval": {"sval": str(text)}}:
            return "'" + text.replace("'", "''") + "'"
        case {"ival": number}:
            return str(number.get("ival", 0))
        case {"fval": {"fval": str(number)}}:
            return number
        case {"boolval": truth}:
            return "true" if truth.get("boolval") else "false"
        case _:
            return None
