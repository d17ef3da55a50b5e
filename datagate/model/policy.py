"""What policy files say, after they have been read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from datagate.model.caller import ActorKind
from datagate.model.mask import Mask
from datagate.model.names import PrincipalId, Purpose, RelationName
from datagate.model.source import SourceRef
from datagate.model.values import ValueType


class Action(Enum):
    """What a statement does with a relation."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class Effect(Enum):
    """What a rule, and in the end a decision, says."""

    PERMIT = "permit"
    RESTRICT = "restrict"


@dataclass(frozen=True, slots=True)
class Predicate:
    """A SQL boolean over the row's own columns and ``:placeholders`` (``principal.regions``, ``now`` ...).

    ``placeholders`` are the names without the colon, in order of first appearance; ``columns`` the row's
    columns that it reads.
    """

    text: str
    placeholders: tuple[str, ...]
    columns: tuple[str, ...]
    source: SourceRef


@dataclass(frozen=True, slots=True)
class Through:
    """``rows: {through: bank.customers, on: customer_id}``: visible when the row it refers to is visible.

    ``on`` pairs (own column, column there).
    """

    relation: RelationName
    on: tuple[tuple[str, str], ...]
    source: SourceRef


RowRule = Predicate | Through


@dataclass(frozen=True, slots=True)
class When:
    """Conditions on the caller; every one that is given must hold. Empty sets are never stored: absent is None."""

    actor_kinds: frozenset[ActorKind] | None = None
    delegated: bool | None = None
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One permit or restrict entry.

    ``to`` empty: every principal. ``purposes`` empty: any purpose, also none. ``rows`` None: all rows.
    ``show`` (permits only): the columns shown, masked or not. ``masks``: by column, tags already resolved;
    on a restrict, they narrow what permits show. A mask of kind HIDE takes the column away.
    ``insert``/``update``: writable columns; ``delete``: whether rows may be deleted.
    ``explain_analyze`` and other obligations come with the issues that need them.
    """

    name: str
    effect: Effect
    to: frozenset[str]
    purposes: frozenset[Purpose]
    when: When
    rows: RowRule | None
    consent: bool
    show: frozenset[str]
    masks: tuple[tuple[str, Mask], ...]
    insert: frozenset[str]
    update: frozenset[str]
    delete: bool
    source: SourceRef

    def mask(self, column: str) -> Mask | None:
        """The mask this rule puts on a column, or None: raw."""
        for name, mask in self.masks:
            if name == column:
                return mask
        return None


@dataclass(frozen=True, slots=True)
class RelationPolicy:
    """One policy file's relation: its columns (name to tag, in file order) and its rules in file order.

    ``audit_keys``: the audit keeps the keys of the data subjects whose rows were returned.
    """

    relation: RelationName
    columns: tuple[tuple[str, str], ...]
    data_subject: str | None
    rules: tuple[Rule, ...]
    owner: str
    why: str
    source: SourceRef
    audit_keys: bool = False


@dataclass(frozen=True, slots=True)
class ScopeRelation:
    """What a scope hands over of one relation: columns (None: all that the principal sees), actions, rows."""

    columns: frozenset[str] | None
    actions: frozenset[Action]
    rows: Predicate | None


@dataclass(frozen=True, slots=True)
class Scope:
    """A steward's named shape for mandates. ``intersect_actor``: the actor's own entitlements narrow too."""

    name: str
    parameters: tuple[tuple[str, ValueType], ...]
    relations: Mapping[RelationName, ScopeRelation]
    intersect_actor: bool
    source: SourceRef


@dataclass(frozen=True, slots=True)
class PurposeTree:
    """The purposes, each with its parent (None for a root)."""

    parents: Mapping[Purpose, Purpose | None]

    def __contains__(self, purpose: object) -> bool:
        return purpose in self.parents

    def chain(self, purpose: Purpose) -> tuple[Purpose, ...]:
        """The purpose itself, its parent, and so on up to the root; KeyError for an unknown purpose."""
        out = [purpose]
        parent = self.parents[purpose]
        while parent is not None:
            out.append(parent)
            parent = self.parents[parent]
        return tuple(out)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a service may say that it speaks for: these principals and whoever has one of these roles, for purposes."""

    principals: frozenset[PrincipalId]
    roles: frozenset[str]
    purposes: frozenset[Purpose]
    source: SourceRef


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policy files of one directory, read and checked. ``version`` is the hash of their bytes.

    ``statements``: the roles to which each kind of statement is granted that the gate passes on to nobody else.
    ``services``: those that are believed when they say who the principal is.
    """

    version: str
    purposes: PurposeTree
    roles: frozenset[str]
    attributes: Mapping[str, ValueType]
    tags: frozenset[str]
    scopes: Mapping[str, Scope]
    functions: frozenset[str]
    relations: Mapping[RelationName, RelationPolicy]
    statements: Mapping[str, frozenset[str]] = field(default_factory=dict)
    services: Mapping[PrincipalId, Trust] = field(default_factory=dict)
