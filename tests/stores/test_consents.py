"""Consents: one answer of each data subject for each purpose."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from datagate.errors import StateError
from datagate.model.names import Purpose
from datagate.stores import Consent, StateStore
from tests.stores.conftest import NOW

DAY = timedelta(days=1)
MARKETING = Purpose("marketing")


def test_an_answer_takes_the_place_of_the_earlier_one(store: StateStore) -> None:
    """Yes, no, yes again: the last answer is the state."""
    store.give_consent("1", "marketing", valid_until=NOW + DAY)
    assert store.list_consents() == [Consent("1", MARKETING, True, NOW, NOW + DAY)]
    store.withdraw_consent("1", "marketing")
    assert store.list_consents() == [Consent("1", MARKETING, False, NOW, None)]
    store.give_consent("1", "marketing", valid_from=NOW + DAY)
    assert store.list_consents() == [Consent("1", MARKETING, True, NOW + DAY, None)]


def test_purposes_are_answered_one_by_one(store: StateStore) -> None:
    """A no for a narrower purpose stands beside the yes for the wider one, also where it is the first answer."""
    store.give_consent("1", "marketing")
    store.withdraw_consent("1", "marketing.email")
    assert [(each.purpose, each.granted) for each in store.list_consents("1")] == [
        ("marketing", True),
        ("marketing.email", False),
    ]


def test_many_answer_at_once(store: StateStore) -> None:
    """A list of data subjects is recorded in one transaction; twice the same is once; none is nothing."""
    store.give_consents(["1", "2", "2", "3"], "analytics")
    store.give_consents([], "analytics")
    store.give_consent("3", "marketing")
    assert [each.data_subject for each in store.list_consents(purpose="analytics")] == ["1", "2", "3"]
    assert [each.purpose for each in store.list_consents("3")] == ["analytics", "marketing"]


def test_one_bad_answer_spoils_the_list(store: StateStore) -> None:
    """What cannot be recorded is refused as a whole."""
    with pytest.raises(StateError, match="data subject"):
        store.give_consents(["1", ""], "analytics")
    with pytest.raises(StateError, match="purpose"):
        store.give_consent("1", "")
    with pytest.raises(StateError, match="ends before it begins"):
        store.give_consent("1", "analytics", valid_until=NOW)
    assert store.list_consents() == []


def test_whole_numbers_are_kept_as_numbers_too(bank_dsn: str) -> None:
    """What is a whole number in its canonical spelling, and fits, joins as a number; anything else is text alone."""
    spelled = [
        "0",
        "7",
        "-12",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "007",
        "+1",
        "1.0",
    ]
    spelled += ["", " 1", "1e3", "abc", "99999999999999999999", "-0"]
    with psycopg.connect(bank_dsn, autocommit=True) as connection:
        for data_subject in spelled:
            connection.execute(
                "INSERT INTO datagate.consents (data_subject, purpose, granted, valid_from)"
                " VALUES (%s, 'numbers', true, now())",
                (data_subject,),
            )
        found: dict[str, int | None] = dict(
            connection.execute(
                "SELECT data_subject, data_subject_number FROM datagate.consents WHERE purpose = 'numbers'"
            ).fetchall()
        )
    fitting = {"0": 0, "7": 7, "-12": -12, "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63)}
    assert found == {name: fitting.get(name) for name in spelled}


def test_what_narrows_by_itself(store: StateStore) -> None:
    """A yes that ends, and a no or a limited yes that begins, between two instants; nothing else."""
    begin, turn, end = NOW + timedelta(hours=1), NOW + timedelta(hours=2), NOW + timedelta(hours=3)
    store.give_consent("1", "ending", valid_until=turn)
    store.withdraw_consent("1", "refused", at=turn)
    store.give_consent("1", "limited", valid_from=turn, categories=["plain"])
    store.give_consent("1", "beginning", valid_from=turn)
    refused = Consent("1", Purpose("ended"), granted=False, valid_from=NOW, valid_until=turn)
    store.record_consents([refused])
    for purpose in ("ending", "refused", "limited"):
        assert store.turned([Purpose("other"), Purpose(purpose)], begin, end)
        assert store.turned([Purpose(purpose)], begin, turn)
        assert not store.turned([Purpose(purpose)], turn, end)
        assert not store.turned([Purpose(purpose)], NOW, begin)
    assert not store.turned([Purpose("beginning"), Purpose("ended"), Purpose("other")], NOW, end)
    assert not store.turned([], NOW, end)
