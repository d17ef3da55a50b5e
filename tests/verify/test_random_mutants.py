"""Random changes of a good final text, of its tokens and of its tree: whatever is not the same tree is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagate.verify.names import Names
from datagate.verify.postgres import Mismatch
from datagate.verify.tree import Tree, read
from datagate.verify.walk import Walk
from tests.verify.test_carried import CARRIED
from tests.verify.world import CATALOG, FUNCTIONS, PRESCRIPTIONS, Pair, check, pair

_BIG = """
WITH a AS (SELECT id FROM {customers}), b AS MATERIALIZED (SELECT * FROM a JOIN {accounts} USING (id))
SELECT region, count(*) FROM b, {emails AS e} WHERE e.id = b.id GROUP BY region HAVING count(*) > $1;
SELECT c.region, (SELECT max(t.amount) FROM {bank.transactions AS t} WHERE t.account_id = a.id) AS top
FROM {customers AS c} LEFT JOIN {accounts AS a} ON a.customer_id = c.id WHERE c.balance > 100 AND EXISTS
(WITH kyc AS (SELECT k.id FROM {kyc AS k}) SELECT 1 FROM kyc WHERE kyc.id = c.id) ORDER BY 2 DESC LIMIT 5;
SELECT id FROM {customers} UNION (SELECT id FROM {accounts} EXCEPT SELECT id FROM {public.notes}) ORDER BY id
"""
# Without fences and keys in GROUP BY, whose variants are another tree and pass.
PAIRS = [pair(template) for template in CARRIED + _BIG.split(";")]
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\$\d+|\w+|::|\S")
EXTRA = [
    "customers",
    "bank.customers",
    "kyc",
    "x",
    "1",
    "'EU'",
    "NOT",
    "OR",
    "true",
    ",",
    "(",
    ")",
    "ONLY",
    "*",
    "DISTINCT",
]


@pytest.mark.parametrize("both", PAIRS)
def test_the_unchanged_pairs_pass(both: Pair) -> None:
    """So that a refusal below is the change's doing."""
    check(both.original, both.final)


def _settled(original: str, final: str, mutant: str) -> None:
    try:
        same = read(mutant) == read(final)
    except Mismatch:
        same = False
    if same:
        check(original, mutant)
    else:
        with pytest.raises(Mismatch):
            check(original, mutant)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_tokens_are_refused(data: st.DataObject) -> None:
    """Tokens are dropped, doubled, exchanged and brought in."""
    both = data.draw(st.sampled_from(PAIRS))
    tokens = _TOKEN.findall(both.final)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        kind = data.draw(st.sampled_from(["drop", "double", "exchange", "put", "replace"]))
        if kind == "drop":
            del tokens[at : at + data.draw(st.integers(1, 6))]
        elif kind == "double":
            tokens[at:at] = tokens[at : at + data.draw(st.integers(1, 12))]
        elif kind == "exchange":
            other = data.draw(st.integers(0, len(tokens) - 1))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            new = data.draw(st.sampled_from(EXTRA + tokens))
            tokens[at : at + (kind == "replace")] = [new]
        tokens = tokens or ["SELECT"]
    _settled(both.original, both.final, " ".join(tokens))


Site = tuple[Any, Any]
"""A container and the key or index in it."""


def _sites(tree: Any) -> Iterator[Site]:
    todo = [tree]
    while todo:
        item = todo.pop()
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            yield item, key
            if isinstance(value, (dict, list)):
                todo.append(value)


def _change(data: st.DataObject, tree: Tree) -> None:
    """One change in place that keeps every value's Python type."""
    sites = list(_sites(tree))
    container, key = data.draw(st.sampled_from(sites))
    value = container[key]
    if (
        isinstance(container, list)
        and (kind := data.draw(st.sampled_from(["keep", "drop", "double", "turn"]))) != "keep"
    ):
        if kind == "drop" and len(container) > 1:
            del container[key]
        elif kind == "double":
            container.insert(key, copy.deepcopy(value))
        else:
            container.reverse()
        return
    alike = [other for holder, at in sites if type(other := holder[at]) is type(value) and other != value]
    if isinstance(value, bool) or not alike:
        if isinstance(container, dict) and len(container) > 1:
            del container[key]
    elif isinstance(value, int):
        container[key] = value + data.draw(st.sampled_from([-1, 1, 16]))
    else:
        container[key] = copy.deepcopy(data.draw(st.sampled_from(alike)))


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_changed_trees_are_refused(data: st.DataObject) -> None:
    """Nodes, fields and values are dropped, doubled, turned round and exchanged for others of the same tree."""
    both = data.draw(st.sampled_from(PAIRS))
    original, final = read(both.original), read(both.final)
    mutant = copy.deepcopy(final)
    for _ in range(data.draw(st.integers(1, 2))):
        _change(data, mutant)
    walk = Walk(Names(CATALOG, FUNCTIONS), PRESCRIPTIONS)
    if mutant == final:
        walk.statement(original, mutant)
        return
    with pytest.raises(Mismatch):
        walk.statement(original, mutant)
