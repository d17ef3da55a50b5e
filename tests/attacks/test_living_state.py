"""Class 53: state that changes while somebody works: consent taken back, mandates that rest, are used up, or misheld.

What: going on in an old transaction after a data subject took consent back; more sessions than a mandate has uses;
another kind of actor than it is for.
Why: an old snapshot shows the consents of before; uses are counted outside of the statement.
Defence: the check looks past the snapshot for the purposes that the statement reads; uses are counted under a lock.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from datagate.errors import Refused, RightsChanged
from datagate.frontends import driver
from datagate.model.caller import Caller
from tests.attacks.arena import Bank

COUNT = "select count(*) from bank.customers"
OLD = [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
MANDATE: dict[str, Any] = {"purposes": ["assistance"], "parameters": {"customer_id": 7}}


def counted(bank: Bank, caller: Caller) -> object:
    """The answer that a new session of the caller gets."""
    with driver.connect(bank.service, caller=caller, gate=bank.gate) as connection:
        return connection.execute(COUNT).fetchone()


@pytest.mark.parametrize("level", OLD)
@pytest.mark.parametrize("purpose", ["marketing", "marketing.email"])
def test_consent_taken_back_in_an_old_snapshot(bank: Bank, level: psycopg.IsolationLevel, purpose: str) -> None:
    """The next statement of the transaction is refused; that of the next transaction counts one less."""
    bank.store.give_consent("3", purpose)
    with driver.connect(bank.service, caller=Caller.of("ana", purpose="marketing.email"), gate=bank.gate) as connection:
        connection.isolation_level = level
        before = connection.execute(COUNT).fetchone()
        assert before is not None
        bank.store.give_consent("23", "marketing.phone")
        assert connection.execute(COUNT).fetchone() == before
        bank.store.withdraw_consent("23", purpose)
        bank.store.withdraw_consent("3", purpose)
        with pytest.raises(RightsChanged):
            connection.execute(COUNT)
        connection.rollback()
        after = connection.execute(COUNT).fetchone()
        assert after is not None
        assert after[0] <= before[0]


def test_a_limited_yes_is_no_yes_to_more(bank: Bank) -> None:
    """Limited to other categories or recipients, the same yes shows the row no more, and a wider one does not help."""
    ana = Caller.of("ana", purpose="marketing.email")
    bank.store.give_consent("5", "marketing.email")
    bank.store.give_consent("5", "marketing")
    with_all = counted(bank, ana)
    answers: list[dict[str, Any]] = [
        {"categories": ["name", "email", "identifier", "plain"]},
        {"recipients": ["analyst"]},
        {"recipients": ["ana"]},
    ]
    for limits in answers:
        bank.store.give_consent("5", "marketing.email", **limits)
        assert counted(bank, ana) == with_all
    refused: list[dict[str, Any]] = [
        {"categories": ["name"]},
        {"categories": []},
        {"recipients": ["zoe"]},
        {"recipients": []},
    ]
    for limits in refused:
        bank.store.give_consent("5", "marketing.email", **limits)
        assert counted(bank, ana) != with_all
    bank.store.withdraw_consent("5", "marketing.email")
    bank.store.withdraw_consent("5", "marketing")


def test_a_mandate_is_used_up(bank: Bank) -> None:
    """As many sessions as it has uses, each with as many statements as it likes; an explanation is no use."""
    bank.store.issue_mandate("cora", "bot", "assistant", **MANDATE, max_uses=2, mandate_id="used-1")
    caller = Caller.of("cora", actor="bot", actor_kind="agent", mandate="used-1", purpose="assistance")
    bank.gate.session(caller, frontend="test").explain(COUNT)
    with driver.connect(bank.service, caller=caller, gate=bank.gate) as connection:
        for text in (COUNT, f"{COUNT} where true", COUNT):
            assert connection.execute(text).fetchone() == (1,)
        assert counted(bank, caller) == (1,)
        with pytest.raises(Refused, match="not in force"):
            counted(bank, caller)
        assert bank.audit.records[-1].reason == "mandate-used-up: mandate used-1"
        bank.store.grant_role("cora", "customer")
        connection.rollback()
        assert connection.execute(COUNT).fetchone() == (1,)
    assert bank.store.uses_of("used-1") == 2


def test_a_mandate_rests(bank: Bank) -> None:
    """From the next statement on it gives nothing, until it is resumed."""
    bank.store.issue_mandate("cora", "bot", "assistant", **MANDATE, mandate_id="rest-1", actor_kinds=["agent"])
    caller = Caller.of("cora", actor="bot", actor_kind="agent", mandate="rest-1", purpose="assistance")
    with driver.connect(bank.service, caller=caller, gate=bank.gate, autocommit=True) as connection:
        assert connection.execute(COUNT).fetchone() == (1,)
        bank.store.suspend_mandate("rest-1")
        with pytest.raises(Refused, match="not in force"):
            connection.execute(COUNT)
        bank.store.resume_mandate("rest-1")
        assert connection.execute(COUNT).fetchone() == (1,)
    with pytest.raises(Refused, match="not in force"):
        counted(bank, Caller.of("cora", actor="bot", actor_kind="person", mandate="rest-1", purpose="assistance"))
    assert str(bank.audit.records[-1].reason).startswith("mandate-actor-kind")
