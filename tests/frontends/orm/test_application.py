"""A whole application, first ungated for its administrator, then gated for each caller."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from sqlalchemy.orm import Session

from datagate.model.caller import Caller
from fixtures.market.application import create_application
from fixtures.market.callers import BOSS, CALLERS, CLERK, STRANGER
from tests.frontends.orm.conftest import Market


class Visitor:
    """Somebody with a browser."""

    def __init__(self, market: Market, caller: Caller | None) -> None:
        def opened() -> Session:
            return Session(market.plain) if caller is None else market.Session(caller=caller)

        def delegated(mandate: str) -> Session:
            return flask.abort(404) if caller is None else market.Session(caller=caller).acting_for(mandate)

        name = "bea" if caller is None else str(caller.principal)
        self._client = create_application(opened, delegated, market.store, lambda: name).test_client()

    def get(self, path: str) -> Any:
        """The answer, or its status where it is no page."""
        answer = self._client.get(path)
        return answer.json if answer.status_code == 200 else (answer.status_code, (answer.json or {}).get("error"))

    def post(self, path: str, **form: object) -> Any:
        answer = self._client.post(path, data=form)
        return answer.json if answer.status_code == 200 else (answer.status_code, (answer.json or {}).get("error"))


PAGES = (
    "/accounts/2",
    "/accounts/3",
    "/accounts/10",
    "/search?q=name 1",
    "/search?q=name 1&page=1",
    "/admin",
    "/delegations",
)


@pytest.fixture(params=["ungated", "gated"])
def administrator(market: Market, request: pytest.FixtureRequest) -> Visitor:
    return Visitor(market, None if request.param == "ungated" else BOSS)


def test_the_application_works(administrator: Visitor) -> None:
    """The application's own test: it passes for the administrator without the gate, and with it."""
    account = administrator.get("/accounts/3")
    assert (account["name"], account["email"], account["ssn"]) == ("name 3", "mail3@shop.example", "ssn-3")
    assert [order["amount"] for order in account["orders"]] == [70, 80, 90]
    assert administrator.get("/accounts/999") == (404, None)
    assert administrator.post("/accounts/3", name="changed") == {"name": "changed", "version": 2}
    assert administrator.post("/accounts/3/orders", amount=5) == {"amount": 5, "orders": 4}
    assert administrator.get("/search?q=name 1&page=1") == {
        "total": 11, "page": 1, "names": ["name 14", "name 15", "name 16", "name 17", "name 18"],
    }  # fmt: skip
    listed = administrator.get("/admin")
    assert len(listed["people"]) == 40
    assert listed["regions"][0][:2] == ["EU", 60]
    assert listed["payroll"] == 10000


def test_the_administrator_sees_the_same_with_and_without_the_gate(market: Market) -> None:
    """Page by page."""
    ungated, gated = Visitor(market, None), Visitor(market, BOSS)
    for page in PAGES:
        assert gated.get(page) == ungated.get(page), page


def test_a_clerk(market: Market) -> None:
    """A clerk has his region, masks, no numbers, and nothing of what is secret; what he may not do is refused."""
    clerk = Visitor(market, CLERK)
    account = clerk.get("/accounts/2")
    assert (account["name"], account["email"], account["ssn"]) == ("name 2", "***@shop.example", "-")
    assert [order["id"] for order in account["orders"]] == [4, 6]
    assert clerk.get("/accounts/3") == (404, None)
    assert clerk.post("/accounts/3", name="x") == (404, None)
    assert clerk.post("/accounts/2", name="mine") == {"name": "mine", "version": 2}
    assert clerk.post("/accounts/2/orders", amount=5) == {"amount": 5, "orders": 3}
    assert clerk.get("/search?q=name 1")["names"] == ["name 10", "name 12", "name 14", "name 16", "name 18"]
    assert clerk.get("/search?q=name 1")["total"] == 5
    listed = clerk.get("/admin")
    assert [each["id"] for each in listed["people"]] == list(range(2, 41, 2))
    assert [row[0] for row in listed["regions"]] == ["EU"]


def test_delegation(market: Market) -> None:
    """A clerk hands one person's affairs to a helper, who sees that person and no other until it is revoked."""
    clerk, helper = Visitor(market, CLERK), Visitor(market, Caller.of("hal", purpose="work"))
    made = clerk.post("/delegations", to="hal", person=6)["id"]
    assert {"id": made, "to": "hal", "revoked": False} in clerk.get("/delegations")
    assert helper.get("/accounts/6") == (403, "42P01")
    seen = helper.get(f"/acting/{made}/accounts/6")
    assert (seen["name"], seen["email"]) == ("name 6", "-")
    assert helper.get(f"/acting/{made}/accounts/8") == (404, None)
    assert clerk.post(f"/delegations/{made}/revoke") == {}
    assert helper.get(f"/acting/{made}/accounts/6") == (403, "42501")
    assert helper.get("/acting/nothing/accounts/6") == (403, "42501")


@pytest.mark.parametrize("name", list(CALLERS))
def test_nobody_sees_more_than_the_administrator(market: Market, name: str) -> None:
    """Each caller's pages are the administrator's, with less in them; no number of a person but for who may see it."""
    administrator, visitor = Visitor(market, None), Visitor(market, CALLERS[name])
    for number in range(1, 12):
        page = visitor.get(f"/accounts/{number}")
        if isinstance(page, tuple):
            continue
        whole = administrator.get(f"/accounts/{number}")
        assert page["name"] == whole["name"]
        assert page["ssn"] in ("-", whole["ssn"])
        assert (page["ssn"] == "-") == (CALLERS[name] is not BOSS)
        assert [each for each in page["orders"] if each["id"] not in {o["id"] for o in whole["orders"]}] == []


def test_a_stranger(market: Market) -> None:
    """For who has no rights, the application has no pages."""
    stranger = Visitor(market, STRANGER)
    for page in PAGES[:-1]:
        assert stranger.get(page) == (403, "42P01")
