"""``datagate demo``: one query as eight callers, on a bank in a PostgreSQL server of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from rich.console import Console

from datagate.audit import MemorySink
from datagate.errors import DatagateError, OperationalError
from datagate.frontends import driver
from datagate.frontends.cli.assets import bank, policies_directory
from datagate.frontends.cli.policies import private_server
from datagate.frontends.cli.results import Result, result_of
from datagate.frontends.cli.scene import Scene
from datagate.gate import Gate, state_engine
from datagate.gate.trace import Trace, trace
from datagate.model.caller import Caller
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

CUSTOMERS = 1000
SERVICE = "datagate_service"
QUERY = "SELECT * FROM bank.customers ORDER BY customer_id"
COUNT = "SELECT count(*) FROM bank.customers"
ANALYST = Caller.of("ines", purpose="analytics")

_WIDTH_ELSEWHERE = 120
_FIRST_LIFETIME = 1.0
_LIFETIMES = 5


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer whose own, accountant's and assistant's views are shown."""

    key: int
    name: str
    principal: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What the scenes share: the gate, the state, and where statements are sent."""

    gate: Gate
    store: StateStore
    records: MemorySink
    service: str
    customer: Customer
    show: Scene

    @contextmanager
    def connected(self, caller: Caller) -> Iterator[driver.Connection[Any]]:
        """The driver's connection for one caller, as the role that may only read."""
        with driver.connect(self.service, caller=caller, gate=self.gate, autocommit=True) as connection:
            yield connection

    def run(self, connection: driver.Connection[Any], statement: str = QUERY) -> Result | DatagateError:
        """The rows, or the refusal."""
        try:
            return result_of(connection.execute(statement))
        except DatagateError as error:
            return error

    def traced(self, caller: Caller) -> Trace:
        """The decision behind the query, with the places of its parts."""
        explained = self.gate.session(caller, frontend="demo").explain(QUERY)
        facts = self.gate.state.facts(caller)
        scopes = [self.gate.policies.scopes[each.scope] for each in facts.chain]
        return trace(explained.decisions[0], self.gate.policies, scopes)

    def perform(self, title: str, caller: Caller) -> None:
        """One scene: the caller connects, asks, and gets rows or a refusal."""
        with self.connected(caller) as connection:
            self.tell(title, caller, self.run(connection))

    def tell(self, title: str, caller: Caller, answer: Result | DatagateError) -> None:
        """Show a scene."""
        self.show.title(title, caller)
        if isinstance(answer, Result):
            self.show.answer(answer, self.traced(caller), CUSTOMERS)
        else:
            self.show.refusal(answer, self.records.records[-1].reason or "")


def demo() -> None:
    """Show one query as eight callers, on a bank in a PostgreSQL of its own that is gone afterwards.

    Needs no database, no root and no network.
    """
    begun = time.monotonic()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_ELSEWHERE)
    show = Scene(console)
    with private_server() as server:
        owner = server.create_database("bank")
        show.opening(server.version, CUSTOMERS, policies_directory(), SERVICE, QUERY)
        with psycopg.connect(owner, autocommit=True) as connection:
            customer = _furnish(connection)
        engine = state_engine(owner)
        store, records = StateStore(engine), MemorySink()
        _record(store, customer)
        keyring = Keyring.ephemeral(secrets.token_bytes)
        gate = Gate.open(owner, policies=policies_directory(), state=store, keyring=keyring, audit=records)
        _play(Stage(gate, store, records, server.dsn_for("bank", user=SERVICE), customer, show))
        engine.dispose()
    show.closing(time.monotonic() - begun)


def _furnish(connection: psycopg.Connection[Any]) -> Customer:
    """Load the bank, and make a role that may read it and nothing else."""
    bank().load(connection, CUSTOMERS)
    connection.execute(f"CREATE ROLE {SERVICE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
    connection.execute(f"GRANT USAGE ON SCHEMA bank TO {SERVICE}")
    connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA bank TO {SERVICE}")
    found = connection.execute(
        "SELECT customer_id, full_name FROM bank.customers"
        " WHERE region = 'EU' AND customer_id % 5 <> 0 ORDER BY customer_id LIMIT 1"
    ).fetchone()
    if found is None:
        raise OperationalError("the demo's bank has no customer in the EU; install datagate anew")
    key, name = found
    return Customer(key, name, name.split()[0].lower())


def _record(store: StateStore, customer: Customer) -> None:
    """Who is entitled to what, and who agreed: four of five customers to studies, nobody to telephone calls."""
    store.create()
    store.grant_service_role(SERVICE)
    store.grant_role("ines", "analyst")
    store.grant_attribute("ines", "regions", ("EU",))
    store.grant_role(customer.principal, "customer")
    store.grant_attribute(customer.principal, "customer_id", customer.key)
    store.give_consents((str(key) for key in range(1, CUSTOMERS + 1) if key % 5), "analytics")
    store.issue_mandate(
        customer.principal,
        "tom",
        "tax-accountant",
        purposes=["tax"],
        parameters={"customer_id": customer.key},
        mandate_id="tax-1",
    )


def _play(stage: Stage) -> None:
    her = stage.customer
    stage.perform("Ines, an analyst for the region EU", ANALYST)
    stage.perform("Ines, for a purpose that nobody consented to", Caller.of("ines", purpose="marketing.phone"))
    stage.perform(f"{her.name}, the customer herself", Caller.of(her.principal, purpose="self-service"))
    accountant = Caller.of(her.principal, actor="tom", mandate="tax-1", purpose="tax")
    stage.perform("Tom, her accountant, with a mandate for tax", accountant)
    _until_it_expires(stage)
    _until_she_revokes(stage)
    stage.perform("Zoe, a stranger", Caller.of("zoe", purpose="analytics"))
    _withdraw_consent(stage)


def _assistant(stage: Stage, mandate: str) -> Caller:
    return Caller.of(stage.customer.principal, actor="aida", actor_kind="agent", mandate=mandate, purpose="assistance")


def _issue(stage: Stage, mandate: str, lifetime: float | None) -> None:
    stage.store.issue_mandate(
        stage.customer.principal,
        "aida",
        "assistant",
        purposes=["assistance"],
        parameters={"customer_id": stage.customer.key},
        valid_until=None if lifetime is None else stage.store.now() + timedelta(seconds=lifetime),
        mandate_id=mandate,
    )


def _until_it_expires(stage: Stage) -> None:
    """The assistant asks, waits for the end of its mandate, and asks again on the same connection."""
    for attempt in range(_LIFETIMES):
        lifetime = _FIRST_LIFETIME * 3**attempt
        mandate = f"assist-{attempt + 1}"
        caller = _assistant(stage, mandate)
        with stage.connected(caller) as connection:
            ends = time.monotonic() + lifetime
            _issue(stage, mandate, lifetime)
            answer = stage.run(connection)
            if isinstance(answer, DatagateError):
                continue  # a machine so slow that the mandate ended before the answer came
            traced = stage.traced(caller) if time.monotonic() < ends - lifetime / 2 else None
            if traced is None:
                continue
            stage.show.title("Aida, her AI assistant, with a narrower mandate", caller)
            stage.show.answer(answer, traced, CUSTOMERS)
            time.sleep(max(0.0, ends - time.monotonic()) + 0.05)
            stage.tell("Aida on the same connection, after the mandate expired", caller, stage.run(connection))
            return
    raise OperationalError("this machine is too slow to show a mandate that expires")


def _until_she_revokes(stage: Stage) -> None:
    """The assistant has a new mandate, which works until it is revoked."""
    caller = _assistant(stage, "assist-new")
    _issue(stage, "assist-new", None)
    with stage.connected(caller) as connection:
        before = stage.run(connection)
        stage.store.revoke_mandate("assist-new")
        stage.show.title("Aida under a new mandate, after that was revoked", caller)
        if isinstance(before, Result):
            stage.show.remark(
                f"{len(before.rows)} row before; then the mandate is revoked, and on the same connection:"
            )
        after = stage.run(connection)
        if isinstance(after, DatagateError):
            stage.show.refusal(after, stage.records.records[-1].reason or "")
        else:
            stage.show.answer(after, stage.traced(caller), CUSTOMERS)


def _withdraw_consent(stage: Stage) -> None:
    """One consent is withdrawn, and the same analyst's count falls by one."""
    with stage.connected(ANALYST) as connection:
        before = stage.run(connection, COUNT)
        stage.store.withdraw_consent(str(stage.customer.key), "analytics")
        after = stage.run(connection, COUNT)
    for answer in (before, after):
        if isinstance(answer, DatagateError):
            raise answer
    stage.show.withdrawal(COUNT, stage.customer.name, stage.customer.key, _number(before), _number(after))


def _number(answer: Result | DatagateError) -> str:
    return str(answer.rows[0][0]) if isinstance(answer, Result) else ""
