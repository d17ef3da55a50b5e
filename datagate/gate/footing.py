"""What a caller's sight of the data stands on, for frontends that keep rows in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from datagate.decision.writes import never_raw, not_writable
from datagate.errors import Refused
from datagate.gate.rights import Rights
from datagate.gate.shared import Shared
from datagate.model.caller import Caller
from datagate.model.decision import TRUE, CellCase
from datagate.model.names import MandateId, Purpose
from datagate.model.policy import Action
from datagate.sql.views import Seen


@dataclass(frozen=True, slots=True)
class Footing:
    """Equal footings: nothing changed between that could show a row or cell otherwise.

    ``policies``: their version. ``parties`` and ``consents``: how far the state had come. ``turn``: the next instant at
    which something begins or ends by itself, in the reading of that time.
    """

    policies: str
    parties: int
    consents: int
    turn: datetime | None


@dataclass(frozen=True, slots=True)
class Sight:
    """The columns of a relation that exist for the caller, and those among them that are never shown as they are.

    ``varying``: shown as they are in some rows only. ``insertable``: those that a new row may be given a value for.
    ``writes_all``: whether he may change and delete every row that he sees, as far as is plain. A relation that the
    caller does not see has no Sight.
    """

    columns: frozenset[str]
    masked: frozenset[str]
    varying: frozenset[str]
    insertable: frozenset[str]
    writes_all: bool = False


def told(rights: Rights) -> Footing | None:
    """What the caller's sight stands on as far as is known; asked of nobody, and not known where consents count.

    A statement on guarded relations checks by itself that it holds, and fails where it does not.
    """
    if rights.answered or not rights.shared.state_within:
        return None
    return Footing(rights.policies.version, rights.facts.epoch.value, 0, rights.facts.valid_until)


def sighted(rights: Rights, schema: str | None, name: str) -> Sight | None:
    """How the caller of these rights sees a relation; None: it does not exist for him."""
    catalog = rights.shared.catalog
    found = catalog.resolve(schema, name)
    if found is None or rights.standing is not None:
        return None
    relation = catalog.relations[found]
    seen = rights.sight(relation)
    if seen is Seen.NOT:
        return None
    owner = rights.shared.policy_relation(relation)
    columns = rights.visible_columns(relation)
    if owner is None or seen is Seen.EXPANDED:
        return Sight(columns, frozenset(), frozenset(), frozenset())
    decision = rights.decision(owner)
    masked = frozenset(each.name for each in decision.columns if never_raw(each))
    raw = frozenset(each.name for each in decision.columns if each.cases == (CellCase(TRUE, ()),))
    refused = not_writable(decision, rights.decision(owner, Action.INSERT), columns)
    updated, deleted = rights.decision(owner, Action.UPDATE), rights.decision(owner, Action.DELETE)
    rows = {decision.filter, updated.filter, deleted.filter, *(each.when for each in updated.writes)} - {TRUE}
    return Sight(
        columns, masked & columns, columns - masked - raw, columns.difference(refused), rows <= {decision.filter}
    )


def acting_for(shared: Shared, caller: Caller, mandate: MandateId, purpose: str | None) -> Caller:
    """The caller under a mandate that he holds; under one already, only a mandate handed on from that.

    Raises:
        Refused: there is no such mandate in his hands.
    """
    asked = Purpose(purpose) if purpose is not None else caller.purpose
    probe = replace(caller, mandate=mandate, purpose=asked)
    chain = shared.state.facts(probe, shared.instant()).chain
    held = bool(chain) and chain[0].holder == caller.actor.id
    if not held or (caller.mandate is not None and caller.mandate not in {each.id for each in chain}):
        raise Refused("no such mandate is in the hands of this caller, or none that was handed on from his own")
    return replace(probe, principal=chain[0].principal)
