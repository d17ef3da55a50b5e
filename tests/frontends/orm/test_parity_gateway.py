"""The same statement and caller through gateway and session: rows, masks, refusals and audit are the same."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datagate.frontends.gateway.pool import PoolLimits
from datagate.frontends.gateway.protocol.scram import Verifier
from datagate.frontends.gateway.sockets import bind
from datagate.frontends.gateway.users import User, UserFile
from datagate.frontends.gateway.worker import Settings, Worker
from fixtures.market.callers import CALLERS
from tests.frontends.orm.conftest import Market
from tests.frontends.orm.test_parity import STATEMENTS, Outcome, by_session, recorded

PASSWORD = "correct horse"  # noqa: S105 - for users of the tests


class Served:
    """A gateway before the market, in a thread of its own."""

    def __init__(self, market: Market, folder: Path) -> None:
        self._market = market
        users = UserFile(folder / "users.json")
        for name in {each.actor.id for each in CALLERS.values()}:
            users.put(User(name=name, verifier=Verifier.of(PASSWORD, os.urandom(16)), purposes=("work", "offers")))
        self._settings = Settings(market.dsn, folder / "users.json", PoolLimits(), None)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._worker, self._port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)

    async def _start(self) -> tuple[Worker, int]:
        worker, listener = Worker(self._settings, self._market.gate), bind("127.0.0.1", 0)
        worker.start(listener)
        return worker, listener.getsockname()[1]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._worker.stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def connect(self, name: str) -> psycopg.Connection[Any]:
        """Connect as one of the callers."""
        caller = CALLERS[name]
        options = f"-c datagate.purpose={caller.purpose}"
        if caller.mandate is not None:
            options += f" -c datagate.mandate={caller.mandate} -c datagate.on_behalf_of={caller.principal}"
        where = {"host": "127.0.0.1", "port": self._port, "dbname": conninfo_to_dict(self._market.dsn)["dbname"]}
        login: Any = {**where, "user": caller.actor.id, "password": PASSWORD, "options": options}
        return psycopg.connect(make_conninfo("", **login), autocommit=True)


@pytest.fixture
def served(market: Market, tmp_path: Path) -> Iterator[Served]:
    gateway = Served(market, tmp_path)
    yield gateway
    gateway.close()


def by_gateway(market: Market, connection: psycopg.Connection[Any], statement: str) -> Outcome:
    """Through a client of the gateway; rolled back. What the server's own errors are called is psycopg's affair."""
    connection.execute("BEGIN")
    market.sink.records.clear()
    try:
        cursor = connection.execute(statement.encode())
        rows = sorted(map(repr, cursor.fetchall())) if cursor.description else []
        names = tuple(column.name for column in cursor.description or ())
        outcome: Outcome = ("rows", names, rows, cursor.rowcount)
    except psycopg.Error as error:
        outcome = (error.sqlstate, error.diag.message_primary)
    records = list(market.sink.records)
    connection.execute("ROLLBACK")
    market.sink.records[:] = records
    return outcome


@pytest.mark.parametrize("caller", list(CALLERS))
def test_gateway_and_session_agree(market: Market, served: Served, caller: str) -> None:
    """Rows, names, counts, refusals and records of each statement are the same both ways."""
    with served.connect(caller) as connection:
        for statement in STATEMENTS:
            served_rows = by_gateway(market, connection, statement)
            audited = [each[1:] for each in recorded(market)]
            frontends = {each.frontend for each in market.sink.records}
            held = by_session(market, caller, statement)
            assert (held if held[0] == "rows" else held[1:]) == served_rows, statement
            assert [each[1:] for each in recorded(market)] == audited, statement
            assert frontends == {"gateway"}, statement
