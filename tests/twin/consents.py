"""What data subjects have said, read plainly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from datagate.model.names import Purpose
from fixtures.personas import World


@dataclass(frozen=True, slots=True)
class Answer:
    """A data subject's yes or no for one purpose, from an instant on, up to another (None: without end)."""

    data_subject: str
    purpose: Purpose
    granted: bool
    since: datetime
    until: datetime | None = None


class Consents:
    """All answers, as they stand at one instant."""

    def __init__(self, answers: Iterable[Answer], instant: datetime) -> None:
        self._answers: dict[tuple[str, Purpose], Answer] = {}
        for answer in sorted(answers, key=lambda one: one.since):
            live = answer.since <= instant and (answer.until is None or instant < answer.until)
            if live:
                self._answers[answer.data_subject, answer.purpose] = answer

    def given(self, data_subject: str | None, purposes: Sequence[Purpose]) -> bool:
        """Whether the nearest answer, from the purpose itself up to its root, is a yes; silence is a no."""
        if data_subject is None:
            return False
        for purpose in purposes:
            answer = self._answers.get((data_subject, purpose))
            if answer is not None:
                return answer.granted
        return False


def read_answers(connection: psycopg.Connection[Any]) -> list[Answer]:
    """What ``datagate.consents`` holds."""
    found = connection.execute("SELECT data_subject, purpose, granted, valid_from, valid_until FROM datagate.consents")
    return [Answer(str(one), Purpose(two), bool(yes), since, until) for one, two, yes, since, until in found]


def answers_of(world: World) -> list[Answer]:
    """The consents of a fixture's world."""
    return [Answer(one.data_subject, Purpose(one.purpose), one.granted, one.since, one.until) for one in world.consents]
