"""Where an expression of a type that names things may stand: regclass, regtype and their like.

A literal or parameter beside such an expression takes its type wherever types are unified: ``CASE``, ``COALESCE``, set
operations, VALUES, ARRAY, default arguments, fields of rows. Then ``'16400'`` shows the name of whatever has that OID,
and ``'bank.x'`` whether there is such a thing, although no cast of theirs was ever checked. So such an expression may
stand only where its type does not reach anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from datagate.model.lookup import Lookup
from datagate.verify.mismatch import forbidden
from datagate.verify.names import names_things
from datagate.verify.tree import Tree, kind_of, strings

_COMPARISONS: Final = frozenset({"=", "<>", "<", "<=", ">", ">="})
_TAKES_ANYTHING: Final = frozenset("concat concat_ws count format json_build_array json_build_object to_json".split())
"""Functions that turn an argument of any type into text, or into nothing."""
_ENDS_HERE: Final = frozenset({"NullTest", "SortBy"})
"""Kinds whose own value has another type, or none."""


def check_things(statement: Tree, lookups: Mapping[str, Lookup]) -> None:
    """Refuse a statement in which the type of such an expression could reach a literal or parameter.

    Args:
        statement: the caller's own, ``{"SelectStmt": …}`` or that of a write.
        lookups: functions that take an OID: they take such an expression as one.
    """
    if "SelectStmt" not in statement:
        # What is written takes the type of its column.
        _check_below(statement[kind_of(statement)], lookups, allowed=False)
        return
    select = statement["SelectStmt"]
    for target in select.get("targetList", ()):
        value = target["ResTarget"]["val"]
        # The output of the whole statement reaches nothing else.
        _check(value, lookups, allowed=True)
    for field, value in select.items():
        if field != "targetList":
            _check_below(value, lookups, allowed=False)


def _check(node: Tree, lookups: Mapping[str, Lookup], *, allowed: bool) -> None:
    kind = kind_of(node)
    is_thing = _is_thing(kind, node.get(kind))
    if not allowed and is_thing:
        raise forbidden("an expression that names things (regclass, regtype, pg_typeof …) beside others of its type")
    if not kind:
        return
    body = node[kind]
    if is_thing and kind in _MADE_OF:
        _check_made(kind, body, lookups)
        return
    for child, may in _children(kind, body, lookups):
        _check_below(child, lookups, allowed=may)


def _check_made(kind: str, body: Tree, lookups: Mapping[str, Lookup]) -> None:
    """Parts that are all of such a type may stand beside each other; what else is in there, as anywhere."""
    parts = _made_of(kind, body)
    for part in parts:
        _check(part, lookups, allowed=True)
    if kind == "CaseExpr":
        _check_below([body.get("arg"), [arm["CaseWhen"]["expr"] for arm in body["args"]]], lookups, allowed=False)
    elif kind == "SubLink":
        select = body["subselect"]["SelectStmt"]
        rest = {field: value for field, value in select.items() if field != "targetList"}
        _check_below(list(rest.values()), lookups, allowed=False)


def _check_below(value: Any, lookups: Mapping[str, Lookup], *, allowed: bool) -> None:
    """All nodes of a field, whether it holds one, a list, or the body of a node of one kind."""
    if isinstance(value, list):
        for item in value:
            _check_below(item, lookups, allowed=allowed)
    elif isinstance(value, dict):
        kind = kind_of(value)
        if kind[:1].isupper():
            _check(value, lookups, allowed=allowed)
        else:
            for child in value.values():
                _check_below(child, lookups, allowed=False)


def _children(kind: str, body: Tree, lookups: Mapping[str, Lookup]) -> Iterator[tuple[Any, bool]]:
    """The fields of a node, each with whether such an expression may stand in it."""
    may: frozenset[str] = frozenset()
    if kind == "TypeCast":
        # A cast to a type that names things gives such a type to what it casts, which is checked where casts are.
        may = frozenset({"arg"})
    elif kind == "A_Expr" and body["kind"] == "AEXPR_OP" and strings(body["name"])[-1] in _COMPARISONS:
        may = frozenset({"lexpr", "rexpr"})
    elif kind == "A_Expr" and body["kind"] == "AEXPR_IN" and kind_of(body["lexpr"]) == "ColumnRef":
        things = body["rexpr"]["List"]["items"]
        if all(_is_thing(kind_of(item), item[kind_of(item)]) for item in things):
            return  # the list is all there is to see
    elif kind == "FuncCall":
        *schema, name = strings(body["funcname"])
        if schema in ([], ["pg_catalog"]) and (name in lookups or name in _TAKES_ANYTHING):
            may = frozenset({"args"})
    elif kind == "SubLink":
        may = frozenset({"testexpr"})
    elif kind in _ENDS_HERE:
        may = frozenset({"arg", "node"})
    for field, value in body.items():
        yield value, field in may


def _is_thing(kind: str, body: Any) -> bool:
    """Whether an expression is a cast to such a type, a call that gives one, or made of nothing but such."""
    if kind == "TypeCast":
        return names_things(strings(body["typeName"]["names"])[-1])
    if kind in _MADE_OF:
        made_of = _made_of(kind, body)
        return bool(made_of) and all(_is_thing(kind_of(part), part.get(kind_of(part))) for part in made_of)
    return kind == "FuncCall" and strings(body["funcname"])[-1] == "pg_typeof"


_MADE_OF: Final = frozenset({"CaseExpr", "CoalesceExpr", "SubLink"})


def _made_of(kind: str, body: Tree) -> list[Tree]:
    """The expressions whose type is that of the whole; none where there may be others."""
    if kind == "CoalesceExpr":
        return list(body["args"])
    if kind == "CaseExpr":
        results = [arm["CaseWhen"]["result"] for arm in body["args"]]
        return [*results, body["defresult"]] if "defresult" in body else results
    select = body["subselect"]["SelectStmt"] if body["subLinkType"] == "EXPR_SUBLINK" else {}
    if select.get("op", "SETOP_NONE") != "SETOP_NONE":
        return []
    return [target["ResTarget"]["val"] for target in select.get("targetList", ())]
