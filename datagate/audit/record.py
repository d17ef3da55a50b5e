"""What is recorded of each statement: the decision before anything leaves, and how it ended, once that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from datagate.model.caller import Caller
from datagate.model.decision import RuleRef


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One statement: who asked what, in whose name, and what was decided.

    ``text`` is the statement as the caller sent it; no sink keeps it. ``normalized`` is the same without its
    literals, ``fingerprint`` libpg_query's, equal for statements that differ in literals alone; both None where the
    text does not parse. ``reads_only``: nothing comes of it but its rows. ``reason`` says why it was refused and is
    for the audit alone. ``relations`` and ``rules`` are those that were decided on, ``actions`` what was to be done;
    ``columns`` pairs each relation with the columns of it that the caller is shown, ``keyed`` are the relations whose
    data subjects are to be told. ``epoch`` is that of the facts. When it was asked is told to the sink beside it: a
    statement that is asked again makes no new record, only a new instant.
    """

    caller: Caller
    frontend: str
    text: str
    permitted: bool
    relations: tuple[str, ...]
    rules: tuple[RuleRef, ...]
    policy_version: str
    reason: str | None
    actions: tuple[str, ...] = ()
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    keyed: tuple[str, ...] = ()
    epoch: int | None = None
    fingerprint: str | None = None
    normalized: str | None = None
    client: str | None = None
    chain: tuple[tuple[str, str], ...] = ()
    reads_only: bool = False


class Completion(NamedTuple):
    """How a statement ended.

    ``rows``: how many were returned or changed; None where the frontend does not count them. ``error``: the SQLSTATE
    of what went wrong. ``data_subjects``: by relation, the keys of the data subjects whose rows were returned.
    """

    rows: int | None
    microseconds: int
    error: str | None = None
    data_subjects: tuple[tuple[str, tuple[str, ...]], ...] = ()


def statement_json(record: AuditRecord, *, with_text: bool) -> dict[str, object]:
    """The record with plain JSON values; the text, without literals, only where that is wanted."""
    caller = record.caller
    found: dict[str, object] = {
        "principal": caller.principal,
        "actor": caller.actor.id,
        "actor_kind": caller.actor.kind.value,
        "actor_chain": [list(each) for each in record.chain],
        "prior_actors": list(caller.prior_actors),
        "mandate": caller.mandate,
        "purpose": caller.purpose,
        "frontend": record.frontend,
        "client": record.client,
        "outcome": "permitted" if record.permitted else "refused",
        "reason": record.reason,
        "relations": list(record.relations),
        "actions": list(record.actions),
        "columns": {relation: list(names) for relation, names in record.columns},
        "keyed": list(record.keyed),
        "rules": [f"{rule.name} ({rule.source})" for rule in record.rules],
        "policy_version": record.policy_version,
        "epoch": None if record.epoch is None else str(record.epoch),
        "fingerprint": record.fingerprint,
    }
    if with_text:
        found["text"] = record.normalized
    return found


def completion_json(completion: Completion) -> dict[str, object]:
    """The completion with plain JSON values."""
    return {
        "rows": completion.rows,
        "microseconds": completion.microseconds,
        "error": completion.error,
        "data_subjects": {relation: list(keys) for relation, keys in completion.data_subjects},
    }
