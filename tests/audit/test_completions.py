"""How statements end is recorded, however their rows come; and none come where that cannot be recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine

import datagate
from datagate.audit import AuditRecord, Completion, MemorySink
from datagate.errors import AuditUnavailable
from datagate.model.caller import Caller
from datagate.stores import StateStore
from tests.house.source import ROOT

ADVISER = Caller.of("ada", purpose="advice")
ALL = "SELECT customer_id FROM bank.customers ORDER BY customer_id LIMIT 20"


class HoldingMemory(MemorySink):
    """Holds reads, and settles them unless it is to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[AuditRecord] = []
        self.failing = False

    def record(self, record: AuditRecord, instant: datetime) -> str:
        if self.failing:
            raise AuditUnavailable("the statement cannot be recorded")
        return super().record(record, instant)

    def hold(self, record: AuditRecord, instant: datetime) -> Held:
        self.held.append(record)
        return Held(self, record, instant)


class Held:
    def __init__(self, sink: HoldingMemory, record: AuditRecord, instant: datetime) -> None:
        self.sink, self.record, self.instant = sink, record, instant

    def settle(self, completion: Completion, clock: Callable[[], datetime]) -> None:
        assert clock() >= self.instant
        self.sink.complete(self.sink.record(self.record, self.instant), completion, self.instant)


@pytest.fixture
def sink() -> HoldingMemory:
    return HoldingMemory()


@pytest.fixture
def gate(bank_dsn: str, tmp_path: Path, sink: HoldingMemory) -> datagate.Gate:
    """The bank for an adviser of all regions; the keys of customers are kept."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for each in (ROOT / "policies").iterdir():
        text = each.read_text("utf-8")
        if each.name == "customers.yaml":
            text = text.replace("\ncolumns:", "\naudit: {keys: true}\ncolumns:", 1)
        (policies / each.name).write_text(text, "utf-8")
    store = StateStore(
        create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(bank_dsn), poolclass=NullPool)
    )
    store.grant_role("ada", "adviser")
    store.grant_attribute("ada", "regions", ("EU", "US", "APAC", "LATAM"))
    return datagate.Gate.open(bank_dsn, policies=policies, state=store, audit=sink)


@pytest.fixture
def connection(bank_dsn: str, gate: datagate.Gate) -> Iterator[datagate.Connection[Any]]:
    with datagate.connect(bank_dsn, caller=ADVISER, gate=gate, autocommit=True) as opened:
        yield opened


def ends(sink: MemorySink) -> list[tuple[int | None, str | None, int]]:
    """Of each recorded statement: rows, error, and how many keys; a statement without an end fails the test."""
    return [
        (end.rows, end.error, sum(len(keys) for _, keys in end.data_subjects))
        for end in (sink.completions[str(number)] for number in range(len(sink.records)))
    ]


def test_streams(connection: datagate.Connection[Any], sink: HoldingMemory) -> None:
    """A stream's end tells what the program took of it: all, a part, or what came before an error."""
    assert len(list(connection.cursor().stream(ALL))) == 20
    assert len(list(connection.cursor().stream(ALL, size=8))) == 20
    with closing(cast("Generator[Any]", connection.cursor().stream(ALL))) as rows:
        next(rows)
    with pytest.raises(datagate.DataError):
        list(connection.cursor().stream("SELECT 1 / (customer_id - customer_id) FROM bank.customers"))
    assert ends(sink)[:2] == [(20, None, 20), (20, None, 20)]
    assert ends(sink)[2][0] == 1
    assert ends(sink)[3][1] == "22012"


def test_server_cursors(connection: datagate.Connection[Any], sink: HoldingMemory) -> None:
    """A server-side cursor's end tells the rows that were fetched by whatever method, when it is closed or reused."""
    with connection.transaction(), connection.cursor("some") as cursor:
        cursor.itersize = 3
        cursor.execute(ALL)
        cursor.fetchone()
        cursor.fetchmany(4)
        next(cursor)
        cursor.execute("SELECT customer_id FROM bank.customers LIMIT 2")
        cursor.fetchall()
    assert ends(sink) == [(8, None, 8), (2, None, 2)]


def test_copies_and_several_statements(connection: datagate.Connection[Any], sink: HoldingMemory) -> None:
    """COPY counts its rows; each of several statements in one text has its end, and one that fails ends the rest."""
    with connection.cursor().copy(f"COPY ({ALL}) TO STDOUT") as copy:
        assert len(list(copy)) == 20
    connection.execute(f"{ALL}; SELECT 1")
    with pytest.raises(datagate.DataError):
        connection.execute("SELECT 1; SELECT 1/0; SELECT 2")
    found = [(rows, error) for rows, error, _ in ends(sink)]
    assert found == [(20, None), (20, None), (1, None), (1, None), (None, "22012"), (None, "22012")]


def test_async_statements_end_too(bank_dsn: str, gate: datagate.Gate, sink: HoldingMemory) -> None:
    """The asynchronous driver records the same."""

    async def go() -> None:
        connection = await datagate.connect_async(bank_dsn, caller=ADVISER, gate=gate, autocommit=True)
        async with connection:
            assert len([row async for row in connection.cursor().stream(ALL)]) == 20
            async with connection.transaction(), connection.cursor("some") as cursor:
                await cursor.execute(ALL)
                await cursor.fetchmany(7)
            async with connection.cursor().copy(f"COPY ({ALL}) TO STDOUT") as copy:
                async for _ in copy:
                    pass
            await connection.execute(ALL)
            await connection.execute(f"{ALL}; SELECT 1")

    asyncio.run(go())
    assert [rows for rows, _, _ in ends(sink)] == [20, 7, 20, 20, 20, 1]


def test_what_only_reads_runs_beside_its_record(connection: datagate.Connection[Any], sink: HoldingMemory) -> None:
    """Plain reads are held and settled; writes, cursors and what a pipeline sends are recorded before they are sent."""
    connection.execute(ALL)
    assert len(sink.held) == 1
    with connection.transaction():
        connection.execute("DECLARE one CURSOR FOR SELECT customer_id FROM bank.customers")
        connection.execute("FETCH 1 FROM one")
    with connection.pipeline():
        connection.execute(ALL)
    with suppress(datagate.Error):
        connection.execute("UPDATE bank.customers SET email = email WHERE customer_id = 1")
    assert len(sink.held) == 1
    assert len(sink.records) >= 4


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_row_leaves_that_could_not_be_recorded(
    bank_dsn: str, gate: datagate.Gate, sink: HoldingMemory, *, asynchronous: bool
) -> None:
    """Where a read's record fails after the server has answered, the program gets the error and none of the answer."""
    if asynchronous:

        async def go() -> None:
            connection = await datagate.connect_async(bank_dsn, caller=ADVISER, gate=gate, autocommit=True)
            async with connection, connection.cursor() as cursor:
                sink.failing = True
                with pytest.raises(AuditUnavailable):
                    await cursor.execute(ALL)
                with pytest.raises(datagate.Error):
                    await cursor.fetchall()
                sink.failing = False
                assert len(await (await cursor.execute(ALL)).fetchall()) == 20

        asyncio.run(go())
        return
    with datagate.connect(bank_dsn, caller=ADVISER, gate=gate, autocommit=True) as connection:
        cursor = connection.cursor()
        sink.failing = True
        with pytest.raises(AuditUnavailable):
            cursor.execute(ALL)
        for fetch in (cursor.fetchone, cursor.fetchall, lambda: next(cursor)):
            with pytest.raises(datagate.Error):
                fetch()
        assert cursor.pgresult is None
        assert cursor.description is None
        sink.failing = False
        assert len(cursor.execute(ALL).fetchall()) == 20
