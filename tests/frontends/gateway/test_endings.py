"""How statements end through the gateway: recorded with rows and SQLSTATE, and cancelled when their rights end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from itertools import count

import asyncpg
import psycopg
import pytest

from datagate.audit import Completion
from datagate.frontends.gateway.pool import PoolLimits
from tests.frontends.gateway.running import Running, make_bank

_NUMBERS = count(1_000_000_000)
_SCOPE_VALUES = {"customer_id": 7}
_AS_TOM = "-c datagate.on_behalf_of=cora -c datagate.mandate="


@pytest.fixture(scope="module")
def narrow(bank_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with two connections to the server, for all of its clients."""
    make_bank(bank_dsn)
    limits = PoolLimits(size=2, per_caller=2)
    with Running(bank_dsn, tmp_path_factory.mktemp("narrow"), limits=limits) as running:
        yield running


def ended(gateway: Running, work: Callable[[], object]) -> list[tuple[str, Completion | None]]:
    """What was recorded meanwhile, and how each of that ended."""
    before = len(gateway.sink.records)
    work()
    numbers = range(before, len(gateway.sink.records))
    return [(gateway.sink.records[n].text, gateway.sink.completions.get(str(n))) for n in numbers]


@pytest.mark.parametrize("prepare", [False, True])
def test_how_statements_ended_is_recorded(narrow: Running, prepare: bool) -> None:
    """Rows are counted, an error's SQLSTATE is told, in both protocols, and each statement has its own ending."""

    def work() -> None:
        with narrow.connect() as ana:
            ana.execute("select customer_id from bank.customers order by 1 limit 7", prepare=prepare)
            with pytest.raises(psycopg.errors.InvalidTextRepresentation):
                ana.execute("select full_name::int from bank.customers", prepare=prepare)
            ana.execute("select 1 where false", prepare=prepare)

    found = [each for _, each in ended(narrow, work)]
    assert [(each.rows, each.error) if each else None for each in found] == [(7, None), (None, "22P02"), (0, None)]


def test_several_statements_have_an_ending_each(narrow: Running) -> None:
    """Of one text too, and what never ran because of an error before it ended with that error."""

    def work() -> None:
        with narrow.connect() as ana, pytest.raises(psycopg.errors.DivisionByZero):
            ana.execute("select 1 union select 2; select 1/0; select 3")

    assert [(each.rows, each.error) for _, each in ended(narrow, work) if each is not None] == [
        (2, None),
        (None, "22012"),
        (None, "22012"),
    ]


def test_a_portal_that_is_read_in_parts_ends_once(narrow: Running) -> None:
    """All of its rows are counted, whichever Execute brought them."""

    async def read() -> int:
        connection = await asyncpg.connect(**narrow.asyncpg("ana"))
        async with connection.transaction():
            query = "select customer_id from bank.customers order by 1 limit 8"
            found = [row async for row in connection.cursor(query, prefetch=3)]
        await connection.close()
        return len(found)

    counts = [each.rows for text, each in ended(narrow, lambda: asyncio.run(read())) if each and "customer_id" in text]
    assert counts == [8]


class Under:
    """A long statement of the delegate's, in a thread of its own."""

    def __init__(self, gateway: Running, mandate: str) -> None:
        gateway.store.issue_mandate(
            "cora", "tom", "tax-accountant", purposes=("tax",), parameters=_SCOPE_VALUES, mandate_id=mandate
        )
        self.gateway, self.mandate = gateway, mandate
        self.error: psycopg.Error | None = None
        self._end = next(_NUMBERS)
        self.connection = gateway.connect("tom", options=_AS_TOM + mandate)
        self.connection.execute("select 1")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.connection.execute(f"select count(*) from bank.accounts, generate_series(1, {self._end})")
        except psycopg.Error as error:
            self.error = error

    def revoked(self) -> psycopg.Error | None:
        """Revoke once it runs on the server; what came of it."""
        with psycopg.connect(self.gateway.owner, autocommit=True) as owner:
            running = "select count(*) from pg_stat_activity where state = 'active' and usename = 'gateway_service'"
            running += " and query like %s"
            while owner.execute(running, [f"%{self._end}%"]).fetchone() == (0,):
                pass
        self.gateway.store.revoke_mandate(self.mandate)
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


def test_a_statement_ends_with_its_mandate(narrow: Running) -> None:
    """It is cancelled and its client told why; the session goes on, and has no right any more."""
    under = Under(narrow, "tax-running")
    error = under.revoked()
    assert error is not None
    assert error.sqlstate == "57014"
    assert "rights" in str(error)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        under.connection.execute("select count(*) from bank.accounts")
    under.connection.close()


def test_nobody_elses_statement_is_cancelled(narrow: Running) -> None:
    """Whoever gets the connection next, or runs beside it, never meets a cancel that was meant for another."""
    stop = threading.Event()
    faults: list[psycopg.Error] = []
    served: list[int] = []

    def others() -> None:
        with narrow.connect("ada") as ada:
            while not stop.is_set():
                try:
                    served.append(ada.execute("select count(*) from bank.customers").fetchone()[0])  # type: ignore[index]
                except psycopg.Error as error:
                    faults.append(error)
                    return

    threads = [threading.Thread(target=others) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            under = Under(narrow, f"tax-among-others-{number}")
            error = under.revoked()
            under.connection.close()
            assert error is not None
            # On a busy machine the revocation may come before the statement, which then does not begin.
            assert error.sqlstate in ("57014", "42501")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults
    assert len(set(served)) == 1


def test_a_cancel_that_comes_late_hits_nobody(narrow: Running) -> None:
    """A request under way keeps its connection from everybody until the server has taken it."""
    with narrow.connect("ana") as ana, narrow.connect("ada") as ada:
        ana.execute("select 1")

        async def revoke_all() -> None:
            for client in tuple(narrow.worker._door.clients):  # type: ignore[union-attr]
                assert client.conversation is not None
                client.conversation.revoke()

        stop = threading.Event()

        def revoking() -> None:
            while not stop.is_set():
                narrow.do(revoke_all)

        thread = threading.Thread(target=revoking)
        thread.start()
        for _ in range(40):
            for connection in (ana, ada):
                with contextlib.suppress(psycopg.errors.QueryCanceled):
                    connection.execute("select count(*) from bank.customers")
        stop.set()
        thread.join()
        # Each may have been cancelled while it ran; afterwards nothing is left that could hit another.
        for _ in range(10):
            with narrow.connect("ada") as fresh:
                assert fresh.execute("select 1").fetchone() == (1,)
