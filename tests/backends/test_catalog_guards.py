"""PostgreSQL's catalogs through the gate: as if only what the caller may see existed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datagate.audit import MemorySink
from datagate.errors import UndefinedRelation
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
    counted = "heap_blks_read, heap_blks_hit, idx_blks_read, toast_blks_hit, tidx_blks_read"
    told = analyst.ask(f"SELECT relname::text, {counted} FROM pg_statio_all_tables WHERE schemaname = 'bank'")
    assert ("customers", None, None, None, None, None) in told
    assert "KycReview" not in {name for name, *_ in told}


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
        with pytest.raises(UndefinedRelation):
            analyst.ask(f"SELECT '{name}'::regclass")


def test_constraints_over_hidden_columns_are_hidden(analyst: Analyst) -> None:
    """A definition is shown only if every column in it exists for the caller."""
    definitions = analyst.ask("SELECT pg_get_constraintdef(c.oid, true) FROM pg_constraint c WHERE conrelid >= 16384")
    assert ("PRIMARY KEY (customer_id)",) in definitions
    assert not any("iban" in definition for (definition,) in definitions)


def test_constraints_are_described_where_they_are_seen(analyst: Analyst) -> None:
    """The comment on a constraint shows with it, and hides with it."""
    constraints = "SELECT conname, oid FROM pg_constraint WHERE conrelid = 'bank.{}'::regclass AND contype = 'p'"
    with analyst.bank.transaction(force_rollback=True):
        for table, key in (("customers", "customers_pkey"), ("notes", "notes_pkey")):
            assert analyst.behind(constraints.format(table)) == key
            analyst.bank.execute(f"COMMENT ON CONSTRAINT {key} ON bank.{table} IS 'the key of {table}'".encode())
        told = analyst.ask("SELECT description FROM pg_description WHERE description LIKE 'the key of %'")
        assert told == [("the key of customers",)]
        named = "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'customers_pkey'"
        assert analyst.ask(named) == [("the key of customers",)]


def test_columns_of_an_index_over_a_hidden_column_are_hidden(analyst: Analyst) -> None:
    """An index depends on its visible columns too, as a sequence on its own; its columns are named after them all."""
    analyst.bank.execute("CREATE INDEX beside ON bank.customers (region, ssn)")
    try:
        index = analyst.behind("SELECT 'bank.beside'::regclass::oid::int")
        # The catalog was read before the index was made; pg_attribute itself is asked at run time.
        assert analyst.ask("SELECT attname FROM pg_attribute WHERE attrelid = $1::int::oid", index) == []
    finally:
        analyst.bank.execute("DROP INDEX bank.beside")


def test_checks_are_counted_as_they_are_seen(analyst: Analyst) -> None:
    """Relchecks counts the CHECK constraints whose columns all exist for the caller."""
    analyst.bank.execute("ALTER TABLE bank.customers ADD CONSTRAINT hush CHECK (ssn <> region)")
    try:
        seen = "SELECT count(*)::int FROM pg_constraint WHERE contype = 'c' AND conrelid = 'bank.customers'::regclass"
        counted = "SELECT relchecks::int FROM pg_class WHERE oid = 'bank.customers'::regclass"
        assert analyst.ask(counted) == analyst.ask(seen)
        assert analyst.behind(counted) > analyst.ask(counted)[0][0]
    finally:
        analyst.bank.execute("ALTER TABLE bank.customers DROP CONSTRAINT hush")


@pytest.mark.parametrize(
    ("call", "shown", "hidden"),
    [
        ("to_regclass({})::text", "bank.customers", 'bank."KycReview"'),
        ("({} || '')::regclass::text", "bank.customers", 'bank."KycReview"'),
        ("to_regtype({})::text", "timestamp with time zone", 'bank."KycReview"'),
        ("to_regnamespace({})::text", "bank", "datagate"),
        ("has_table_privilege({}, 'select')", "bank.customers", 'bank."KycReview"'),
        ("has_column_privilege('bank.customers', {}, 'select')", "region", "ssn"),
        ("has_schema_privilege({}, 'usage')", "bank", "datagate"),
    ],
)
def test_what_is_hidden_is_answered_like_what_is_missing(analyst: Analyst, call: str, shown: str, hidden: str) -> None:
    """Functions that look names up find what the caller may see, and answer NULL for the rest."""

    def answer(name: str) -> object:
        ((value,),) = analyst.ask("SELECT " + call.format("$1::text"), name)
        return value

    assert answer(shown) is not None
    assert answer(hidden) is None
    assert answer("nothing") is None


def test_nobody_asks_about_another_role(analyst: Analyst) -> None:
    """Privileges are told of the role that the statement runs under, which is the caller's alone."""
    ask = "SELECT has_table_privilege({}, 'bank.customers', 'select')"
    assert analyst.ask(ask.format("current_user")) == [(True,)]
    assert analyst.ask(ask.format("'pg_monitor'")) == [(None,)]


def test_sizes_are_not_told(analyst: Analyst) -> None:
    """As of a table that nobody ever measured; what asks for more than sizes goes on."""
    sizes = "SELECT relname::text, pg_table_size(oid), pg_relation_size(oid) FROM pg_class WHERE relname = 'customers'"
    assert analyst.ask(sizes) == [("customers", None, None)]


def test_functions_in_pg_type_have_names(analyst: Analyst) -> None:
    """Columns that say a function show its name where PostgreSQL does: in the output, and as text."""
    shown = "SELECT typreceive, typreceive::text FROM pg_type WHERE typname = 'bool'"
    assert analyst.ask(shown) == [("boolrecv", "boolrecv")]
    assert analyst.ask("SELECT count(*) FROM pg_type WHERE typinput = 'array_in'::regproc")[0][0] > 0
    signed = "SELECT count(*) FROM pg_type WHERE typinput = 'array_in(cstring,oid,integer)'::regprocedure"
    assert analyst.ask(signed)[0][0] > 0


def test_one_sees_only_ones_own_activity(analyst: Analyst) -> None:
    """pg_stat_activity has the one row of the session, without what its statement became on its way."""
    assert analyst.ask("SELECT pid = pg_backend_pid(), query, client_addr FROM pg_stat_activity") == [
        (True, None, None)
    ]
