"""`why` against the per-row interpreter of the twin, which shares no code with it: every row, every caller."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from datagate.audit import MemorySink
from datagate.errors import DataError, UndefinedRelation
from datagate.frontends.cli.why import as_json
from datagate.gate import Gate, Inquiry, Why, why
from datagate.model.caller import Caller
from datagate.model.names import RelationName
from datagate.stores import StateStore
from datagate.stores.keyring import Keyring
from fixtures.bank.callers import CALLERS, world
from fixtures.bank.generate import load
from tests.twin.build import KEYS
from tests.twin.consents import Consents, answers_of
from tests.twin.pairs import record
from tests.twin.rights import Asked, Clause, Denied, Rights, rights, shows
from tests.twin.rows import Interpreter, _Answers, _Question

POLICIES = Path(__file__).parents[1] / "policies"
CUSTOMERS = 40
WORLD = world(CUSTOMERS)
BANK = RelationName("bank", "customers")


class Scene:
    """A small bank with all that is known of its callers, and a gate before it."""

    def __init__(self, dsn: str) -> None:
        self.engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
        self.store = StateStore(self.engine)
        self.gate = Gate.open(dsn, policies=POLICIES, state=self.store, keyring=Keyring(KEYS), audit=MemorySink())
        self.connection: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True)

    def why(self, caller: Caller, relation: RelationName, *key: str) -> Why:
        return why(self.gate, caller, relation, key, self.connection)


@pytest.fixture
def scene(empty_dsn: str) -> Iterator[Scene]:
    with psycopg.connect(empty_dsn) as connection:
        load(connection, CUSTOMERS)
    record(empty_dsn, WORLD)
    made = Scene(empty_dsn)
    yield made
    made.connection.close()
    made.engine.dispose()


def expected(scene: Scene, caller: Caller, relation: RelationName) -> dict[tuple[str, ...], dict[str, str]] | None:
    """By key of each visible row: how each of its columns is shown; by the interpreter. None: denied."""
    policy = scene.gate.policies.relations[relation]
    asked = Asked(policies=scene.gate.policies, caller=caller, facts=WORLD.facts(caller), instant=datetime.now(UTC))
    interpreter = Interpreter(scene.connection, asked, Consents(answers_of(WORLD), datetime.now(UTC)), KEYS)
    try:
        granted = rights(asked, policy)
    except Denied:
        return None
    question = _Question(relation, only=False)
    keys = scene.gate.catalog.relations[relation].primary_key
    for name in keys:
        question.column(name)
    interpreter._ask(question, policy, granted, [name for name, _ in policy.columns])
    answers = _Answers(scene.connection, question)
    return {
        tuple(answers.text(row, ("column", name)) or "" for name in keys): {
            name: how(name, granted, matching) for name, _ in policy.columns
        }
        for row, matching in interpreter._visible(policy, granted, answers)
    }


def how(column: str, granted: Rights, matching: list[list[Clause]]) -> str:
    """How a cell is shown, given the permits of each leg that match its row."""
    if column not in granted.columns:
        return "hidden"
    masked = False
    for leg, clauses in zip(granted.legs, matching, strict=True):
        showing = [clause.rule for clause in clauses if shows(clause.rule, column)]
        if not showing:
            return "hidden"
        masked = masked or all(rule.mask(column) is not None for rule in showing)
        masked = masked or any(clause.rule.mask(column) is not None for clause in leg.restricts)
    return "masked" if masked else "raw"


def test_every_row_and_cell_of_every_caller(scene: Scene) -> None:
    """For each caller and each row of the bank: shown or not, and raw, masked or hidden, as the interpreter has it."""
    seen = {"raw": 0, "masked": 0, "hidden": 0, "rows": 0, "hidden rows": 0, "denied": 0}
    for caller in CALLERS.values():
        for relation in scene.gate.policies.relations:
            found = scene.gate.catalog.relations[relation]
            if not found.primary_key:
                continue
            shown = expected(scene, caller, relation)
            inquiry = Inquiry(scene.gate, caller, relation, scene.connection)
            names = ", ".join(f'"{name}"::text' for name in found.primary_key)
            rows = scene.connection.execute(f'SELECT {names} FROM "{relation.schema}"."{relation.name}"').fetchall()
            for key in rows[:300]:
                answer = inquiry.row(key)
                assert answer.exists
                assert answer.shown is (shown is not None and key in shown), (caller, relation, key)
                assert (answer.denied is not None) is (shown is None)
                if shown is None:
                    seen["denied"] += 1
                elif answer.shown:
                    assert {cell.column: cell.shown for cell in answer.cells} == shown[key], (caller, relation, key)
                    seen["rows"] += 1
                    for cell in answer.cells:
                        seen[cell.shown] += 1
                        assert cell.sources or cell.shown == "hidden"
                else:
                    seen["hidden rows"] += 1
                    assert answer.hidden_by
                    assert answer.change
                    assert not any(each.holds for each in answer.hidden_by)
    assert all(seen.values()), seen


def test_a_consent_is_told_with_its_record(scene: Scene) -> None:
    """Who did not answer, who refused at a nearer purpose, and whose yes has ended: with what would change it."""
    campaigner = CALLERS["campaigner"]
    refused = scene.why(campaigner, BANK, "12")
    reasons = [each.text for each in refused.hidden_by]
    assert any("12 (customer_id) consents to marketing.email: the nearest answer is no" in each for each in reasons)
    assert any("datagate consent grant 12 marketing.email" in each for each in refused.change)
    assert any("customers.yaml" in str(source) for each in refused.hidden_by for source in each.sources)
    silent = scene.why(CALLERS["analyst"], BANK, "5")
    assert any("no answer is in force" in each.text for each in silent.hidden_by)
    behind = scene.why(CALLERS["analyst"], RelationName("bank", "accounts"), "1")
    assert any("consents to analytics" in each.text for each in (*behind.conditions, *behind.hidden_by))


def test_a_row_that_does_not_exist_is_said_to(scene: Scene) -> None:
    """Whether the relation is denied or not; a key that fits no row's is an error, as is a relation without policy."""
    for name in ("analyst", "stranger"):
        assert not scene.why(CALLERS[name], BANK, "100000").exists
    with pytest.raises(DataError, match="1 values"):
        scene.why(CALLERS["analyst"], BANK, "1", "2")
    with pytest.raises(DataError, match="no key of"):
        scene.why(CALLERS["analyst"], BANK, "x")
    with pytest.raises(UndefinedRelation):
        scene.why(CALLERS["analyst"], RelationName("bank", "nowhere"), "1")


def test_a_denied_caller_learns_what_is_missing(scene: Scene) -> None:
    """The steward reads the reason, and each way to a permit with its file and line."""
    answer = scene.why(CALLERS["stranger"], BANK, "1")
    assert answer.denied is not None
    assert answer.denied.startswith("no-permit")
    assert any("permit regional-analytics" in each and "needs role analyst" in each for each in answer.change)
    scene.store.revoke_mandate("tax-1")
    revoked = scene.why(CALLERS["accountant"], BANK, "7")
    assert revoked.denied is not None
    assert revoked.denied.startswith("mandate-revoked")
    json.dumps(as_json(revoked))


def test_composite_keys(empty_dsn: str, tmp_path: Path) -> None:
    """A key of two columns is given in the order of the primary key, each value with its own type."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.seats (day date, seat char(3), who text, PRIMARY KEY (day, seat))")
        connection.execute("INSERT INTO public.seats VALUES ('2026-01-31', '1A', 'ann'), ('2026-01-31', '2B', 'bob')")
        (tmp_path / "datagate.yaml").write_text("purposes: {flight: Flying.}\nroles: [crew]\ntags: [plain]\n")
        (tmp_path / "seats.yaml").write_text(
            "relation: public.seats\nowner: a\nwhy: A test.\ncolumns: {day: plain, seat: plain, who: plain}\nrules:\n"
            "  - permit: crew\n    to: {role: crew}\n    rows: who = 'ann'\n    show: all\n    masks: {who: redact}\n"
        )
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn))
        store = StateStore(engine)
        store.create()
        store.grant_role("cleo", "crew")
        gate = Gate.open(empty_dsn, policies=tmp_path, state=store, audit=MemorySink())
        seats = RelationName("public", "seats")
        for seat, shown in (("1A", True), ("2B", False)):
            answer = why(gate, Caller.of("cleo"), seats, ["2026-01-31", seat], connection)
            assert answer.exists
            assert answer.shown is shown
        assert not why(gate, Caller.of("cleo"), seats, ["2026-01-30", "1A"], connection).exists
        engine.dispose()
