"""Reading a chain: decisions joined with how they ended, searched, and asked about one data subject."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from datagate.audit.verify import Line


@dataclass(frozen=True, slots=True)
class Event:
    """One statement as the audit has it: the decision's entry, and that of its completion, if there is one yet.

    What had ended when it was recorded has its result in the decision's own entry.
    """

    decision: dict[str, Any]
    completion: dict[str, Any] | None

    @property
    def time(self) -> datetime:
        """When it was decided."""
        return datetime.fromisoformat(self.decision["time"])

    @property
    def statement(self) -> dict[str, Any]:
        """What was asked, and by whom."""
        found: dict[str, Any] = self.decision["statement"]
        return found

    @property
    def result(self) -> dict[str, Any]:
        """How it ended; empty where that is not known."""
        found: dict[str, Any] = (self.completion or self.decision).get("result", {})
        return found


@dataclass(frozen=True, slots=True)
class Search:
    """What events are to be like; what is None is not looked at."""

    principal: str | None = None
    actor: str | None = None
    mandate: str | None = None
    purpose: str | None = None
    relation: str | None = None
    outcome: str | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, event: Event) -> bool:
        """Whether an event is like that."""
        statement = event.statement
        named = (
            (self.principal, "principal"), (self.actor, "actor"), (self.mandate, "mandate"),
            (self.purpose, "purpose"), (self.outcome, "outcome"), (self.fingerprint, "fingerprint"),
        )  # fmt: skip
        return (
            all(wanted is None or statement.get(name) == wanted for wanted, name in named)
            and (self.relation is None or self.relation in statement["relations"])
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
        )


class Closeness(Enum):
    """How a statement met a data subject.

    ``returned``: rows of theirs were returned, with the key as it is. ``within reach``: the statement read a relation
    whose data subjects are kept, and may have met their rows, in what it counted or compared or returned without the
    key; an over-approximation.
    """

    RETURNED = "returned"
    WITHIN_REACH = "within reach"


def entries(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """The entries of a chain; what is none is left to verification."""
    for line in lines:
        try:
            found = json.loads(line.content)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def events(lines: Iterable[Line]) -> Iterator[Event]:
    """Decisions in order, each with its completion."""
    order: dict[str, dict[str, Any]] = {}
    ends: dict[str, dict[str, Any]] = {}
    for entry in entries(lines):
        if entry.get("kind") == "decision":
            order[entry["id"]] = entry
        elif entry.get("kind") == "completion":
            ends[entry["of"]] = entry
    for number, decision in order.items():
        yield Event(decision, ends.get(number))


def met(found: Iterable[Event], data_subject: str) -> Iterator[tuple[Event, Closeness, tuple[str, ...]]]:
    """Which statements met a data subject, how closely, and in which relations."""
    for event in found:
        keyed = event.statement.get("keyed", [])
        if event.statement["outcome"] != "permitted" or not keyed:
            continue
        returned = event.result.get("data_subjects", {})
        exact = tuple(relation for relation, keys in returned.items() if data_subject in keys)
        if exact:
            yield event, Closeness.RETURNED, exact
        else:
            yield event, Closeness.WITHIN_REACH, tuple(keyed)
