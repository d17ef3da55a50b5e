"""A guard removed, moved, weakened or hidden, in real final texts of SELECTs, writes and wrappers, kind by kind.

Each mutant is one change of the tree that the verifier said yes to; to each it must say no. The counts are printed.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from datagate.backends.postgres import backend
from datagate.gate import GateSession
from datagate.verify.postgres import verify
from datagate.verify.tree import QUERIES, WRITES, Tree, bodies, read
from tests.verify.test_writes import STATEMENTS, Verified, session

__all__ = ["session"]

READS = """
SELECT id, owner, note FROM shop.orders WHERE amount > 5 ORDER BY id LIMIT 3;
SELECT o.id, l.sku FROM shop.orders AS o LEFT JOIN shop.lines AS l ON l.order_id = o.id;
WITH q AS (SELECT id, stars FROM shop.orders) SELECT count(*) FROM q JOIN shop.lines ON order_id = q.id;
SELECT (SELECT max(l.qty) FROM shop.lines AS l WHERE l.order_id = o.id) FROM shop.orders AS o;
SELECT id FROM shop.orders UNION SELECT order_id FROM shop.lines;
SELECT id, owner FROM shop.orders WHERE 1 / (amount - 3) > 0 AND id > 2;
SELECT id FROM shop.orders AS o WHERE EXISTS (SELECT 1 FROM shop.lines AS l WHERE l.order_id = o.id) FOR UPDATE;
SELECT note FROM ONLY shop.orders TABLESAMPLE system (50),
    LATERAL (SELECT qty FROM shop.lines WHERE order_id = id) AS l;
COPY (SELECT id, owner FROM shop.orders) TO STDOUT;
COPY shop.lines TO STDOUT;
DECLARE c CURSOR FOR SELECT id, owner FROM shop.orders;
EXPLAIN SELECT id, owner FROM shop.orders AS o WHERE id > 3;
CREATE TEMP TABLE kept AS SELECT id, stars, owner FROM shop.orders;
PREPARE p AS SELECT id, owner FROM shop.orders WHERE id = $1
""".split(";")


@pytest.fixture(scope="module")
def verified(session: GateSession) -> list[Verified]:
    """What the verifier was asked for each of the statements."""
    asked: list[Verified] = []

    def note(original: str, final: str, **more: Any) -> None:
        verify(original, final, **more)
        asked.append(Verified(original, final, more))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "verify", note)
        for statement in [*READS, *STATEMENTS]:
            session.explain(statement)
    return asked


Place = tuple[Any, Any]
"""A container and the key or index in it; what stands there may be changed in place."""


def _places(tree: Any) -> Iterator[Place]:
    for key, value in list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)):
        if isinstance(value, dict | list):
            yield tree, key
            yield from _places(value)


def _guards(tree: Tree) -> Iterator[Place]:
    """The FROM items that hold a guard, or a fence around one."""
    for container, key in _places(tree):
        item = container[key]
        if isinstance(item, dict) and "RangeSubselect" in item and _body(item) is not None:
            yield container, key


def _body(item: Tree) -> Tree | None:
    """The guard's SELECT inside a FROM item."""
    step = item
    while "RangeSubselect" in step:
        select = step["RangeSubselect"]["subquery"]["SelectStmt"]
        select = select.get("larg", select)
        if len(select.get("fromClause", ())) != 1:
            return None
        step = select["fromClause"][0]
    variable = step.get("RangeVar") or step.get("RangeTableSample", {}).get("relation", {}).get("RangeVar", {})
    return (
        select if variable.get("schemaname") == "shop" and variable.get("alias", {}).get("aliasname") == "g" else None
    )


def _relation(body: Tree) -> Tree:
    item = body["fromClause"][0]
    found: Tree = item["RangeVar"] if "RangeVar" in item else item["RangeTableSample"]["relation"]["RangeVar"]
    return found


def _bare(body: Tree, alias: Tree) -> Tree:
    return {"RangeVar": {**_relation(body), "alias": alias}}


def _text(name: str) -> Tree:
    return {"String": {"sval": name}}


def _select(text: str) -> Tree:
    return read(text)


def _exists(body: Tree) -> Tree:
    bare = {"SelectStmt": {**_select("SELECT 1 FROM x")["SelectStmt"], "fromClause": [{"RangeVar": _relation(body)}]}}
    return {"SubLink": {"subLinkType": "EXISTS_SUBLINK", "subselect": bare}}


def _and(one: Tree | None, other: Tree) -> Tree:
    return {"BoolExpr": {"boolop": "AND_EXPR", "args": [one, other]}} if one else other


# Each takes a tree of its own, the place of a guard in it and the guard's SELECT, changes it in place, and tells
# whether there was anything to change.
Change = Callable[[Tree, Any, Any, Tree], bool]


def _replaced(_tree: Tree, container: Any, key: Any, body: Tree) -> bool:
    container[key] = _bare(body, container[key]["RangeSubselect"]["alias"])
    return True


def _behind_with(tree: Tree, container: Any, key: Any, body: Tree, *, kept: bool = False) -> bool:
    alias = container[key]["RangeSubselect"]["alias"]
    bare = {"SelectStmt": {**_select("SELECT * FROM x")["SelectStmt"], "fromClause": [{"RangeVar": _relation(body)}]}}
    inside = copy.deepcopy(container[key]["RangeSubselect"]["subquery"]) if kept else bare
    item = {"CommonTableExpr": {"ctename": "hiding", "ctematerialized": "CTEMaterializeDefault", "ctequery": inside}}
    (statement,) = tree.values()
    statement.setdefault("withClause", {"ctes": []})["ctes"].append(item)
    name = _bare(body, alias)["RangeVar"]
    container[key] = {"RangeVar": name if kept else {**name, "relname": "hiding", "schemaname": ""}}
    if not kept:
        del container[key]["RangeVar"]["schemaname"]
    return True


def _unfiltered(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    return body.pop("whereClause", None) is not None


def _less(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    where = body.get("whereClause", {})
    if "BoolExpr" not in where or len(where["BoolExpr"]["args"]) < 2:
        return False
    where["BoolExpr"]["args"].pop()
    return True


def _or_true(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    true = {"A_Const": {"boolval": {"boolval": True}}}
    body["whereClause"] = {"BoolExpr": {"boolop": "OR_EXPR", "args": [body.get("whereClause", true), true]}}
    return True


def _negated(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    if "whereClause" not in body:
        return False
    body["whereClause"] = {"BoolExpr": {"boolop": "NOT_EXPR", "args": [body["whereClause"]]}}
    return True


def _filter_outside(tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    """The filter moves from the guard to the statement around it."""
    where = body.pop("whereClause", None)
    (statement,) = tree.values()
    if where is None or "op" not in statement:
        return False
    statement["whereClause"] = _and(statement.get("whereClause"), where)
    return True


def _unmasked(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    found = False
    for target in body["targetList"]:
        value = {"ColumnRef": {"fields": [_text("g"), _text(target["ResTarget"]["name"])]}}
        found = found or target["ResTarget"]["val"] != value
        target["ResTarget"]["val"] = value
    return found


def _other_column(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    body["targetList"][0]["ResTarget"]["val"] = {"ColumnRef": {"fields": [_text("g"), _text("secret")]}}
    return True


def _more_columns(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    value = {"ColumnRef": {"fields": [_text("g"), _text("secret")]}}
    body["targetList"].append({"ResTarget": {"name": "secret", "val": value}})
    return True


def _other_parameter(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    found = list(bodies(body, "ParamRef"))
    for each in found:
        each["number"] += 1
    return bool(found)


def _other_relation(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    variable = _relation(body)
    variable["relname"] = "lines" if variable["relname"] == "orders" else "orders"
    return True


def _other_schema(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    _relation(body)["schemaname"] = "public"
    return True


def _no_schema(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    del _relation(body)["schemaname"]
    return True


def _heirs(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    variable = _relation(body)
    if not variable.pop("inh", False):
        variable["inh"] = True
    return True


def _renamed(_tree: Tree, container: Any, key: Any, _body: Tree) -> bool:
    container[key]["RangeSubselect"]["alias"] = {"aliasname": "zz"}
    return True


def _columns_renamed(_tree: Tree, container: Any, key: Any, body: Tree) -> bool:
    names = [target["ResTarget"]["name"] for target in body["targetList"]]
    alias = container[key]["RangeSubselect"]["alias"]
    container[key]["RangeSubselect"]["alias"] = {**alias, "colnames": [_text(name) for name in [*names[1:], "zz"]]}
    return True


def _beside(_tree: Tree, container: Any, _key: Any, body: Tree) -> bool:
    if not isinstance(container, list):
        return False
    container.append(_bare(body, {"aliasname": "beside"}))
    return True


def _in_condition(tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    (statement,) = tree.values()
    if "selectStmt" in statement or "larg" in statement:
        return False
    statement["whereClause"] = _and(statement.get("whereClause"), _exists(body))
    return True


def _in_output(tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    (statement,) = tree.values()
    if not statement.get("targetList") or "SelectStmt" not in tree:
        return False
    statement["targetList"].append({"ResTarget": {"val": _exists(body)}})
    return True


def _in_guard(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    body["whereClause"] = _and(body.get("whereClause"), _exists(copy.deepcopy(body)))
    return True


def _another_arm(tree: Tree, container: Any, key: Any, body: Tree) -> bool:
    inner = container[key]["RangeSubselect"]["subquery"]["SelectStmt"]
    bare = {**copy.deepcopy(body)}
    bare.pop("whereClause", None)
    plain = {field: value for field, value in inner.items() if field not in ("limitOffset", "limitOption")}
    union = {**_select("SELECT 1 UNION ALL SELECT 2")["SelectStmt"], "larg": plain, "rarg": bare}
    container[key]["RangeSubselect"]["subquery"]["SelectStmt"] = union
    return tree is not None


def _shorter(_tree: Tree, container: Any, key: Any, _body: Tree) -> bool:
    inner = container[key]["RangeSubselect"]["subquery"]["SelectStmt"]
    inner["limitCount"], inner["limitOption"] = {"A_Const": {"ival": {"ival": 5}}}, "LIMIT_OPTION_COUNT"
    return True


def _locked(_tree: Tree, _container: Any, _key: Any, body: Tree) -> bool:
    body["lockingClause"] = [{"LockingClause": {"strength": "LCS_FORUPDATE", "waitPolicy": "LockWaitBlock"}}]
    return True


def _lateral(_tree: Tree, container: Any, key: Any, _body: Tree) -> bool:
    container[key]["RangeSubselect"]["lateral"] = True
    return True


def _unchecked(tree: Tree, _container: Any, _key: Any, _body: Tree) -> bool:
    """The check of the rights above the whole is gone."""
    (statement,) = tree.values()
    return "SelectStmt" in tree and statement.pop("limitOffset", None) is not None


def _always_current(tree: Tree, _container: Any, _key: Any, _body: Tree) -> bool:
    (statement,) = tree.values()
    if "SelectStmt" not in tree or "limitOffset" not in statement:
        return False
    statement["limitOffset"] = {"A_Const": {"ival": {}}}
    return True


CHANGES: dict[str, Change] = {
    "the guard is gone": _replaced,
    "the bare relation behind WITH": _behind_with,
    "the guard in a WITH of no use": lambda *given: _behind_with(*given, kept=True),
    "no filter": _unfiltered,
    "a condition less": _less,
    "or true": _or_true,
    "the filter negated": _negated,
    "the filter outside": _filter_outside,
    "no masks": _unmasked,
    "another column": _other_column,
    "a column more": _more_columns,
    "another parameter": _other_parameter,
    "another relation": _other_relation,
    "another schema": _other_schema,
    "no schema": _no_schema,
    "other heirs": _heirs,
    "another alias": _renamed,
    "other names of columns": _columns_renamed,
    "the bare relation beside": _beside,
    "the bare relation in the condition": _in_condition,
    "the bare relation in the output": _in_output,
    "the bare relation in the filter": _in_guard,
    "another arm in the guard": _another_arm,
    "fewer rows": _shorter,
    "a lock in the guard": _locked,
    "lateral": _lateral,
    "no check of rights": _unchecked,
    "a check that always holds": _always_current,
}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_mutant_is_caught(verified: list[Verified], kind: str) -> None:
    """Of each kind there are mutants, and none passes."""
    counts: Counter[str] = Counter()
    for each in verified:
        final = read(each.final, QUERIES | WRITES)
        for number in range(len(list(_guards(final)))):
            mutant = copy.deepcopy(final)
            container, key = list(_guards(mutant))[number]
            body = _body(container[key])
            assert body is not None
            if CHANGES[kind](mutant, container, key, body) and mutant != final:
                counts[next(iter(final))] += 1
                assert each.refuses_tree(mutant), (kind, each.original)
    sys.stdout.write(f"{kind}: {sum(counts.values())} mutants caught, {dict(counts)}\n")
    assert counts, kind


def test_the_unchanged_pass(verified: list[Verified]) -> None:
    """So that each refusal above is the change's doing; and every SELECT and wrapper is among them."""
    assert not [each.original for each in verified if each.refuses_tree(read(each.final, QUERIES | WRITES))]
    # One inner query is shared by two wrappers, and what was rewritten once is not asked about again.
    assert len(verified) >= len(READS) + len(STATEMENTS) - 1
