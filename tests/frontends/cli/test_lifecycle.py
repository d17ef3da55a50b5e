"""`datagate entitle|consent|mandate|caller`: what happened, who did it and why, and how it was at a past instant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.frontends.cli.conftest import POLICIES, Run
from tests.frontends.cli.test_state import Tell, listed, tell

__all__ = ["tell"]


def test_history_tells_who_and_why(tell: Tell) -> None:
    """Each change of each kind is a line with its recorder, reason and kind of change."""
    tell("entitle grant ann --role analyst --by boss --why hired")
    tell("entitle withdraw ann --role analyst --by boss --why left")
    tell("consent grant 7 analytics --by desk --category name --evidence 'call 1'")
    tell("consent withdraw 7 analytics --by desk --why 'by letter'")
    tell("mandate issue ann bob proxy --purpose care --id m1 --by ann")
    tell("mandate suspend m1 --by ann --why 'on leave'")
    tell("mandate resume m1 --by ann")
    tell("mandate revoke m1 --by ann --why over")

    def told(command: str) -> list[tuple[str, str, str | None]]:
        return [(each["change"], each["recorded_by"], each["why"]) for each in listed(tell(f"{command} -f json"))]

    assert told("entitle history ann") == [("recorded", "boss", "hired"), ("removed", "boss", "left")]
    assert told("consent history 7") == [("recorded", "desk", None), ("withdrawn", "desk", "by letter")]
    mandate = [
        ("recorded", "ann", None),
        ("suspended", "ann", "on leave"),
        ("resumed", "ann", None),
        ("revoked", "ann", "over"),
    ]
    assert told("mandate history m1") == mandate
    assert told("caller history bob") == mandate
    assert len(told("caller history ann")) == 6
    assert listed(tell("entitle list -f json")) == []
    assert len(listed(tell("entitle list --at 2000-01-01 -f json"))) == 0
    assert "recorded_by" in tell("mandate history m1").out


def test_the_tree_shows_what_is_in_force(tell: Tell) -> None:
    """What hangs below a mandate that rests or ended is not in force, and says because of which."""
    tell("mandate issue ann bob proxy --purpose care --id m1 --sub-delegable 2 --max-uses 3 --actor-kind person")
    tell("mandate issue ann eve proxy --purpose care --id m2 --parent m1 --sub-delegable 1")
    tell("mandate issue ann bot proxy --purpose care --id m3 --parent m2")
    tell("mandate issue zoe bot proxy --purpose care --id m4")

    def states() -> dict[str, tuple[int, str]]:
        found = listed(tell("mandate tree --principal ann -f json"))
        return {each["id"]: (each["depth"], each["state"]) for each in found}

    assert states() == {"m1": (0, "in force"), "m2": (1, "in force"), "m3": (2, "in force")}
    tell("mandate suspend m1")
    assert states()["m3"] == (2, "suspended above, at m1")
    tell("mandate resume m1")
    tell("mandate revoke m2")
    assert [states()[each][1] for each in ("m1", "m2", "m3")] == ["in force", "revoked", "revoked above, at m2"]
    assert tell("mandate tree").out.splitlines()[1].startswith("  m2  ann -> eve")
    shown = {each["what"]: each["value"] for each in listed(tell("mandate show m1 -f json"))}
    assert (shown["uses"], shown["actor_kinds"], shown["state"]) == ("0 of 3", ["person"], "in force")
    assert tell("mandate show m9").err == "datagate: there is no mandate m9\n"


def test_callers_are_shown(tell: Tell) -> None:
    """What a principal has and gave, and what an actor holds."""
    tell("entitle grant ann --role analyst --attribute level=3 --until 2020-01-02 --from 2020-01-01")
    tell("mandate issue ann bob proxy --purpose care --id m1")
    assert listed(tell("caller list -f json")) == [
        {"id": "ann", "roles": ["analyst"], "mandates_given": 1, "mandates_held": 0},
        {"id": "bob", "roles": [], "mandates_given": 0, "mandates_held": 1},
    ]
    shown = [(each["what"], each["name"], each["state"]) for each in listed(tell("caller show ann -f json"))]
    assert shown == [
        ("attribute", "level", "ended"),
        ("role", "analyst", "ended"),
        ("gave", "m1", "in force"),
    ]
    assert [each["what"] for each in listed(tell("caller show bob -f json"))] == ["holds"]


def test_consents_go_out_and_come_back(tell: Tell, run: Run, tmp_path: Path) -> None:
    """What one state exports, another imports; a file that is none is refused in one line."""
    tell("consent grant 7 analytics --recipient agency --evidence e1 --until 2999-01-01")
    tell("consent withdraw 8 marketing")
    exported = tell("consent export --controller bank.example").out
    assert {each["header"]["pii_principal_id"] for each in json.loads(exported)} == {"7", "8"}
    path = tmp_path / "records.json"
    path.write_text(exported, encoding="utf-8")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert run(f"init --state {other}").code == 0
    assert run(f"consent import {path} --by mover --state {other}").out == "2 answers recorded\n"
    before = listed(tell("consent list -f json"))
    assert listed(run(f"consent list -f json --state {other}")) == before
    path.write_text("{}", encoding="utf-8")
    for wrong in (path, tmp_path / "none.json"):
        outcome = run(f"consent import {wrong} --state {other}")
        assert (outcome.code, outcome.err.count("\n")) == (1, 1)


@pytest.mark.parametrize("command", ["consent grant 7 analytics --category nonsense"])
def test_tags_are_known(tell: Tell, command: str) -> None:
    """With --policies, a category is a tag that they know."""
    policies = Path(__file__).parents[3] / "policies"
    outcome = tell(f"{command} --policies {policies}")
    assert (outcome.code, "no tag 'nonsense'" in outcome.err) == (1, True)


def test_what_somebody_has_is_shown(tell: Tell) -> None:
    """Roles and attributes with their state, values as JSON; whoever has none is told of."""
    tell("entitle add ann --role analyst --attribute 'regions=[\"EU\"]' --until 2090-01-01")
    tell("entitle add ann --role guest --until 2020-01-01 --from 2019-01-01")
    found = {each["name"]: (each["value"], each["state"]) for each in listed(tell("entitle show ann -f json"))}
    assert found == {"analyst": (None, "in force"), "regions": (["EU"], "in force"), "guest": (None, "ended")}
    tell("entitle revoke ann --role analyst")
    assert "analyst" not in tell("entitle show ann").out
    assert "no roles" in tell("entitle show nobody").err


def test_what_somebody_agreed_to_is_shown(tell: Tell) -> None:
    """Answers with their limits and state; and, over the tree of purposes, the nearest answer for each of them."""
    tell("consent add 7 marketing --recipient bob --until 2090-01-01")
    tell("consent revoke 7 marketing.email")
    (email, marketing) = sorted(listed(tell("consent show 7 -f json")), key=lambda each: each["answer"])
    assert (email["purpose"], email["answer"], email["state"]) == ("marketing.email", "no", "in force")
    assert (marketing["answer"], marketing["recipients"], marketing["categories"]) == ("yes", ["bob"], None)
    assert marketing["valid_until"] == "2090-01-01T00:00:00+00:00"
    lines = listed(tell(f"consent tree 7 --policies {POLICIES} -f json"))
    means = {each["purpose"]: (each["depth"], each["answer"], each["from"]) for each in lines}
    assert means["marketing"] == (0, "yes to bob", "marketing")
    assert means["marketing.email"] == (1, "no", "marketing.email")
    assert means["analytics"] == (0, "no answer", None)
    assert "  marketing.email  no\n" in tell(f"consent tree 7 --policies {POLICIES}").out
    assert "--policies" in tell("consent tree 7").err
    assert "answered nothing" in tell("consent show 8").err
