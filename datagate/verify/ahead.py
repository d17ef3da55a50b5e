"""New rows are held to their check by their values, before they can meet a key that a hidden row has.

Where :class:`datagate.model.guard.Ahead` is prescribed, one value of the statement stands in ``CASE WHEN check of the
values THEN value WHEN refusal THEN NULL END``: of VALUES one of the first row that has any, for all rows at once; of
assignments the first; and a query stands inside of another, that has it for each row. The check's copies of values must
be the values themselves, and be computed twice to the same. What was put in is taken out again, for the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datagate.model.guard import Ahead, TargetTexts
from datagate.verify.aimed import AimedWalk, expression
from datagate.verify.mismatch import differs, forbidden, unguarded
from datagate.verify.tree import Tree, bodies, read, strings

_ROWS = '"datagate: rows"'
_HOLE = "datagate: value"
_NULL: Tree = {"A_Const": {"isnull": True}}
_DEFAULT = "SetToDefault"
_GENERAL = frozenset({"sortClause", "limitOffset", "limitCount", "lockingClause", "withClause"})
_CHANGING = frozenset(
    """
    random random_normal setseed gen_random_uuid uuidv4 uuidv7 clock_timestamp timeofday txid_current_if_assigned
    pg_current_xact_id_if_assigned pg_advisory_unlock_all
    """.split()
)
"""Functions of the engine's that callers may use, and that may give something else when called again."""

Row = dict[str, Tree]


class AheadWalk(AimedWalk):
    """A walk that knows what values are held to."""

    def _query_held(self, o: Tree, f: Tree, names: Sequence[str], held: TargetTexts, alias: str) -> Tree:
        """The query of an INSERT as it would be without what was put in."""
        if held.ahead is None or held.check is None:
            return f
        query = o.get("SelectStmt", {})
        if "valuesLists" in query and _GENERAL.isdisjoint(query):
            lists = f.get("SelectStmt", {}).get("valuesLists", ())
            rows = [each["List"]["items"] for each in lists]
            originals = [each["List"]["items"] for each in query["valuesLists"]]
            rows = self._rows_held(originals, rows, names, held, alias)
            return {"SelectStmt": {**f["SelectStmt"], "valuesLists": [{"List": {"items": row}} for row in rows]}}
        return self._inside(o, f, names, held, held.ahead, alias)

    def _inside(self, o: Tree, f: Tree, names: Sequence[str], held: TargetTexts, ahead: Ahead, alias: str) -> Tree:
        columns = [f"{_ROWS}.{_quote(name)}" for name in names]
        values = {
            name: _cast(ahead, name, f"{_ROWS}.{_quote(name)}" if name in names else _default(ahead, name))
            for name in ahead.read
        }
        test = _of_one(ahead, held.check or "", values, alias)
        first = f"CASE WHEN {test} THEN {columns[0]} WHEN {held.refusal} THEN NULL END"
        expected = read(
            f"SELECT {', '.join([first, *columns[1:]])} FROM (SELECT 1) AS {_ROWS} ({', '.join(map(_quote, names))})"
        )
        try:
            (item,) = f["SelectStmt"]["fromClause"]
            inner: Tree = item["RangeSubselect"]["subquery"]
        except (KeyError, ValueError):
            raise unguarded("the rows of a query are not held to their check before they are written") from None
        expected["SelectStmt"]["fromClause"][0]["RangeSubselect"]["subquery"] = inner
        if f != expected:
            raise unguarded("the rows of a query are not held to their check before they are written")
        return _untyped(o, inner, names, ahead)

    def _rows_held(
        self,
        originals: Sequence[Sequence[Tree]],
        finals: Sequence[Sequence[Tree]],
        names: Sequence[str],
        held: TargetTexts,
        alias: str,
    ) -> list[list[Tree]]:
        """The rows of VALUES as they would be without what was put in."""
        ahead, rows = held.ahead, [list(row) for row in finals]
        if ahead is None or held.check is None:
            return rows
        if [len(row) for row in rows] != [len(names)] * len(originals):
            raise differs("the values of an INSERT")
        filled = [number for number, row in enumerate(rows) if any(_DEFAULT not in value for value in row)]
        given = [dict(zip(names, row, strict=True)) for row in rows]
        known = [number for number, row in enumerate(given) if _is_known(row, ahead)]
        if not filled or not known:
            # Only the engine can compute what the check reads: then nothing can be put in.
            return rows
        number = filled[0]
        refused = [place for place, value in enumerate(rows[number]) if _is_carrier(value, held.refusal)]
        if len(refused) != 1:
            raise unguarded("the values that are written are not held to their check")
        (place,) = refused
        when, value = _carried(rows[number][place], held.refusal)
        bare = _uncast(originals[number][place], value, ahead.given[names[place]])
        rows[number][place] = given[number][names[place]] = bare
        if when != _of_all(ahead, held.check, [_row(given[each], ahead) for each in known], alias):
            raise unguarded("the values that are written are not held to their check")
        return rows

    def _sets_held(self, o: Sequence[Tree], f: Sequence[Tree], held: TargetTexts, alias: str) -> Sequence[Tree]:
        """Assignments as they would be without what was put in."""
        ahead = held.ahead
        if ahead is None or held.check is None:
            return f
        if len(o) != len(f):
            raise differs("the number of columns that are set")
        targets = [dict(target["ResTarget"]) for target in f]
        if any("MultiAssignRef" in target["val"] for target in targets):
            raise forbidden("a key and what a rule reads, set as (a, b) = …,")
        place = next((place for place, target in enumerate(targets) if _DEFAULT not in target["val"]), None)
        if place is None:
            raise forbidden("DEFAULT for a key and what a rule reads")
        when, value = _carried(targets[place]["val"], held.refusal)
        name = targets[place]["name"]
        targets[place]["val"] = _uncast(o[place]["ResTarget"]["val"], value, ahead.given[name])
        given = {target["name"]: target["val"] for target in targets}
        unset = {name: expression(f"{_quote(alias)}.{_quote(name)}") for name in ahead.read if name not in given}
        if not _is_known({**given, **unset}, ahead):
            raise forbidden("DEFAULT for a column that a rule reads, beside a key,")
        row = _row({**given, **unset}, ahead)
        texts = {name: _hole(name) if name in unset else _cast(ahead, name, _hole(name)) for name in ahead.read}
        if when != _filled(expression(_of_one(ahead, held.check, texts, alias)), row):
            raise unguarded("the values that are set are not held to their check")
        return [{"ResTarget": target} for target in targets]


def _is_carrier(value: Tree, refusal: str) -> bool:
    """Whether a value refuses rows; none of the caller's own can."""
    args = value.get("CaseExpr", {}).get("args", ())
    return len(args) > 1 and args[-1].get("CaseWhen", {}).get("expr") == expression(refusal)


def _carried(value: Tree, refusal: str) -> tuple[Tree, Tree]:
    """The condition of a value that stands for a row, and the value."""
    match value:
        case {
            "CaseExpr": {
                "args": [
                    {"CaseWhen": {"expr": when, "result": result, **none}},
                    {"CaseWhen": {"expr": other, "result": null, **no_more}},
                ],
                **more,
            }
        } if not (more or none or no_more) and other == expression(refusal) and null == _NULL:
            return when, result
        case _:
            raise unguarded("the values that are written are not held to their check")


def _is_known(given: Mapping[str, Tree], ahead: Ahead) -> bool:
    """Whether there is a value in each column that the check reads, or a default that is a constant."""
    return all(name in ahead.defaults or _DEFAULT not in given.get(name, {_DEFAULT: {}}) for name in ahead.read)


def _row(given: Mapping[str, Tree], ahead: Ahead) -> Row:
    """What the check reads of a row."""
    row = {}
    for name in ahead.read:
        value = given.get(name, {_DEFAULT: {}})
        row[name] = expression(ahead.defaults[name]) if _DEFAULT in value else value
        _check_steady(row[name])
    return row


def _check_steady(value: Tree) -> None:
    """Refuse a value that may be another when it is computed again."""
    for call in bodies(value, "FuncCall"):
        *schema, name = strings(call["funcname"])
        if schema not in ([], ["pg_catalog"]) or name in _CHANGING:
            raise forbidden(
                f"{name}() in the value of a column that a rule reads (compute it in a SELECT that is inserted)"
            )
    if next(bodies(value, "RangeTableSample"), None) is not None:
        raise forbidden("TABLESAMPLE in a column that a rule reads")


def _of_one(ahead: Ahead, check: str, values: Mapping[str, str], alias: str) -> str:
    items = ", ".join(f"{values[name]} AS {_quote(name)}" for name in ahead.read)
    return f"(SELECT {check} FROM (SELECT {items}) AS {_quote(alias)})"


def _of_all(ahead: Ahead, check: str, rows: Sequence[Row], alias: str) -> Tree:
    """That no row fails the check, with the values in it."""
    if not ahead.read:
        return expression(f"NOT EXISTS (SELECT 1 WHERE ({check}) IS NOT TRUE)")
    casts = ", ".join(_cast(ahead, name, _hole(name)) for name in ahead.read)
    names = ", ".join(map(_quote, ahead.read))
    query = f"SELECT 1 FROM (VALUES ({casts})) AS {_quote(alias)} ({names}) WHERE ({check}) IS NOT TRUE"
    whole: Tree = read(f"SELECT NOT EXISTS ({query})")["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    select = whole["BoolExpr"]["args"][0]["SubLink"]["subselect"]["SelectStmt"]
    values = select["fromClause"][0]["RangeSubselect"]["subquery"]["SelectStmt"]
    (template,) = values["valuesLists"]
    values["valuesLists"] = [_filled(template, row) for row in rows]
    return whole


def _filled(template: Any, row: Row) -> Any:
    """A tree with the values in the places that were left for them."""
    if isinstance(template, list):
        return [_filled(each, row) for each in template]
    if not isinstance(template, dict):
        return template
    match template:
        case {"ColumnRef": {"fields": [{"String": {"sval": "datagate: value"}}, {"String": {"sval": str(name)}}]}}:
            return row[name]
        case _:
            return {key: _filled(value, row) for key, value in template.items()}


def _untyped(o: Tree, f: Tree, names: Sequence[str], ahead: Ahead) -> Tree:
    """A query without the types that its constants were given, which they have as values of the columns."""
    one, other = o.get("SelectStmt", {}), f.get("SelectStmt", {})
    before, after = one.get("targetList"), other.get("targetList")
    if not before or not after or len(before) != len(after) or len(after) != len(names):
        return f
    targets = [
        {"ResTarget": {**target["ResTarget"], "val": _uncast(was["ResTarget"]["val"], val, ahead.given[name])}}
        for was, target, name in zip(before, after, names, strict=True)
        if (val := target["ResTarget"]["val"])
    ]
    return {"SelectStmt": {**other, "targetList": targets}}


def _uncast(o: Tree, f: Tree, type_: str) -> Tree:
    """A value without the cast to its column's type, where the original has a value without a type."""
    untyped = "ParamRef" in o or o == _NULL or "sval" in o.get("A_Const", {})
    return o if untyped and f == _cast_of(o, type_) else f


def _cast_of(value: Tree, type_: str) -> Tree:
    return {"TypeCast": {**expression(f"CAST(NULL AS {type_})")["TypeCast"], "arg": value}}


def _cast(ahead: Ahead, name: str, value: str) -> str:
    return f"CAST({value} AS {ahead.read[name]})"


def _default(ahead: Ahead, name: str) -> str:
    if name not in ahead.defaults:
        raise unguarded("a column that a rule reads has no value")
    return ahead.defaults[name]


def _hole(name: str) -> str:
    return f"{_quote(_HOLE)}.{_quote(name)}"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
