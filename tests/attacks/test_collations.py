"""Class 58: comparisons that fail by the collations of their columns.

What: two columns of different collations, compared; patterns on a column whose collation is not deterministic.
Why: PostgreSQL finds out when it compares, so a hidden row that it meets on its way is told by an error.
Defence: what reads a column of a collation of its own is computed behind the guard's filter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.errors import DatagateError
from datagate.frontends import driver
from datagate.gate import Gate
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.twin.build import KEYS
from tests.twin.pairs import record

POLICIES = Path(__file__).parents[2] / "policies"
CUSTOMERS = 40
# As ALTER TABLE leaves it, which a view on the columns forbids.
COLLATED = """
UPDATE pg_catalog.pg_attribute SET attcollation = CASE attname WHEN 'email' THEN '"POSIX"'::regcollation
    ELSE 'ucs_basic'::regcollation END
WHERE attrelid = 'bank.customers'::regclass AND attname IN ('full_name', 'email')
"""
CONDITIONS = ["full_name < email", "email in (full_name, 'x')", "greatest(full_name, email) is null"]


@pytest.fixture
def adviser(empty_dsn: str) -> Iterator[driver.Connection[Any]]:
    """Of the customers of some regions, whose names he sees as they are."""
    with psycopg.connect(empty_dsn) as connection:
        load(connection, CUSTOMERS)
        connection.execute(COLLATED)
    record(empty_dsn, world(CUSTOMERS))
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
    gate = Gate.open(empty_dsn, policies=POLICIES, state=StateStore(engine), keyring=Keyring(KEYS))
    with driver.connect(empty_dsn, caller=CALLERS["adviser"], gate=gate, autocommit=True) as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_hidden_rows_are_not_met(empty_dsn: str, adviser: driver.Connection[Any], condition: str) -> None:
    """A hidden customer answers as one that does not exist; one that is seen, as PostgreSQL does."""
    seen = {number for (number,) in adviser.execute("select customer_id from bank.customers")}
    hidden = next(number for number in range(1, CUSTOMERS + 1) if number not in seen)
    asked = f"select count(*) from bank.customers where customer_id = %s and {condition}"
    for number in (hidden, CUSTOMERS + 1):
        assert adviser.execute(asked, [number]).fetchone() == (0,)
    with psycopg.connect(empty_dsn) as owner, pytest.raises(psycopg.Error) as meant:
        owner.execute(asked, [min(seen)])
    with pytest.raises(DatagateError) as told:
        adviser.execute(asked, [min(seen)])
    assert told.value.sqlstate == meant.value.sqlstate
