"""PostgreSQL's catalogs through the gate: as if only what the caller may see existed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datagate.audit import MemorySink
from datagate.errors import Refused, UndefinedRelation
from datagate.gate import Gate, GateSession, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring

POLICIES = Path(__file__).parent.parent.parent / "policies"


class Analyst:
    """A regional analyst's session, and the superuser's own connection."""

    def __init__(self, session: GateSession, bank: psycopg.Connection[Any]) -> None:
        self.session = session
        self.bank = bank

    def ask(self, text: str, *own: object) -> list[tuple[Any, ...]]:
        """Through the gate."""
        admitted = self.session.admit(text)
        values = [list(value) if isinstance(value, tuple) else value for value in admitted.parameters]
        return self.bank.execute(admitted.text, [*own, *values]).fetchall()

    def behind(self, text: str) -> Any:
        """One value, past the gate."""
        row = self.bank.execute(text.encode()).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def analyst(bank_dsn: str) -> Iterator[Analyst]:
    """Sees customers without ssn, street and phone, and no KycReview."""
    engine = state_engine(bank_dsn)
    store = StateStore(engine)
    store.grant_role("ann", "analyst")
    store.grant_attribute("ann", "regions", ("EU",))
    keyring = Keyring({"default": b"k" * 32})
    gate = Gate.open(bank_dsn, policies=POLICIES, state=store, keyring=keyring, audit=MemorySink())
    with psycopg.connect(bank_dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as bank:
        yield Analyst(gate.session(Caller.of("ann", purpose="analytics"), frontend="test"), bank)
    engine.dispose()


def test_hidden_relations_and_columns_are_not_listed(analyst: Analyst) -> None:
    """pg_class and pg_attribute list what the caller may see, and nothing of the state."""
    names = {name for (name,) in analyst.ask("SELECT relname FROM pg_class WHERE oid >= 16384")}
    assert "customers" in names
    assert not names & {"KycReview", "consents", "entitlements", "mandates", "epochs"}
    columns = analyst.ask(
        "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = 'bank.customers'::regclass AND attnum > 0"
    )
    assert {"region", "balance"} <= {name for (name,) in columns}
    assert not {name for (name,) in columns} & {"ssn", "street", "phone"}


def test_statistics_are_closed(analyst: Analyst) -> None:
    """How many rows there are, hidden ones included, is not told; nor are values."""
    assert analyst.ask("SELECT reltuples, relpages FROM pg_class WHERE relname = 'customers'") == [(-1, 0)]
    for catalog in ("pg_stats", "pg_statistic", "pg_stat_user_tables", "pg_authid", "pg_shadow", "pg_largeobject"):
        with pytest.raises(UndefinedRelation):
            analyst.ask(f"SELECT * FROM pg_catalog.{catalog}")


def test_an_oid_tells_a_name_only_of_what_is_visible(analyst: Analyst) -> None:
    """Looking names up by guessed OIDs gives what the caller may see, and NULL for the rest."""
    hidden = analyst.behind('SELECT \'"bank"."KycReview"\'::regclass::oid::int')
    row_type = analyst.behind("SELECT reltype::int FROM pg_class WHERE relname = 'KycReview'")
    shown = analyst.behind("SELECT 'bank.customers'::regclass::oid::int")
    query = "SELECT o::oid::regclass::text, pg_table_is_visible(o::oid) FROM (VALUES ($1::int)) AS v(o)"
    assert analyst.ask(query, shown)[0][0] == "bank.customers"
    assert analyst.ask(query, hidden) == [(None, None)]
    types = "SELECT format_type(o::oid, NULL), o::oid::regtype::text FROM (VALUES ($1::int)) AS v(o)"
    assert analyst.ask(types, row_type) == [(None, None)]
    assert analyst.ask(types, 23) == [("integer", "integer")]


def test_a_name_in_a_parameter_is_found_only_where_it_is_visible(analyst: Analyst) -> None:
    """A hidden name and one that does not exist give the same: NULL."""
    query = "SELECT $1::regclass::oid::int"
    assert analyst.ask(query, "bank.customers") != [(None,)]
    assert analyst.ask(query, 'bank."KycReview"') == analyst.ask(query, "bank.nothing") == [(None,)]


def test_a_name_in_a_literal_must_be_visible(analyst: Analyst) -> None:
    """A literal names the engine's own or what the caller may see; else it is refused alike."""
    assert analyst.ask("SELECT 'pg_class'::regclass::oid::int") == [(1259,)]
    for name in ("datagate.consents", "bank.nothing"):
        with pytest.raises(Refused):
            analyst.ask(f"SELECT '{name}'::regclass")


def test_constraints_over_hidden_columns_are_hidden(analyst: Analyst) -> None:
    """A definition is shown only if every column in it exists for the caller."""
    definitions = analyst.ask("SELECT pg_get_constraintdef(c.oid, true) FROM pg_constraint c WHERE conrelid >= 16384")
    assert ("PRIMARY KEY (customer_id)",) in definitions
    assert not any("iban" in definition for (definition,) in definitions)
