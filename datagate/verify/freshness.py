"""The check of the caller's rights, which stands above the whole query as its OFFSET.

It reads ``CASE WHEN … THEN 0 ELSE -1 END``. OFFSET 0 skips no row (PostgreSQL manual, 7.6); it is computed before the
first row is fetched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from datagate.verify.mismatch import Mismatch, MismatchKind, unguarded
from datagate.verify.tree import Tree, bodies, kind_of, read

_ABOVE: Final = read("SELECT * FROM (SELECT) AS q OFFSET 0")["SelectStmt"]
_OWN: Final = frozenset({"limitCount", "limitOffset", "lockingClause"})


@lru_cache(maxsize=256)
def _read_check(text: str) -> tuple[Tree, frozenset[int]]:
    """The tree of a check, and the parameters in it; Mismatch where it could give another number than 0 or -1."""
    tree: Tree = read(f"SELECT OFFSET {text}")["SelectStmt"]["limitOffset"]
    match tree:
        case {
            "CaseExpr": {
                "args": [{"CaseWhen": {"result": {"A_Const": {"ival": zero}}}}],
                "defresult": {"A_Const": {"ival": {"ival": -1}}},
                **rest,
            }
        } if not rest and zero in ({}, {"ival": 0}):
            pass
        case _:
            raise unguarded("the check of the caller's rights could skip rows")
    return tree, frozenset(parameter.get("number", 0) for parameter in bodies(tree, "ParamRef"))


def unchecked(original: Tree, final: Tree, check: str) -> tuple[Tree, frozenset[int]]:
    """The final tree without the check, and the check's parameters; Mismatch where the check does not stand there.

    A query that has a LIMIT, an OFFSET or row locks of its own is wrapped; any other has the check as its OFFSET.
    """
    if kind_of(original) != "SelectStmt" or kind_of(final) != "SelectStmt":
        raise Mismatch("not a query", MismatchKind.STATEMENT)
    tree, parameters = _read_check(check)
    above = final["SelectStmt"]
    if above.get("limitOffset") != tree or above.get("limitOption") != _ABOVE["limitOption"] or "limitCount" in above:
        raise unguarded("the check of the caller's rights is missing")
    if not original["SelectStmt"].keys() & _OWN:
        plain = {field: value for field, value in above.items() if field != "limitOffset"}
        return {"SelectStmt": plain | {"limitOption": "LIMIT_OPTION_DEFAULT"}}, parameters
    fixed = {field: value for field, value in above.items() if field not in ("fromClause", "limitOffset")}
    if fixed != {field: value for field, value in _ABOVE.items() if field not in ("fromClause", "limitOffset")}:
        raise unguarded("the check of the caller's rights stands in a query of its own making")
    match above["fromClause"]:
        case [{"RangeSubselect": {"subquery": inner, "alias": {"aliasname": "q", **renamed}, **other}}] if (
            not renamed and not other
        ):
            return inner, parameters
        case _:
            raise unguarded("the check of the caller's rights does not stand above the query alone")
