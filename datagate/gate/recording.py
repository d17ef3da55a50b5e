"""How statements are recorded, and what their records say of refusals and of their callers' mandates."""

from __future__ import annotations

from datagate.audit import AuditRecord, Completion, Held
from datagate.backends.postgres.fingerprint import fingerprint, normalized
from datagate.backends.postgres.statements import StatementKind
from datagate.errors import DatagateError, StatementSyntaxError
from datagate.gate.rights import Rights
from datagate.gate.shared import Shared
from datagate.model.caller import Caller
from datagate.model.decision import Decision

Recorded = str | Held | None
"""What stands for a statement's record until it has ended: its name in the audit, or the record under way."""


def keep_record(shared: Shared, record: AuditRecord, *, ahead: bool) -> Recorded:
    """Record a statement before it runs; or, if it only reads and its frontend settles it before rows leave, beside it.

    Raises:
        AuditUnavailable: It is not recorded.
    """
    if ahead and record.reads_only and shared.holding is not None:
        return shared.holding.hold(record, shared.recorded_at())
    return shared.audit.record(record, shared.recorded_at())


def settle(shared: Shared, recorded: Recorded, completion: Completion) -> None:
    """Record how a statement ended.

    Raises:
        AuditUnavailable: The statement itself is not recorded; nothing of its answer may leave.
    """
    if recorded is None:
        return
    if isinstance(recorded, str):
        if shared.completing is not None:
            shared.completing.complete(recorded, completion, shared.recorded_at())
    else:
        recorded.settle(completion, shared.recorded_at)


def record_of(
    shared: Shared,
    caller: Caller,
    text: str,
    *,
    rights: Rights | None,
    decisions: tuple[Decision, ...],
    reason: str | None,
    frontend: str,
    client: str | None,
) -> AuditRecord:
    """The record of a statement that is permitted, or refused for a reason."""
    relations = tuple(dict.fromkeys(str(decision.relation) for decision in decisions))
    return AuditRecord(
        caller=caller,
        frontend=frontend,
        text=text,
        permitted=reason is None,
        relations=relations,
        rules=tuple(dict.fromkeys(rule for decision in decisions for rule in decision.rules)),
        policy_version=shared.policies.version,
        reason=reason,
        columns=tuple((str(each.relation), tuple(column.name for column in each.columns)) for each in decisions),
        keyed=tuple(name for name in relations if name in shared.keyed_relations),
        actions=tuple(sorted({decision.action.value for decision in decisions})),
        epoch=rights.facts.epoch.value if rights is not None else None,
        fingerprint=fingerprint(text),
        normalized=normalized(text),
        client=client,
        chain=_chain_of(rights),
        reads_only=reason is None and _reads_only(shared, text),
    )


def _reads_only(shared: Shared, text: str) -> bool:
    """Whether nothing can come of a statement but its rows: functions that a policy names might do anything."""
    statement = shared.read(text)
    reads = statement.kind is StatementKind.QUERY and statement.wrapper is None and not statement.writes
    return reads and not shared.policies.functions


def reason_of(error: DatagateError) -> str:
    """Why it was refused, for the audit: the parser's message would quote the text, and so its literals."""
    if isinstance(error, StatementSyntaxError):
        return f"{error.sqlstate}: the text does not parse"
    return error.audit_reason or error.message


def _chain_of(rights: Rights | None) -> tuple[tuple[str, str], ...]:
    """Who handed what to whom, from the principal on: the mandate's id and its holder."""
    if rights is None:
        return ()
    return tuple((str(each.id), str(each.holder)) for each in rights.facts.chain)
