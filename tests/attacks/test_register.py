"""Every attack of the register, on both banks, by a role that only the gate holds back, and by one that may read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from datagate.frontends import driver
from tests.attacks.arena import Bank, Observation, canaries, observe
from tests.attacks.reading import Attack, Statement, read_all

ATTACKS = read_all()
LASTING = ("set ", "begin", "start ", "savepoint ", "commit", "reset ", "prepare ", "declare ", "create temp")
"""How statements begin that would leave something behind on their connection."""


class Lines:
    """Connections of attackers, kept for statements that leave nothing behind."""

    def __init__(self, banks: tuple[Bank, Bank]) -> None:
        self.banks = banks
        self.xml = _has_xml(banks[0])
        self.stack = ExitStack()
        self._kept: dict[tuple[int, str, bool], driver.Connection[Any]] = {}
        self._seen: set[tuple[str, tuple[str, ...], str]] = set()

    def is_new(self, caller: str, statement: Statement) -> bool:
        """Whether this is asked for the first time: many refusals share their near miss."""
        key = (caller, statement.steps, repr(statement.parameters))
        new = key not in self._seen
        self._seen.add(key)
        return new

    def observe(
        self, which: int, caller: str, statement: Statement, *, least_privileged: bool = False
    ) -> list[Observation]:
        """What the caller sees at each step, on the first or second bank."""
        with ExitStack() as once:
            if len(statement.steps) > 1 or statement.steps[0].lower().startswith(LASTING):
                connected = self.banks[which].connected(caller, least_privileged=least_privileged)
                connection = once.enter_context(connected)
            else:
                connection = self._line(which, caller, least_privileged=least_privileged)
            return [observe(connection, text, statement.parameters) for text in statement.steps]

    def _line(self, which: int, caller: str, *, least_privileged: bool) -> driver.Connection[Any]:
        key = (which, caller, least_privileged)
        if key not in self._kept:
            connected = self.banks[which].connected(caller, least_privileged=least_privileged)
            self._kept[key] = self.stack.enter_context(connected)
        return self._kept[key]


def _has_xml(bank: Bank) -> bool:
    """Whether the server is built with libxml."""
    with psycopg.connect(bank.owner) as owner:
        try:
            owner.execute("SELECT xmlelement(NAME a)")
        except psycopg.errors.FeatureNotSupported:
            return False
    return True


@pytest.fixture(scope="module")
def lines(banks: tuple[Bank, Bank]) -> Iterator[Lines]:
    """Connections to both banks."""
    made = Lines(banks)
    with made.stack:
        yield made


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.number:02}-{attack.name}")
def test_attack(attack: Attack, lines: Lines) -> None:
    """No canary in rows, names, errors, notices; all of it the same on both banks; each refusal as it should be."""
    for statement in attack.statements:
        for caller in statement.callers:
            told = lines.observe(0, caller, statement)
            same = lines.observe(1, caller, statement)
            assert told == same, (caller, statement.steps)
            assert not [token for step in told for token in canaries(caller, step.told)], (caller, told)
            assert told[-1].sqlstate == statement.meant(xml=lines.xml), (caller, statement.steps, told[-1])
            if len(told) > 1 and statement.steps[0].startswith("set "):
                assert not told[0].sqlstate, (statement.steps, told[0])
        # A refusal by the gate is the same whatever role it has; what passes must pass with the least rights too.
        caller = statement.callers[0]
        honest = statement.near or statement
        if lines.is_new(caller, honest):
            least = lines.observe(0, caller, honest, least_privileged=True)
            assert not [token for step in least for token in canaries(caller, step.told)], (caller, least)
            assert least[-1].sqlstate == honest.meant(xml=lines.xml), (caller, honest.steps, least[-1])


def test_the_register_is_whole() -> None:
    """Classes are numbered without gaps; there are at least 40 of them and 300 statements, none of them twice."""
    assert [attack.number for attack in ATTACKS] == list(range(1, len(ATTACKS) + 1))
    texts = [(attack.name, s.steps, s.parameters, s.callers) for attack in ATTACKS for s in attack.statements]
    refused = sum(bool(s.sqlstate) for attack in ATTACKS for s in attack.statements)
    sys.stdout.write(f"\n{len(ATTACKS)} classes, {len(texts)} statements, {refused} of them refused\n")
    assert len(ATTACKS) >= 40
    assert len(texts) >= 300
    assert len(set(map(repr, texts))) == len(texts)


def test_the_two_banks_differ_behind_the_gate(banks: tuple[Bank, Bank]) -> None:
    """The comparison has an aim: a look past the gate tells the banks apart, table by table."""
    first, second = (bank.behind() for bank in banks)
    assert [name for name in first if first[name] == second[name]] == []
