"""What is recorded of each statement."""

from __future__ import annotations

from dataclasses import dataclass

from datagate.model.caller import Caller
from datagate.model.decision import RuleRef


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One statement: who asked what, in whose name, and what was decided.

    ``text`` is the statement in the engine's spelling as the caller sent it; ``reason`` says why it was refused and
    is for the audit alone; ``relations`` and ``rules`` are those that were decided on. When it was asked is told to the
    sink beside it: a statement that is asked again makes no new record, only a new instant.
    """

    caller: Caller
    frontend: str
    text: str
    permitted: bool
    relations: tuple[str, ...]
    rules: tuple[RuleRef, ...]
    policy_version: str
    reason: str | None
