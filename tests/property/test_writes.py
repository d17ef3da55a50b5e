"""Random writes leave what the caller sees as they leave the caller's twin, and all else as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import Error
from fixtures import shop
from tests.property.selects import Columns, relations
from tests.property.writes import May, WriteWriter
from tests.twin.compare import Answered, Failed, Outcome, difference, gated, same_answer
from tests.twin.compare import answer_of as ask
from tests.twin.pairs import Pair, Pairs
from tests.twin.rows import Connection

LINES = ("order_id", "sku", "qty")
MAY = {
    "clerk": May(
        insert={"orders": ("id", "region", "note", "amount"), "lines": LINES},
        update={"orders": ("region", "note", "amount"), "lines": ("qty",)},
        delete=("lines",),
    ),
    "own": May(insert={"orders": ("id", "region", "note")}, update={"orders": ("note",), "lines": ("qty",)}, delete=()),
    "boss": May(
        insert={"orders": ("id", "region", "note", "amount", "owner", "stars"), "lines": LINES},
        update={"orders": ("region", "note", "amount", "owner", "stars"), "lines": ("qty",)},
        delete=("lines",),
    ),
    "helper": May(insert={}, update={"orders": ("note", "amount", "region")}, delete=()),
}
"""What each caller may do to every row that is seen, so that the twin needs no rules of its own."""
STRAYS = {
    "clerk": "SELECT 1 FROM shop.orders WHERE region NOT IN ('EU', 'US') OR amount = 13.5",
    "own": "SELECT 1 FROM shop.orders WHERE (region <> 'EU' AND owner IS DISTINCT FROM 'own3') OR amount = 13.5",
    "boss": "SELECT 1 WHERE false",
    "helper": "SELECT 1 FROM shop.orders WHERE region <> 'US' OR amount = 13.5",
}
ORPHANS = "SELECT 1 FROM shop.lines WHERE order_id IS NULL OR order_id NOT IN (SELECT id FROM shop.orders)"
"""Rows of the twin that the policy would not have let come to be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller's pair, what the caller can name, and a connection that sees everything."""

    pair: Pair
    known: dict[str, Columns]
    merges: bool


@pytest.fixture(scope="module")
def asked(postgres: EmbeddedPostgres) -> Iterator[dict[str, Asked]]:
    """The shop, with a pair for each caller."""
    dsn = postgres.create_database("written")
    with psycopg.connect(dsn) as connection:
        shop.load(connection)
    with Pairs(postgres, dsn, shop.POLICIES, shop.WORLD) as pairs:
        found = {who: pairs.pair(shop.CALLERS[who]) for who in MAY}
        merges = pairs.gate.catalog.server_version >= 170000
        yield {who: Asked(pair, relations(pair.twin, "shop"), merges) for who, pair in found.items()}
    postgres.drop_database("written")


@dataclass(frozen=True, slots=True)
class _After:
    """A statement's answer, what is seen afterwards, and (on the real database) all that is there."""

    answer: Outcome
    seen: dict[str, Outcome]
    behind: Counter[tuple[object, ...]]


def _behind(connection: Connection) -> Counter[tuple[object, ...]]:
    """What is in the orders, but for what triggers and generation change with a row."""
    columns = "id, region, owner, note, amount, stars, secret"
    return Counter(connection.execute(f"SELECT {columns} FROM shop.orders").fetchall())


def _through_gate(asked: Asked, text: str) -> _After:
    real = asked.pair.real
    with real.transaction(force_rollback=True):
        answer = gated(asked.pair.session, real, text)
        seen = {name: gated(asked.pair.session, real, _select(name, asked)) for name in asked.known}
        return _After(answer, seen, _behind(real))


def _select(name: str, asked: Asked) -> str:
    # What a trigger or an expression of the table makes of a row is not on the twin.
    columns = ", ".join(column for column, _ in asked.known[name] if column not in ("doubled", "touched", "secret"))
    return f"SELECT {columns} FROM shop.{name}"


def _on_twin(asked: Asked, who: str, text: str) -> tuple[_After, bool]:
    """The twin's answer, and whether a row came to be that the policy forbids."""
    twin = asked.pair.twin
    with twin.transaction(force_rollback=True):
        answer = ask(twin, text)
        seen = {name: ask(twin, _select(name, asked)) for name in asked.known}
        strays = twin.execute(STRAYS[who].encode()).fetchall()
        orphans = twin.execute(ORPHANS).fetchall() if "lines" in asked.known else []
        return _After(answer, seen, Counter()), bool(strays or orphans)


def _holds(asked: Asked, who: str, seed: int) -> str:
    """Hold one write to the twin; what became of it."""
    known = {
        name: tuple((column, kind) for column, kind in columns if column not in ("doubled", "touched", "secret"))
        for name, columns in asked.known.items()
    }
    text = WriteWriter(Random(seed), known, MAY[who], merges=asked.merges).write()
    before = _behind(asked.pair.real)
    real, (twin, forbidden) = _through_gate(asked, text), _on_twin(asked, who, text)
    told = f"{who}, seed {seed}: {difference(text, real.answer, twin.answer)}"
    if isinstance(real.answer, Failed):
        assert real.behind == before, told
        if real.answer.refused:
            return f"refused {real.answer.message}"
        if real.answer.sqlstate == "44000":
            # As in PostgreSQL, what is proposed must be insertable even where it turns into an update, or into nothing.
            assert forbidden or (who == "own" and "ON CONFLICT" in text), told
            return "44000"
        assert isinstance(twin.answer, Failed), told
        return real.answer.sqlstate
    assert not forbidden, told
    asks = "RETURNING" in text or text.startswith("WITH")
    assert not asks or _alike(real.answer, twin.answer), told
    for name, found in real.seen.items():
        assert same_answer(found, twin.seen[name]), f"{told}\n{difference(name, found, twin.seen[name])}"
    return "same" if real.behind == before else "changed"


def _alike(real: Outcome, twin: Outcome) -> bool:
    """Equal, but that the twin has none of the columns that come from expressions and triggers."""
    if isinstance(real, Failed) or isinstance(twin, Failed):
        return same_answer(real, twin)
    left_out = {place for place, (name, _) in enumerate(real.columns) if name in ("doubled", "touched", "secret")}
    return same_answer(_without(real, left_out), _without(twin, left_out))


def _without(answer: Answered, places: set[int]) -> Answered:
    kept = [place for place in range(len(answer.columns)) if place not in places]
    rows = tuple(tuple(row[place] for place in kept) for row in answer.rows)
    return Answered(tuple(answer.columns[place] for place in kept), rows)


FEW = settings(max_examples=80, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=4000)


@FEW
@given(st.sampled_from(list(MAY)), st.integers(0, 2**32))
def test_writes(asked: dict[str, Asked], who: str, seed: int) -> None:
    """A random write changes what the caller sees as it changes the twin, or fails and changes nothing."""
    _holds(asked[who], who, seed)


@pytest.mark.slow
@MANY
@given(st.sampled_from(list(MAY)), st.integers(0, 2**32))
def test_many_writes(asked: dict[str, Asked], who: str, seed: int) -> None:
    """As above, at length."""
    _holds(asked[who], who, seed)


def test_most_writes_are_carried(asked: dict[str, Asked]) -> None:
    """Agreement on refusals shows little: most writes run, many change something, some break the policy."""
    told = Counter(
        outcome.partition(" ")[0] for who in MAY for outcome in (_holds(asked[who], who, seed) for seed in range(60))
    )
    assert told["changed"] > 60, told
    assert told["44000"] > 5, told
    assert told["refused"] < 40, told


def test_what_is_not_permitted_is_refused_by_name(asked: dict[str, Asked]) -> None:
    """Columns without the right, hidden columns, and relations that may only be read."""
    session = asked["clerk"].pair.session
    for text, sqlstate, named in [
        ("UPDATE shop.orders SET stars = 1", "42501", "stars"),
        ("UPDATE shop.orders SET secret = 'x'", "42703", "secret"),
        ("UPDATE shop.lines SET sku = 'x'", "42501", "sku"),
        ("INSERT INTO shop.orders (owner) VALUES ('x')", "42501", "owner"),
        ("UPDATE shop.orders SET note = owner", "42501", "owner"),
    ]:
        with pytest.raises(Error, match=named) as caught:
            session.admit(text)
        assert caught.value.sqlstate == sqlstate, text
