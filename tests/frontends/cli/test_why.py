"""`datagate why` in a shell: what a steward reads of one row, as a table and as JSON."""

from __future__ import annotations

import json

from datagate.gate import state_engine
from datagate.stores import StateStore
from tests.frontends.cli.conftest import Bank, Run


def test_why(bank: Bank, run: Run) -> None:
    """A hidden row comes with rule, file and line, and what would change it; a shown one with each of its cells."""
    engine = state_engine(bank.owner)
    store = StateStore(engine)
    store.grant_role("ana", "analyst")
    store.grant_attribute("ana", "regions", ("EU", "US", "APAC", "LATAM"))
    options = f"--as ana --purpose analytics {bank.options}"
    callers_own = run(f"why bank.customers 1 {options}")
    assert callers_own.code == 1
    assert "why needs a steward's connection" in callers_own.err
    options = options.replace(bank.service, bank.owner)
    hidden = run(f"why bank.customers 1 {options}")
    assert hidden.code == 0, hidden.err
    assert "bank.customers 1 is hidden" in hidden.out
    assert "no answer is in force" in hidden.out
    assert "customers.yaml:" in hidden.out
    assert "would change it: consent of 1: datagate consent grant 1 analytics" in hidden.out
    store.give_consent("1", "analytics")
    engine.dispose()
    shown = run(f"why bank.customers 1 {options}")
    assert "bank.customers 1 is shown" in shown.out
    assert "***" in shown.out or "redact" in shown.out
    answer = json.loads(run(f"why bank.customers 1 --format json {options}").out)
    assert answer["shown"] is True
    cells = {each["column"]: each["shown"] for each in answer["cells"]}
    assert (cells["region"], cells["full_name"], cells["ssn"]) == ("raw", "masked", "hidden")
    assert "there is no such row" in run(f"why bank.customers 999999 {options}").out
    assert run(f"why nowhere 1 {options}").code == 2
