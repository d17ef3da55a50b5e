"""Record the answers of data subjects, and read them back, as they are and as they were."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from datagate.errors import StateError
from datagate.model.names import Purpose
from datagate.stores.encoding import storable
from datagate.stores.engine import StateDatabase, name_of, validity_of
from datagate.stores.history import as_of, facts_about
from datagate.stores.records import Consent, Fact
from datagate.stores.rows import fact_of, rows_of
from datagate.stores.tables import consents


class Consenting:
    """The part of `StateStore` that is about consents."""

    _database: StateDatabase

    def give_consent(
        self,
        data_subject: str,
        purpose: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        categories: Iterable[str] | None = None,
        recipients: Iterable[str] | None = None,
        evidence: str | None = None,
        by: str | None = None,
        why: str | None = None,
    ) -> None:
        """Record a yes, in place of the data subject's earlier answer for this very purpose.

        ``categories`` and ``recipients`` limit it as `Consent` says; None: it is not limited so.
        ``evidence`` says where the answer can be shown. ``by`` and ``why`` go into the history.
        """
        self.give_consents(
            [data_subject],
            purpose,
            valid_from=valid_from,
            valid_until=valid_until,
            categories=categories,
            recipients=recipients,
            evidence=evidence,
            by=by,
            why=why,
        )

    def give_consents(
        self,
        data_subjects: Iterable[str],
        purpose: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        categories: Iterable[str] | None = None,
        recipients: Iterable[str] | None = None,
        evidence: str | None = None,
        by: str | None = None,
        why: str | None = None,
    ) -> None:
        """Record a yes of each data subject; the rest as for one."""
        answer = {"purpose": purpose, "granted": True, "evidence": evidence}
        answer |= {"categories": _limits("category", categories), "recipients": _limits("recipient", recipients)}
        self._answer(data_subjects, answer, valid_from, valid_until, by, why)

    def withdraw_consent(
        self,
        data_subject: str,
        purpose: str,
        *,
        at: datetime | None = None,
        evidence: str | None = None,
        by: str | None = None,
        why: str | None = None,
    ) -> None:
        """Record a no. It stands also where there was no yes, and against a yes for a purpose that contains this."""
        answer = {"purpose": purpose, "granted": False, "evidence": evidence, "categories": None, "recipients": None}
        self._answer([data_subject], answer, at, None, by, why)

    def record_consents(self, answers: Iterable[Consent], *, by: str | None = None, why: str | None = None) -> None:
        """Record answers as they are, each in place of an earlier one, all or none."""
        rows = [_row(answer) for answer in answers]
        if len({(row["data_subject"], row["purpose"]) for row in rows}) != len(rows):
            raise StateError("a data subject has one answer for each purpose; one of these answers twice")
        if rows:
            with self._database.recording(by, why) as connection:
                self._database.put(connection, consents, rows)

    def list_consents(
        self, data_subject: str | None = None, purpose: str | None = None, *, at: datetime | None = None
    ) -> list[Consent]:
        """All answers, or those of one data subject or for one very purpose; ``at``: as they were recorded then."""
        query = select(consents) if at is None else as_of(consents, at)
        given = {"data_subject": data_subject, "purpose": purpose}
        with self._database.reading() as connection:
            found = rows_of(connection, query, given, ("data_subject", "purpose"))
        return [consent_of(row) for row in found]

    def consent_history(self, data_subject: str | None = None, purpose: str | None = None) -> list[Fact[Consent]]:
        """Everything that was ever recorded of consents, or of those of one data subject or purpose, in order."""
        with self._database.reading() as connection:
            found = facts_about(connection, consents, {"data_subject": data_subject, "purpose": purpose})
        return [fact_of(row, consent_of(row)) for row in found]

    def consenting(
        self,
        purposes: Sequence[Purpose],
        instant: datetime,
        *,
        tags: Collection[str] = (),
        parties: Collection[Collection[str]] = (),
    ) -> tuple[str, ...]:
        """The data subjects whose nearest answer is a yes that counts, at an instant.

        ``purposes`` runs up to the root; ``tags`` are what is to be shown, ``parties`` who is to get it, each by
        its names.
        """
        nearest: dict[str, bool] = {}
        for purpose in purposes:
            for answer in self.list_consents(purpose=purpose):
                ended = answer.valid_until is not None and answer.valid_until <= instant
                if answer.valid_from <= instant and not ended:
                    nearest.setdefault(answer.data_subject, _counts(answer, tags, parties))
        return tuple(data_subject for data_subject, granted in nearest.items() if granted)

    def _answer(
        self,
        data_subjects: Iterable[str],
        answer: dict[str, Any],
        valid_from: datetime | None,
        valid_until: datetime | None,
        by: str | None,
        why: str | None,
    ) -> None:
        # The same data subject twice in one call is one answer.
        names = [name_of("data subject", each) for each in dict.fromkeys(data_subjects)]
        name_of("purpose", answer["purpose"])
        if answer["evidence"] is not None:
            storable(answer["evidence"])
        with self._database.recording(by, why) as connection:
            answer |= validity_of(self._database.now(connection) if valid_from is None else valid_from, valid_until)
            if names:
                self._database.put(connection, consents, [{"data_subject": name, **answer} for name in names])


def consent_of(row: Row[Any]) -> Consent:
    """A row of the table, or of its history, as the noun."""
    return Consent(
        data_subject=row.data_subject,
        purpose=Purpose(row.purpose),
        granted=bool(row.granted),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        categories=row.categories,
        recipients=row.recipients,
        evidence=row.evidence,
    )


def _row(answer: Consent) -> dict[str, Any]:
    if not answer.granted and (answer.categories is not None or answer.recipients is not None):
        raise StateError("a no is not limited to categories or recipients")
    return {
        "data_subject": name_of("data subject", answer.data_subject),
        "purpose": name_of("purpose", answer.purpose),
        "granted": answer.granted,
        **validity_of(answer.valid_from, answer.valid_until),
        "categories": _limits("category", answer.categories),
        "recipients": _limits("recipient", answer.recipients),
        "evidence": None if answer.evidence is None else storable(answer.evidence),
    }


def _limits(what: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(names, str):
        raise StateError(f"give a list, not one {what}")
    return None if names is None else tuple(sorted({name_of(what, name) for name in names}))


def _counts(answer: Consent, tags: Collection[str], parties: Collection[Collection[str]]) -> bool:
    if answer.categories is not None and not set(tags) <= set(answer.categories):
        return False
    named = answer.recipients
    return answer.granted and (named is None or all(not set(names).isdisjoint(named) for names in parties))
