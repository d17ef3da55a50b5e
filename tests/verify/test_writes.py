"""What writes are held to: real rewritings pass, and each change of one that weakens it is refused.

The rewritings come from the gate, for the clerk of the shop, and are changed as text and as trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from datagate.audit import MemorySink
from datagate.backends.postgres import backend
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import Gate, GateSession, state_engine
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from datagate.verify.freshness import unchecked
from datagate.verify.mismatch import Mismatch
from datagate.verify.names import Names
from datagate.verify.postgres import verify
from datagate.verify.tree import QUERIES, WRITES, Tree, kind_of, read
from datagate.verify.writes import WriteWalk
from fixtures import shop

STATEMENTS = """
UPDATE shop.orders SET note = 'x' WHERE id < 10;
UPDATE shop.orders AS o SET note = upper(o.note), amount = 1 WHERE owner LIKE 'ow%' RETURNING *;
UPDATE shop.orders SET note = 'x' WHERE 1 / (amount - 3) > 0 AND id > 2 RETURNING id, owner AS who;
UPDATE shop.orders SET (note, amount) = (SELECT sku, qty FROM shop.lines WHERE order_id = orders.id LIMIT 1);
UPDATE shop.orders SET note = l.sku FROM shop.lines AS l WHERE l.order_id = orders.id AND l.qty > 3 RETURNING orders.id;
DELETE FROM shop.orders WHERE region = 'EU' RETURNING owner, upper(owner);
DELETE FROM shop.lines USING shop.orders AS o WHERE o.id = lines.order_id AND o.note IS NULL;
INSERT INTO shop.orders (region, note) VALUES ('EU', 'a'), ('US', DEFAULT) RETURNING id;
INSERT INTO shop.orders VALUES (7001, 'EU');
INSERT INTO shop.orders DEFAULT VALUES;
INSERT INTO shop.lines SELECT id, 'x', 1 FROM shop.orders WHERE id > 50 RETURNING *;
INSERT INTO shop.orders AS t (id, note) VALUES (1, 'd') ON CONFLICT (id) DO UPDATE SET note = excluded.note
    WHERE t.id > 0;
INSERT INTO shop.orders (id, note) VALUES (1, 'd') ON CONFLICT DO NOTHING;
WITH d AS (DELETE FROM shop.lines WHERE qty = 0 RETURNING order_id)
    UPDATE shop.orders SET note = 'e' FROM d WHERE id = d.order_id;
WITH u AS (UPDATE shop.lines SET qty = 1 WHERE qty > 8 RETURNING *)
    SELECT count(*) FROM u JOIN shop.orders ON id = order_id;
DELETE FROM shop.orders
    WHERE EXISTS (SELECT 1 FROM shop.lines AS l WHERE l.order_id = orders.id AND l.sku = orders.owner)
""".split(";")
MERGES = """
MERGE INTO shop.orders AS o USING (VALUES (1, 'a')) AS v (id, w) ON o.id = v.id
    WHEN MATCHED AND o.note IS NULL THEN UPDATE SET note = v.w WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED THEN INSERT (id, note) VALUES (v.id, v.w) RETURNING merge_action(), o.id;
MERGE INTO shop.orders AS o USING shop.lines AS l ON o.id = l.order_id AND l.qty = 1
    WHEN NOT MATCHED BY SOURCE AND o.amount > 5 THEN UPDATE SET note = 'z'
    WHEN NOT MATCHED BY SOURCE THEN DO NOTHING WHEN MATCHED THEN DO NOTHING
""".split(";")


@dataclass(frozen=True, slots=True)
class Verified:
    """What the verifier was asked once, and said yes to."""

    original: str
    final: str
    more: dict[str, Any]

    def refuses(self, final: str) -> bool:
        """Whether it says no to another final text."""
        try:
            verify(self.original, final, **self.more)
        except Mismatch:
            return True
        return False

    def refuses_tree(self, final: Tree) -> bool:
        """The same of a tree, which need not be that of any text."""
        more = self.more
        names = Names(more["catalog"], more["functions"])
        before = read(self.original, QUERIES | WRITES)
        writes = kind_of(before) in WRITES
        check = more["check"]
        walk = WriteWalk(names, more["prescriptions"], more["lookups"], more["targets"], check if writes else None)
        try:
            after = final if writes else unchecked(before, final, check)[0]
            walk.statement(before, after)
        except (Mismatch, KeyError, TypeError, ValueError, AttributeError, IndexError):
            return True
        return False


@pytest.fixture(scope="module")
def session(postgres: EmbeddedPostgres) -> Iterator[GateSession]:
    """The clerk's way through the gate of a shop."""
    dsn = postgres.create_database("verified")
    with psycopg.connect(dsn) as connection:
        shop.load(connection)
    store = StateStore(state_engine(dsn))
    store.create()
    shop.WORLD.record(store)
    gate = Gate.open(dsn, policies=shop.POLICIES, state=store, keyring=Keyring({}), audit=MemorySink())
    yield gate.session(shop.CALLERS["clerk"], frontend="test")
    postgres.drop_database("verified")


@pytest.fixture(scope="module")
def verified(session: GateSession) -> list[Verified]:
    """What the verifier was asked for each of the statements."""
    return asked_of(session, [*STATEMENTS, *(MERGES if has_merge_returning(session) else [])])


def asked_of(session: GateSession, statements: list[str]) -> list[Verified]:
    """What the verifier is asked while statements are admitted."""
    asked: list[Verified] = []
    real = verify

    def note(original: str, final: str, **more: Any) -> None:
        asked.append(Verified(original, final, more))
        real(original, final, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "verify", note)
        for statement in statements:
            session.admit(statement)
    return asked


def has_merge_returning(session: GateSession) -> bool:
    """Whether MERGE has RETURNING."""
    return session._shared.catalog.server_version >= 170000


def test_the_unchanged_pass(verified: list[Verified]) -> None:
    """So that each refusal below is the change's doing."""
    assert len(verified) >= len(STATEMENTS)
    assert not [each.original for each in verified if each.refuses(each.final)]


def test_the_callers_own_text_is_refused(verified: list[Verified]) -> None:
    """A write without anything put into it."""
    assert not [each.original for each in verified if not each.refuses(each.original)]


CHANGES = [
    ("orders.region OPERATOR(pg_catalog.=) ANY", "true OR orders.region OPERATOR(pg_catalog.=) ANY"),
    ("IS DISTINCT FROM 13.5", "IS NOT DISTINCT FROM 13.5"),
    ("THEN 0 ELSE -1 END", "THEN 0 ELSE 0 END"),
    ("datagate.refuse_row('shop.orders')", "true"),
    ("datagate.refuse_row('shop.orders')", "false"),
    ("datagate.refuse_row('shop.lines')", "true"),
    ("datagate.refuse_row(", "public.refuse_row("),
    ("datagate.still_current(", "public.still_current("),
    ('UPDATE "shop"."orders"', "UPDATE orders"),
    ('UPDATE "shop"."orders"', 'UPDATE "evil"."orders"'),
    ('DELETE FROM "shop"."orders"', 'DELETE FROM ONLY "shop"."orders"'),
    ('INSERT INTO "shop"."orders"', 'INSERT INTO "shop"."lines"'),
    (", 2)", ", 200)"),
    ("repeat('*'", "repeat('?'"),
    (" ELSE false END", " ELSE true END"),
    (' AS "id"', ' AS "secret"'),
    ('"o"."note"', '"o"."secret"'),
    ("RETURNING", "RETURNING orders.secret,"),
    ("RETURNING", "RETURNING orders,"),
    ("RETURNING", "RETURNING ctid,"),
    ("SET note =", "SET secret = 'x', note ="),
    ("SET note =", "SET secret ="),
    ('AS "datagate: checked"', 'AS "checked"'),
    ("DO UPDATE SET note = excluded.note", "DO UPDATE SET note = excluded.secret"),
    ("WHEN NOT MATCHED BY SOURCE", "WHEN MATCHED"),
    ("WHEN 'INSERT' THEN", "WHEN 'NOTHING' THEN"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_weakened_text_is_refused(verified: list[Verified], old: str, new: str) -> None:
    """Wherever the piece stands, changing it there is refused; and it stands somewhere."""
    found = 0
    for each in verified:
        for place in range(each.final.count(old)):
            head, *rest = each.final.split(old)
            before, after = old.join([head, *rest[:place]]), old.join(rest[place:])
            found += 1
            assert each.refuses(f"{before}{new}{after}"), (each.original, old, new)
    assert found or "MATCHED" in old or "INSERT' THEN" in old


def test_every_missing_part_is_refused(verified: list[Verified]) -> None:
    """Take out any node of the final tree that is in a list, or any field that is a node.

    One thing may be missing: the condition that stands a second time before a fence, which is there for speed.
    """
    tried, passed = 0, []
    for each in verified:
        for mutant in without_a_part(read(each.final, QUERIES | WRITES)):
            tried += 1
            passed += [] if each.refuses_tree(mutant) else [each.original]
    assert tried > 300
    assert passed == [each.original for each in verified if "1 / (amount - 3)" in each.original]


def test_every_swap_of_neighbours_is_refused(verified: list[Verified]) -> None:
    """Two neighbours in a list, the one in the place of the other, but for AND's parts that the caller joined."""
    tried = 0
    for each in verified:
        tree = read(each.final, QUERIES | WRITES)
        for mutant in swapped(tree):
            tried += 1
            assert each.refuses_tree(mutant), (each.original, mutant)
    assert tried > 100


def without_a_part(tree: Tree) -> Iterator[Tree]:
    """The tree without any one part of it: what is in a list, or a field that is a node."""
    yield from (each for each in _changed(tree, _shorter) if each)


def swapped(tree: Tree) -> Iterator[Tree]:
    """The tree with any two neighbours in a list, the one in the place of the other."""
    yield from _changed(tree, _exchanged)


def _changed(tree: Any, change: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    """The tree with a change of any one container in it; what stays the same is shared."""
    yield from change(tree)
    if isinstance(tree, dict):
        for key, value in tree.items():
            for other in _changed(value, change):
                yield {**tree, key: other}
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            for other in _changed(value, change):
                yield [*tree[:place], other, *tree[place + 1 :]]


def _shorter(container: Any) -> Iterator[Any]:
    if isinstance(container, dict):
        for key, value in container.items():
            if isinstance(value, dict | list):
                yield {each: kept for each, kept in container.items() if each != key}
    elif isinstance(container, list):
        for place in range(len(container)):
            yield [*container[:place], *container[place + 1 :]]


def _exchanged(container: Any) -> Iterator[Any]:
    if isinstance(container, list):
        for place in range(1, len(container)):
            before, after = container[place - 1 : place + 1]
            if before != after:
                yield [*container[: place - 1], after, before, *container[place + 1 :]]
