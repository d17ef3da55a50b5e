"""What statements read of consents, by bits or by answers, is what the answers say, at every instant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.backends.postgres.consents import CONSENTS, ConsentSource, consent_condition
from datagate.backends.postgres.parameters import encode
from datagate.model.decision import ConsentLive
from datagate.model.fragment import Fragment
from datagate.model.names import Purpose
from datagate.stores import StateStore
from tests.stores.chance import NUMBERS, OTHERS, Chance
from tests.twin.consents import Consents, read_answers

Connection = psycopg.Connection[Any]

CHAINS = (("tax",), ("marketing",), ("marketing.email", "marketing"), ("a.b.c", "marketing.email", "marketing"))
TAGS = ("plain", "x")
PARTIES = {"recipients.principal": ("ann", "x"), "recipients.actor": ("bot",)}
WHO = (("recipients.principal",), ("recipients.actor", "recipients.principal"))
SOURCES = {"bits": CONSENTS, "answers": ConsentSource(CONSENTS.relation)}


@pytest.fixture
def session(empty_dsn: str) -> Iterator[Connection]:
    """A new state beside tables whose key is a number, a smaller one, and a text; one row has none."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
    StateStore(engine).create()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        keys = [None, *NUMBERS, *range(-1200, 1300, 3), *range(4000, 4400)]
        for type_ in ("int8", "int4", "int2", "text"):
            fitting = [key for key in keys if key is None or type_ in {"int8", "text"} or abs(key) < 2**15]
            own = [*fitting, *OTHERS] if type_ == "text" else fitting
            connection.execute(f"CREATE TABLE of_{type_} (id {type_})".encode())
            connection.cursor().executemany(f"INSERT INTO of_{type_} VALUES (%s)".encode(), [(key,) for key in own])
        yield connection
    engine.dispose()


def asked(session: Connection, type_: str, consent: ConsentLive, source: ConsentSource) -> tuple[Any, set[str]]:
    """When it was asked, and for which keys the condition holds."""
    condition = consent_condition(consent, source, "g.id", whole=type_ != "text")
    bindings = condition.bindings
    numbers = {binding: number for number, binding in enumerate(dict.fromkeys(bindings), 1)}
    text = Fragment.of(
        "SELECT statement_timestamp(), (SELECT array_agg(g.id::text) FROM", f" of_{type_} AS g WHERE ", condition, ")"
    ).render(lambda binding: f"${numbers[binding]}::{'text' if binding.name.startswith('purpose') else 'text[]'}")
    values = tuple(PARTIES.get(binding.name, binding.name.removeprefix("purpose.")) for binding in numbers)
    sent, _ = encode(values)
    given = [None if value is None else value.decode() for value in sent]
    ((instant, keys),) = psycopg.RawCursor(session).execute(text, given).fetchall()
    return instant, set(keys or ())


@pytest.mark.parametrize("seed", range(3))
def test_the_condition_is_what_the_answers_say(session: Connection, seed: int) -> None:
    """For keys of every type, alone and up a tree, limited or not, while blocks hold and when they have ended."""
    chance = Chance(500 + seed)
    shown = 0
    for _ in range(12):
        for _ in range(4):
            session.execute(*chance.change())
        answers = read_answers(session)
        for type_ in ("int8", "int4", "int2", "text"):
            chain, who = chance.random.choice(CHAINS), chance.random.choice(WHO)
            consent = ConsentLive("id", tuple(map(Purpose, chain)), chance.random.choice(((), TAGS)), who)
            everybody = [key for (key,) in session.execute(f"SELECT id::text FROM of_{type_}".encode()).fetchall()]
            for source in SOURCES.values():
                instant, found = asked(session, type_, consent, source)
                parties = [frozenset(PARTIES[name]) for name in who]
                plain = Consents(answers, instant)
                meant = {
                    key for key in everybody if plain.given(key, consent.purposes, frozenset(consent.tags), parties)
                }
                assert found == meant
                shown += len(found)
    assert shown
