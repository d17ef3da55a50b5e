"""Two banks that look the same to every caller here, and differ in all that is hidden from all of them.

What a caller can observe must be the same on both, or something hidden was told: by a row, a count, an error, a name.
On top, hidden texts of the first bank are canaries, ``canary:<column>:<customer>``, and hidden things are named
``canary_…``; on the second they begin with ``kanari``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine

from datagate.audit import MemorySink
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.errors import Error
from datagate.frontends import driver
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures.bank.generate import load
from tests.frontends.driver.test_dialect import PYPROJECT

POLICIES = PYPROJECT.parent / "policies"
CUSTOMERS = 60
KEYS = Keyring({"default": b"k" * 32})
SERVICE = "attacked_service"

CALLERS: Mapping[str, Caller] = {
    "analyst": Caller.of("ana", purpose="analytics"),
    "adviser": Caller.of("ada", purpose="advice"),
    "customer": Caller.of("cora", purpose="self-service"),
    "assistant": Caller.of("cora", actor="bot", actor_kind="agent", mandate="assist-1", purpose="assistance"),
    "stranger": Caller.of("zoe", purpose="analytics"),
}

# Region by number: EU, US, APAC, LATAM; customer 7 is the customer's own. Every third does not consent.
# Masks must stumble over nothing, and hidden rows hold values that no visible row has, so that oracles have an aim.
_PLANT = """
UPDATE bank.customers SET
    region = CASE WHEN customer_id = 7 THEN 'EU' ELSE (ARRAY['EU', 'US', 'APAC', 'LATAM'])[1 + customer_id % 4] END,
    full_name = 'canary:name:' || customer_id, email = 'canary:mail:' || customer_id || '@x.example',
    ssn = 'canary:ssn:' || customer_id, street = 'canary:street:' || customer_id,
    phone = 'canary:phone:' || customer_id, zip = '101' || lpad(customer_id::text, 2, '0'),
    birth_date = date '1950-03-04' + (customer_id * 367)::int, balance = customer_id * 1000 + 123.45,
    ip = ('192.0.2.' || customer_id)::inet, signup_at = timestamptz '2020-01-10 11:12:13.141592+00'
        + customer_id * interval '32 days';
UPDATE bank.customers SET balance = 777123.45, birth_date = '1888-08-08', signup_at = '1999-09-09 09:09:09.999+00'
    WHERE region IN ('US', 'LATAM') AND customer_id % 3 = 0;
UPDATE bank.accounts SET iban = 'canary:iban:' || account_id, balance = 4000 + account_id;
UPDATE bank.accounts AS a SET balance = -777 FROM bank.customers AS c
    WHERE c.customer_id = a.customer_id AND c.balance = 777123.45;
UPDATE bank.transactions SET counterparty_iban = 'canary:other:' || transaction_id,
    reference = 'canary:reference:' || transaction_id, amount = 10 * transaction_id + 1.11;
UPDATE bank.advisers SET full_name = 'Adviser ' || adviser_id, email = 'adviser' || adviser_id || '@bank.example';
UPDATE bank.notes SET customer_id = CASE WHEN note_id % 7 = 0 THEN 7 ELSE 9 END, adviser_id = 1 + note_id % 3,
    body = 'canary:body:' || note_id, details = jsonb_build_object('remark', 'canary:remark:' || note_id);
UPDATE bank."KycReview" SET "Comment" = 'canary:comment:' || "CustomerId", "RiskScore" = 20;
REFRESH MATERIALIZED VIEW bank.region_totals;
CREATE SCHEMA canary_schema;
CREATE TABLE bank.canary_vault (canary_column text PRIMARY KEY CHECK (canary_column <> 'canary:check:0'), canary_n int);
INSERT INTO bank.canary_vault SELECT 'canary:vault:' || n, n FROM generate_series(1, 5) AS n;
CREATE TABLE canary_schema.canary_table (canary_column text);
INSERT INTO canary_schema.canary_table VALUES ('canary:table:1');
CREATE SEQUENCE bank.canary_sequence START 4242;
CREATE FUNCTION public.canary_function() RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT string_agg(ssn, ',') FROM bank.customers $$;
CREATE FUNCTION public.canary_of(anyelement) RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT string_agg(ssn, ',') FROM bank.customers $$;
CREATE FUNCTION public.initcap(varchar) RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT string_agg(ssn, ',') FROM bank.customers $$;
CREATE FUNCTION public.canary_equal(text, int) RETURNS boolean LANGUAGE sql
    AS $$ SELECT EXISTS (SELECT FROM bank.customers WHERE ssn = $1) $$;
CREATE OPERATOR public.@@@ (LEFTARG = text, RIGHTARG = int, FUNCTION = public.canary_equal);
CREATE VIEW bank.canary_view AS SELECT "Comment" AS canary_column FROM bank."KycReview";
CREATE VIEW bank.notes_and_vault AS SELECT n.note_id, v.canary_column FROM bank.notes AS n, bank.canary_vault AS v;
COMMENT ON COLUMN bank."KycReview"."Comment" IS 'canary:commented:1';
COMMENT ON TABLE bank.canary_vault IS 'canary:commented:2';
ANALYZE;
"""

# Everything below is hidden from every caller of CALLERS.
_DIFFER = """
UPDATE bank.customers SET ssn = 'kanari' || customer_id, street = 'kanari' || customer_id, zip = '101' || 'zz',
    ip = ('192.0.2.' || 200 - customer_id)::inet WHERE customer_id <> 7;
UPDATE bank.customers SET full_name = 'kanari' || customer_id, phone = 'kanari' || customer_id, balance = balance + 99,
    birth_date = birth_date + 1, signup_at = signup_at + interval '7 seconds' WHERE region = 'US';
DELETE FROM bank.transactions WHERE account_id IN (SELECT account_id FROM bank.accounts WHERE balance = -777);
DELETE FROM bank.accounts WHERE balance = -777;
DELETE FROM bank.customers WHERE birth_date IN ('1888-08-08', '1888-08-09');
INSERT INTO bank.customers (customer_id, full_name, region, balance, birth_date)
    SELECT 9000000000 + n, 'kanari', 'US', 555000, '1777-07-07' FROM generate_series(1, 40) AS n;
UPDATE bank.accounts AS a SET iban = 'kanari' || account_id FROM bank.customers AS c
    WHERE c.customer_id = a.customer_id AND c.region IN ('US', 'LATAM');
UPDATE bank.transactions SET counterparty_iban = 'kanari', reference = 'kanari' WHERE account_id NOT IN
    (SELECT account_id FROM bank.accounts WHERE customer_id = 7);
UPDATE bank.notes SET body = 'kanari', details = '{"remark": "kanari"}' WHERE customer_id <> 7 AND adviser_id <> 1;
UPDATE bank."KycReview" SET "Comment" = 'kanari';
DROP TABLE bank.canary_vault CASCADE;
DROP SCHEMA canary_schema CASCADE;
DROP SEQUENCE bank.canary_sequence;
DROP VIEW bank.canary_view;
COMMENT ON COLUMN bank."KycReview"."Comment" IS NULL;
ANALYZE;
"""


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a caller can learn from one statement, but for how long it took."""

    outcome: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    count: int
    notices: tuple[str, ...]

    @property
    def sqlstate(self) -> str:
        """How it was refused; empty where it was not."""
        found = _SQLSTATE.match(self.outcome)
        return found[1] if found is not None else ""

    @property
    def told(self) -> str:
        """All of it as one text."""
        return "\n".join((self.outcome, *self.columns, *self.rows, *self.notices))


_SQLSTATE = re.compile(r"\w+ ([0-9A-Z]{5}): ")


@dataclass(slots=True)
class Bank:
    """One bank behind its gate."""

    owner: str
    service: str
    store: StateStore
    engine: Engine
    gate: Gate
    audit: MemorySink

    @contextmanager
    def connected(self, caller: str, *, least_privileged: bool) -> Iterator[driver.Connection[Any]]:
        """A caller's connection."""
        dsn = self.service if least_privileged else self.owner
        with driver.connect(dsn, caller=CALLERS[caller], gate=self.gate, autocommit=True) as connection:
            yield connection

    def behind(self) -> Mapping[str, str]:
        """What hides in it, as one who is not held by the gate sees it."""
        looks = {
            "customers": "SELECT * FROM bank.customers WHERE region = 'US' ORDER BY 1",
            "accounts": "SELECT * FROM bank.accounts ORDER BY 1",
            "transactions": "SELECT * FROM bank.transactions ORDER BY 1, 2",
            "notes": "SELECT * FROM bank.notes ORDER BY 1",
            "reviews": """SELECT * FROM bank."KycReview" ORDER BY 1""",
            "names": "SELECT relname FROM pg_class WHERE oid >= 16384 ORDER BY 1",
        }
        with psycopg.connect(self.owner) as connection:
            return {name: repr(connection.execute(text.encode()).fetchall()) for name, text in looks.items()}

    def close(self) -> None:
        """End what it keeps open."""
        self.engine.dispose()


def observe(
    connection: driver.Connection[Any], text: str | bytes, parameters: Sequence[Any] | None = None
) -> Observation:
    """What an attacker sees of one statement."""
    return observe_call(connection, lambda: connection.execute(text, parameters))


def observe_call(connection: driver.Connection[Any], call: Callable[[], object]) -> Observation:
    """The same of any call: one that gives a cursor, or anything with a repr."""
    notices: list[str] = []

    def listen(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(_everything(diagnostic))

    connection.add_notice_handler(listen)
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    count = -1
    try:
        result = call()
        outcome = "done"
        if isinstance(result, psycopg.Cursor):
            count = result.rowcount
            outcome = result.statusmessage or ""
            if result.description is not None:
                columns = tuple(column.name for column in result.description)
                rows = tuple(sorted(map(repr, result.fetchall())))
        else:
            rows = (repr(result),)
    except Error as error:
        outcome = f"{type(error).__name__} {error.sqlstate}: {error} {error.args} {error.position}"
        if isinstance(error.__cause__ or error.__context__, psycopg.Error):
            outcome += " canary:hanging:0"  # the server's own words are in reach
    finally:
        connection.remove_notice_handler(listen)
    return Observation(outcome, columns, rows, count, tuple(notices))


def _everything(diagnostic: psycopg.errors.Diagnostic) -> str:
    fields = ("severity", "sqlstate", "message_primary", "message_detail", "message_hint", "context", "internal_query")
    return " ".join(str(getattr(diagnostic, field)) for field in fields)


_TOKEN = re.compile(r"(canary:(\w+):(\d+)|kanari\w*)", re.IGNORECASE)
_MAY_SEE: Mapping[str, Callable[[str, int], bool]] = {
    "analyst": lambda _column, _number: False,
    "stranger": lambda _column, _number: False,
    "adviser": lambda column, number: (
        (column in ("name", "mail", "phone") and (number % 4 in (0, 2) or number == 7))
        or (column in ("body", "remark") and number % 3 == 0)
    ),
    "customer": lambda column, number: (
        (column in ("name", "mail", "ssn", "street", "phone") and number == 7)
        or (column == "body" and number % 7 == 0)
        or column in ("iban", "other", "reference")
    ),
    "assistant": lambda column, number: column == "name" and number == 7,
}
"""Which canaries are no secret to whom; the customer's own accounts are told apart by comparing the two banks."""


def canaries(caller: str, told: str) -> list[str]:
    """The canaries in a text that this caller may not see."""
    found = []
    for token, column, number in _TOKEN.findall(told):
        if not column or not _MAY_SEE[caller](column.lower(), int(number)):
            found.append(token)
    return found


def build(server: EmbeddedPostgres, names: tuple[str, str]) -> tuple[Bank, Bank]:
    """Both banks on a server."""
    first = server.create_database(names[0])
    with psycopg.connect(first, autocommit=True) as connection:
        load(connection, CUSTOMERS)
        connection.execute(_PLANT)
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (SERVICE,)).fetchone() is None:
            connection.execute(f"CREATE ROLE {SERVICE} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA bank TO {SERVICE}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA bank TO {SERVICE}")
    engine = state_engine(first)
    store = StateStore(engine)
    store.create()
    _grant(store)
    engine.dispose()
    second = server.create_database(names[1], template=names[0])
    with psycopg.connect(second, autocommit=True) as connection:
        connection.execute(_DIFFER)
    return _open(first), _open(second)


def _open(owner: str) -> Bank:
    engine = state_engine(owner)
    store = StateStore(engine)
    store.grant_service_role(SERVICE)
    audit = MemorySink()
    gate = Gate.open(owner, policies=POLICIES, state=store, keyring=KEYS, audit=audit)
    return Bank(owner, make_conninfo(owner, user=SERVICE), store, engine, gate, audit)


def _grant(store: StateStore) -> None:
    for principal, role in (("ana", "analyst"), ("ada", "adviser"), ("cora", "customer")):
        store.grant_role(principal, role)
    store.grant_attribute("ana", "regions", ("EU", "US"))
    store.grant_attribute("ada", "regions", ("EU", "APAC"))
    store.grant_attribute("ada", "adviser_id", 1)
    store.grant_attribute("cora", "customer_id", 7)
    purposes, parameters = ["assistance"], {"customer_id": 7}
    store.issue_mandate("cora", "bot", "assistant", purposes=purposes, parameters=parameters, mandate_id="assist-1")
    store.give_consents([str(number) for number in range(1, CUSTOMERS + 1) if number % 3], "analytics")
