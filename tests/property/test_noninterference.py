"""Whatever is changed of what a caller does not see, nothing that the caller can observe changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datagate.backends.postgres.embedded import EmbeddedPostgres
from tests.property.hidden import COLUMNS, HIDDEN, PLANS, SEEN_COLUMNS, Bank, mentions, open_bank, told
from tests.twin.compare import answer_of


def _lines(name: str) -> list[str]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("--")]


ATTEMPTS = _lines("attempts.sql")

BLAND = "balance = 5000, full_name = NULL, email = NULL, phone = NULL, birth_date = NULL, zip = NULL, ip = NULL"
HOSTILE = (
    "balance = 777000, full_name = 'zzhostile full', email = 'zzhostile@x.example', phone = 'zz(', zip = 'zz\\',"
    " birth_date = 'infinity', ip = '255.255.255.255', ssn = 'zz', street = 'zz%'"
)


@pytest.fixture(scope="module")
def hidden_bank(postgres: EmbeddedPostgres) -> Iterator[Bank]:
    """The bank of this module."""
    yield from open_bank(postgres)


def _set(who: str, values: str) -> str:
    return f"UPDATE bank.customers AS c SET {values} WHERE {HIDDEN[who]}"


def _added(who: str) -> list[str]:
    """More hidden customers, with keys beyond every narrower type."""
    return [
        "INSERT INTO bank.customers (customer_id, region, balance, full_name)"
        f" VALUES ({number}, 'LATAM', 777000, 'zzhostile full')"
        for number in (0, -5, 2**31, 2**33, 2**63 - 1)
        if who != "stranger"
    ]


_REMOVED = (
    "DELETE FROM bank.customers AS c WHERE {} AND c.customer_id > 8"
    " AND NOT EXISTS (SELECT FROM bank.accounts a WHERE a.customer_id = c.customer_id)"
)


def _attempt(bank: Bank, who: str, attempts: list[str]) -> None:
    with bank.changed([_set(who, BLAND)]):
        bland = bank.observe(who, attempts)
    with bank.changed([_set(who, HOSTILE), *_added(who)]):
        hostile = bank.observe(who, attempts)
    found = told(bland, hostile)
    found += [f"shown: {text}" for (text, _), outcome in hostile.items() if mentions(outcome, "zzhostile")]
    with bank.changed([_REMOVED.format(HIDDEN[who])]):
        found += told(bland, bank.observe(who, attempts, ["chosen"]))
    assert not found, f"{len(found)} told\n" + "\n".join(found[:10])


@pytest.mark.parametrize("who", HIDDEN)
def test_attempts(hidden_bank: Bank, who: str) -> None:
    """No attempt that somebody thought of tells whether hidden rows are bland, hostile, more, or gone."""
    _attempt(hidden_bank, who, ATTEMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("who", HIDDEN)
def test_more_attempts(hidden_bank: Bank, who: str) -> None:
    """As above, at length."""
    _attempt(hidden_bank, who, _lines("attempts_more.sql"))


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_hidden_would_tell(hidden_bank: Bank, plan: str) -> None:
    """Without a fence the very same bank tells under every plan: the attempts aim at something."""
    open_guard = (
        "SELECT count(*) FROM (SELECT g.balance FROM bank.customers AS g WHERE g.region IN ('EU', 'US') AND EXISTS ("
        "SELECT FROM datagate.consents k WHERE k.data_subject = g.customer_id::text AND k.granted)) AS customers"
        " WHERE 1/(balance-777000) > -9"
    )
    outcomes = []
    for values in (BLAND, HOSTILE):
        with hidden_bank.changed([_set("analyst", values)]):
            for name, value in PLANS[plan].items():
                hidden_bank.real.execute(f"SET LOCAL {name} = {value}".encode())
            outcomes.append(answer_of(hidden_bank.real, open_guard))
    assert outcomes[0] != outcomes[1]


_SHORT = 5
"""No text of so few characters can be told from what is there by chance."""
_TEXTS = st.sampled_from(
    ["", "0", "zz", "zzhostile full", "zz%", "\\", "a\\", "(", "[", "{1}", "2026-01-01", "x" * 60, "ß😀", "99999999999"]
) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_VALUES = {
    "balance": st.sampled_from(["777000", "0", "1", "-1", "999999999999.99", "-999999999999.99", "'NaN'", "0.01"]),
    "birth_date": st.sampled_from(["'infinity'", "'-infinity'", "'5874897-12-31'", "'4713-01-01 BC'", "'2000-02-29'"]),
    "signup_at": st.sampled_from(["'infinity'", "'-infinity'", "'294276-12-31'", "'4713-01-01 BC'", "'2000-02-29'"]),
    "ip": st.sampled_from(["'0.0.0.0'", "'255.255.255.255'", "'::'", "'10.0.0.0/8'", "'ffff::/16'"]),
}

_RAISING = st.sampled_from(_lines("raising.sql"))

_PLACES = st.sampled_from(_lines("places.sql"))


@st.composite
def _changes(draw: st.DrawFn, who: str) -> tuple[list[str], set[str]]:
    """Random values for hidden rows, and for the hidden columns of visible ones; and the texts among them."""
    texts = set()

    def text() -> str:
        texts.add(found := draw(_TEXTS))
        return _literal(found)

    def values(columns: list[str]) -> str:
        quoted = {name: draw(_VALUES[name]) if name in _VALUES else text() for name in columns}
        return ", ".join(f"{name} = {value}" for name, value in quoted.items())

    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    changes = [_set(who, values(names)) + f" AND c.customer_id % {draw(st.integers(1, 4))} = 0"]
    unseen = sorted(COLUMNS - SEEN_COLUMNS[who])
    if unseen:
        changes.append(f"UPDATE bank.customers SET {values(unseen)}")
    if who != "stranger" and draw(st.booleans()):
        changes += _added(who)
    return changes, texts


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _holds(bank: Bank, who: str, data: st.DataObject) -> None:
    texts = data.draw(
        st.lists(st.builds(lambda place, e: place.format(e=e), _PLACES, _RAISING), min_size=3, max_size=8, unique=True)
    )
    with bank.changed([_set(who, BLAND)]):
        before = bank.observe(who, texts)
    changes, secrets = data.draw(_changes(who))
    with bank.changed(changes):
        after = bank.observe(who, texts)
    found = told(before, after)
    long = [secret for secret in secrets if len(secret) > _SHORT and not any(secret in text for text in texts)]
    found += [f"shown: {key}" for key, outcome in after.items() if any(mentions(outcome, each) for each in long)]
    assert not found, "\n".join(found)


FEW = settings(max_examples=12, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=500)


@FEW
@given(st.sampled_from(sorted(HIDDEN)), st.data())
def test_hidden_values(hidden_bank: Bank, who: str, data: st.DataObject) -> None:
    """Random values in hidden rows and cells change nothing that random statements tell, under any plan."""
    _holds(hidden_bank, who, data)


@pytest.mark.slow
@MANY
@given(st.sampled_from(sorted(HIDDEN)), st.data())
def test_many_hidden_values(hidden_bank: Bank, who: str, data: st.DataObject) -> None:
    """As above, at length."""
    _holds(hidden_bank, who, data)
