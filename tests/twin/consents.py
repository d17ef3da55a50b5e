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
    categories: frozenset[str] | None = None
    recipients: frozenset[str] | None = None

    def counts(self, tags: frozenset[str], parties: Sequence[frozenset[str]]) -> bool:
        """Whether it is a yes to showing columns of those tags to those parties, each known by several names."""
        if self.categories is not None and tags - self.categories:
            return False
        if self.recipients is not None and any(not names & self.recipients for names in parties):
            return False
        return self.granted


class Consents:
    """All answers, as they stand at one instant."""

    def __init__(self, answers: Iterable[Answer], instant: datetime) -> None:
        self._answers: dict[tuple[str, Purpose], Answer] = {}
        for answer in sorted(answers, key=lambda one: one.since):
            live = answer.since <= instant and (answer.until is None or instant < answer.until)
            if live:
                self._answers[answer.data_subject, answer.purpose] = answer

    def given(
        self,
        data_subject: str | None,
        purposes: Sequence[Purpose],
        tags: frozenset[str],
        parties: Sequence[frozenset[str]],
    ) -> bool:
        """Whether the nearest answer, from the purpose itself up to its root, is a yes that counts; silence is a no."""
        if data_subject is None:
            return False
        for purpose in purposes:
            answer = self._answers.get((data_subject, purpose))
            if answer is not None:
                return answer.counts(tags, parties)
        return False


def read_answers(connection: psycopg.Connection[Any]) -> list[Answer]:
    """What ``datagate.consents`` holds."""
    found = connection.execute(
        "SELECT data_subject, purpose, granted, valid_from, valid_until, categories, recipients FROM datagate.consents"
    )
    return [
        Answer(str(one), Purpose(two), bool(yes), since, until, _set(categories), _set(recipients))
        for one, two, yes, since, until, categories, recipients in found
    ]


def _set(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def answers_of(world: World) -> list[Answer]:
    """The consents of a fixture's world."""
    return [
        Answer(
            one.data_subject,
            Purpose(one.purpose),
            one.granted,
            one.since,
            one.until,
            _set(one.categories),
            _set(one.recipients),
        )
        for one in world.consents
    ]
