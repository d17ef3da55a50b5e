"""Policies that are read again: whole or not at all, and for each session's next statement."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

import datagate
from datagate.audit import MemorySink
from datagate.errors import InterfaceError, UndefinedColumn
from datagate.frontends.cli import main
from datagate.gate import Gate
from datagate.model.caller import Caller
from datagate.stores import StateStore

ADVISER = Caller.of("ada", purpose="advice")
QUERY = "SELECT phone FROM bank.customers LIMIT 1"
PHONE = "region, phone, balance, signup_at]"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """The example policies, to be changed."""
    return Path(shutil.copytree(Path(__file__).parents[1] / "policies", tmp_path / "policies"))


@pytest.fixture
def store(bank_dsn: str) -> Iterator[StateStore]:
    """An adviser."""
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(bank_dsn))
    store = StateStore(engine)
    store.grant_role("ada", "adviser")
    store.grant_attribute("ada", "regions", ("EU",))
    store.grant_attribute("ada", "adviser_id", 1)
    yield store
    engine.dispose()


def without_phone(policies: Path) -> None:
    """Advisers see no telephone numbers any more."""
    path = policies / "customers.yaml"
    text = path.read_text("utf-8")
    assert PHONE in text
    path.write_text(text.replace(PHONE, "region, balance, signup_at]"), "utf-8")


def test_new_policies_hold_for_the_next_statement(bank_dsn: str, store: StateStore, policies: Path) -> None:
    """A session that is open obeys them at its next statement; a broken file leaves what is in force, and is named."""
    gate = Gate.open(bank_dsn, policies=policies, state=store, audit=MemorySink())
    with datagate.connect(bank_dsn, caller=ADVISER, gate=gate) as connection:
        assert connection.execute(QUERY).fetchone() is not None
        before = gate.policies.version
        good = (policies / "customers.yaml").read_text("utf-8")
        (policies / "customers.yaml").write_text(good + "nonsense: 1\n", "utf-8")
        answer = gate.reload()
        assert not answer.accepted
        assert (answer.version, answer.changed) == (before, False)
        assert any("customers.yaml" in problem and "nonsense" in problem for problem in answer.problems)
        assert connection.execute(QUERY).fetchone() is not None
        (policies / "customers.yaml").write_text(good, "utf-8")
        without_phone(policies)
        answer = gate.reload()
        assert answer.accepted
        assert answer.changed
        assert gate.policies.version == answer.version != before
        with pytest.raises(UndefinedColumn):
            connection.execute(QUERY)


def test_an_open_cursor_does_not_outlive_its_policies(bank_dsn: str, store: StateStore, policies: Path) -> None:
    """FETCH from a cursor that was declared under the old policies is refused."""
    gate = Gate.open(bank_dsn, policies=policies, state=store, audit=MemorySink())
    with datagate.connect(bank_dsn, caller=ADVISER, gate=gate) as connection, connection.cursor("c") as cursor:
        cursor.execute("SELECT phone FROM bank.customers")
        cursor.fetchmany(2)
        without_phone(policies)
        assert gate.reload().accepted
        with pytest.raises(datagate.RightsChanged):
            cursor.fetchmany(2)
        connection.rollback()


def test_examples_that_fail_are_no_policies(bank_dsn: str, store: StateStore, policies: Path) -> None:
    """What does not do as its examples say is not put in force."""
    gate = Gate.open(bank_dsn, policies=policies, state=store, audit=MemorySink())
    path = policies / "advisers.yaml"
    path.write_text(path.read_text("utf-8").replace("sees: [uma, liv]", "sees: [uma]"), "utf-8")
    assert not gate.reload().accepted


def awaited(act: Callable[[], object]) -> datagate.Reloaded:
    """What the gate's own threads read after something was done."""
    done = threading.Event()
    answers: list[datagate.Reloaded] = []
    read = Gate.reload

    def noted(self: Gate) -> datagate.Reloaded:
        answers.append(read(self))
        done.set()
        return answers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "reload", noted)
        act()
        assert done.wait(30)
    return answers[-1]


def test_the_command_reaches_a_running_gate(bank_dsn: str, store: StateStore, policies: Path) -> None:
    """`datagate reload` has a gate with an open connection read its policies again."""
    gate = Gate.open(bank_dsn, policies=policies, state=store, audit=MemorySink())

    def command() -> None:
        without_phone(policies)
        with pytest.raises(SystemExit) as ended:
            main(["reload", "--state", bank_dsn])
        assert not ended.value.code

    with datagate.connect(bank_dsn, caller=ADVISER, gate=gate) as connection:
        assert connection.execute(QUERY).fetchone() is not None
        assert awaited(command).changed
        with pytest.raises(UndefinedColumn):
            connection.execute(QUERY)


def test_files_are_watched(bank_dsn: str, store: StateStore, policies: Path) -> None:
    """With ``watch`` a change of the files is enough; without a directory there is nothing to read again."""
    with pytest.MonkeyPatch.context() as patch:
        answers: list[datagate.Reloaded] = []
        done = threading.Event()
        read = Gate.reload

        def noted(self: Gate) -> datagate.Reloaded:
            answers.append(read(self))
            done.set()
            return answers[-1]

        patch.setattr(Gate, "reload", noted)
        gate = Gate.open(bank_dsn, policies=policies, state=store, audit=MemorySink(), watch=True)
        without_phone(policies)
        assert done.wait(30)
        gate.close()
    assert answers[-1].changed
    closed = Gate.open(bank_dsn, policies=gate.policies, state=store, audit=MemorySink())
    with pytest.raises(InterfaceError):
        closed.reload()
