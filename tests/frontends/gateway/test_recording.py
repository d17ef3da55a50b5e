"""What the gateway's audit waits for: a file on the disk, and one that cannot be written."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from datagate.audit import AuditRecord, Completion, Held, JsonLinesSink
from datagate.audit.verify import verify_files
from datagate.errors import AuditUnavailable
from tests.frontends.gateway.running import Running, make_bank

POINT = "select region from bank.customers where region = 'EU' limit 5"
MANY = "select a.customer_id, b.customer_id from bank.customers a, bank.customers b limit 20000"


class Failing:
    """A sink that waits, and from some moment on cannot keep what it holds."""

    waits = True

    def __init__(self) -> None:
        self.broken = False
        self.kept = 0

    def _check(self) -> None:
        if self.broken:
            raise AuditUnavailable("the disk is full")
        self.kept += 1

    def record(self, record: AuditRecord, instant: datetime) -> str:  # noqa: ARG002 - the protocol's
        """Keep one, or refuse."""
        self._check()
        return str(self.kept)

    def complete(self, recorded: str, completion: Completion, instant: datetime) -> None:
        """Nothing."""

    def hold(self, record: AuditRecord, instant: datetime) -> Held:  # noqa: ARG002 - the protocol's
        """Hold one."""
        return _Holding(record, self._check)


class _Holding:
    def __init__(self, record: AuditRecord, check: Callable[[], None]) -> None:
        self.record = record
        self._check = check

    def settle(self, completion: Completion, clock: Callable[[], datetime]) -> None:  # noqa: ARG002 - the protocol's
        """Fail where the sink does."""
        self._check()

    def keep(self) -> str:
        """Likewise."""
        self._check()
        return "kept"


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway with a sink that can fail."""

    gateway: Running
    sink: Failing


@pytest.fixture(scope="module")
def made(bank_dsn: str) -> str:
    """This module's bank."""
    make_bank(bank_dsn)
    return bank_dsn


@pytest.fixture(scope="module")
def failing(made: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway whose audit can fail."""
    sink = Failing()
    with Running(made, tmp_path_factory.mktemp("failing"), audit=sink) as running:
        yield Scene(running, sink)


@pytest.mark.parametrize("text", [POINT, MANY], ids=["in one piece", "in many"])
@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_nothing_leaves_that_cannot_be_recorded(failing: Scene, text: str, prepare: bool) -> None:
    """A statement that came before and runs while it is recorded gives no row once the audit fails."""
    with failing.gateway.connect("ana") as ana:
        for _ in range(4):
            assert ana.execute(text, prepare=prepare).fetchall()
        failing.sink.broken = True
        with pytest.raises(psycopg.OperationalError, match="disk is full"):
            ana.execute(text, prepare=prepare)
    failing.sink.broken = False
    with failing.gateway.connect("ana") as again:
        assert again.execute(text, prepare=prepare).fetchall()


def test_each_run_is_on_the_disk_with_its_end(made: str, tmp_path: Path) -> None:
    """Of many clients at once, whichever way their statements go."""
    path = tmp_path / "audit.jsonl"
    sink = JsonLinesSink(path)
    with Running(made, tmp_path, audit=sink) as gateway:

        def work(name: str) -> None:
            with gateway.connect(name) as connection:
                for number in range(20):
                    connection.execute(f"select region from bank.customers where customer_id = {number}").fetchall()
                    connection.execute("select count(*) from bank.customers where customer_id < %s", [number])

        threads = [threading.Thread(target=work, args=(name,)) for name in ("ana", "ada", "ana", "ada")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sink.close()
    assert verify_files(path, None).intact
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    decided = {each["id"] for each in entries if each["kind"] == "decision"}
    ended = {each["of"] for each in entries if each["kind"] == "completion"}
    ended |= {each["id"] for each in entries if each["kind"] == "decision" and "result" in each}
    assert len(decided) == 4 * 40
    assert decided == ended
