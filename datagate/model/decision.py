"""The outcome for (caller, relation, action, instant)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from datagate.model.caller import Caller
from datagate.model.mask import Mask
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Action, Predicate
from datagate.model.source import SourceRef
from datagate.model.values import TypedValue


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the decision point. ``relation`` names the one whose policy applies."""

    caller: Caller
    relation: RelationName
    action: Action
    instant: datetime


@dataclass(frozen=True, slots=True)
class Where:
    """A steward's predicate; ``bindings`` maps each placeholder in its text to the binding that supplies it.

    ``now`` has no binding: it is the statement's own timestamp.
    """

    predicate: Predicate
    bindings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ConsentLive:
    """The data subject named by ``column`` consents to ``purposes[0]``.

    ``purposes`` runs from the caller's purpose up to the root; the nearest answer counts. A yes that is limited to
    categories is a yes here only if it takes in all of ``tags``; one that is limited to recipients, only if it names
    somebody of each list that the bindings ``recipients`` hold. A limited yes that is none here is a no: it does not
    let a yes for a wider purpose count.
    """

    column: str
    purposes: tuple[Purpose, ...]
    tags: tuple[str, ...]
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefersTo:
    """A row of ``relation`` with equal key columns exists and passes ``filter``; ``on`` pairs (own, there)."""

    relation: RelationName
    on: tuple[tuple[str, str], ...]
    filter: Filter


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part is true; no parts: true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part is true; no parts: false."""

    parts: tuple[Filter, ...]


Filter = Where | ConsentLive | RefersTo | AllOf | AnyOf

TRUE = AllOf(())
FALSE = AnyOf(())


@dataclass(frozen=True, slots=True)
class CellCase:
    """How a column is shown in the rows for which ``when`` holds: its masks, first applied first; none: raw."""

    when: Filter
    masks: tuple[Mask, ...]


@dataclass(frozen=True, slots=True)
class ColumnDecision:
    """The first case whose ``when`` is true says how the cell is shown; if none is, it is NULL."""

    name: str
    cases: tuple[CellCase, ...]


@dataclass(frozen=True, slots=True)
class ColumnWrite:
    """A column that may be given a value in the rows for which ``when`` is true."""

    name: str
    when: Filter


class Outcome(Enum):
    """A decision's effect."""

    PERMIT = "permit"
    DENY = "deny"


class DenyReason(Enum):
    """Why, for the audit; callers never learn which."""

    CALLER_ENDED = "caller-ended"
    NO_POLICY = "no-policy"
    NO_PERMIT = "no-permit"
    UNKNOWN_PURPOSE = "unknown-purpose"
    NO_MANDATE = "no-mandate"
    MANDATE_ENDED = "mandate-ended"
    MANDATE_REVOKED = "mandate-revoked"
    MANDATE_NOT_YET = "mandate-not-yet-valid"
    MANDATE_SUSPENDED = "mandate-suspended"
    MANDATE_USED_UP = "mandate-used-up"
    MANDATE_ACTOR = "mandate-actor-kind"
    MANDATE_PURPOSE = "mandate-purpose"
    MANDATE_SCOPE = "mandate-scope"
    MANDATE_CHAIN = "mandate-chain"
    NOT_TRUSTED = "service-not-trusted"
    MISSING_ATTRIBUTE = "missing-attribute"
    MISSING_PARAMETER = "missing-parameter"
    BAD_ATTRIBUTE = "bad-attribute"


@dataclass(frozen=True, slots=True)
class RuleRef:
    """A rule that was in play, by name and place."""

    name: str
    source: SourceRef


@dataclass(frozen=True, slots=True)
class Denial:
    """Reason, and the detail for audit and stewards (rule, attribute or mandate concerned)."""

    reason: DenyReason
    detail: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Effect, row filter, columns, bindings, rules.

    On DENY ``denial`` is set and the rest is empty. ``columns`` holds, in the policy file's order, only
    those that exist for the caller; ``writes`` those that the action may set, none unless it is INSERT or UPDATE.
    ``bindings`` has a value for every binding that ``filter``, ``columns`` and ``writes`` name. Two permits of equal
    ``shape`` (everything but the binding values) share rewritten SQL.
    """

    relation: RelationName
    action: Action
    outcome: Outcome
    filter: Filter
    columns: tuple[ColumnDecision, ...]
    bindings: Mapping[str, TypedValue]
    rules: tuple[RuleRef, ...]
    denial: Denial | None
    writes: tuple[ColumnWrite, ...] = ()

    @property
    def shape(self) -> tuple[object, ...]:
        """What the rewritten text depends on; hashable."""
        types = tuple(sorted((name, value.type.value) for name, value in self.bindings.items()))
        return (self.relation, self.action, self.outcome, self.filter, self.columns, self.writes, types)
