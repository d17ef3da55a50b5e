"""What one rewriting asks of a caller's rights."""

from __future__ import annotations

from dataclasses import replace

from datagate.backends.postgres.freshness import STILL_CURRENT
from datagate.errors import Refused
from datagate.gate.rights import Rights
from datagate.model.catalog import Relation
from datagate.model.guard import Target, TargetKey
from datagate.model.names import RelationName
from datagate.model.policy import Action
from datagate.sql.rewrite import Surroundings
from datagate.sql.views import Seen


class Walk:
    """Notes what a rewriting asks of the caller's rights, so that it can be shared by equal askers."""

    def __init__(self, rights: Rights, temporary: frozenset[str]) -> None:
        self._rights = rights
        self._temporary = temporary
        self.owners: dict[tuple[RelationName, Action], None] = {}
        self.views: dict[RelationName, Relation] = {}
        self.denied: str | None = None

    def around(self) -> Surroundings:
        """What the passes see."""
        shared = self._rights.shared
        check = STILL_CURRENT if shared.state_within else None
        catalog = replace(shared.catalog, temporary=self._temporary) if self._temporary else shared.catalog
        return Surroundings(catalog, self._sight, self._rights.guard, self._aim, self._lock, check)

    def _lock(self, relation: Relation) -> None:
        owner = self._rights.shared.policy_relation(relation)
        if owner is not None:
            self.owners.update({(owner, Action.UPDATE): None, (owner, Action.DELETE): None})
        if owner is None or not self._rights.may_lock(owner):
            raise Refused(f"locking rows of {relation.name} needs the right to update or delete some of them")

    def _aim(self, relation: Relation, key: TargetKey) -> Target:
        owner = self._rights.shared.policy_relation(relation)
        if owner is not None:
            self.owners[owner, key.action] = None
        return self._rights.aim(relation, key)

    def _sight(self, relation: Relation) -> Seen:
        seen = self._rights.sight(relation)
        owner = self._rights.shared.policy_relation(relation)
        if owner is not None:
            self.owners[owner, Action.SELECT] = None
        if seen is Seen.EXPANDED:
            self.views[relation.name] = relation
        if seen is Seen.NOT:
            self.denied = self._why(relation, owner)
        return seen

    def _why(self, relation: Relation, owner: RelationName | None) -> str:
        if owner is None:
            return f"{relation.name} has no policy, or is a view over what the caller may not see"
        denial = self._rights.decision(owner).denial
        return f"{relation.name}: {denial.reason.value}: {denial.detail}" if denial else f"{relation.name} is hidden"
