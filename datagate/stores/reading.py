"""Read facts for a decision, inside a transaction that sees one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, literal, select

from datagate.errors import StateError
from datagate.model.caller import ActorKind, Caller
from datagate.model.facts import ANY_KIND, NO_ENTITLEMENTS, Entitlements, Epoch, Facts, Mandate
from datagate.model.names import MandateId, PrincipalId
from datagate.stores.encoding import decode, decode_parameters, decode_purposes
from datagate.stores.tables import ROLE, entitlements, epochs, mandates

# A loop that plain SQL made ends here; a decision refuses a chain that does not reach its end.
MAX_LINKS = 64

# Built once: SQLAlchemy takes longer to build these than PostgreSQL to answer them.
_ONE = select(mandates).where(mandates.c.mandate_id == bindparam("mandate"))
_GRANTS = select(entitlements).where(entitlements.c.principal.in_(bindparam("parties", expanding=True)))
_EPOCH = select(func.coalesce(func.sum(epochs.c.value), 0)).where(
    epochs.c.party.in_(bindparam("parties", expanding=True))
)


def _chain_query() -> Select[Any]:
    """A mandate, then its parent, and so on."""
    first = select(mandates.c.mandate_id, mandates.c.parent, literal(1).label("depth"))
    links = first.where(mandates.c.mandate_id == bindparam("mandate")).cte("links", recursive=True)
    above = select(mandates.c.mandate_id, mandates.c.parent, links.c.depth + 1)
    above = above.join(links, mandates.c.mandate_id == links.c.parent).where(links.c.depth < MAX_LINKS)
    links = links.union_all(above)
    return select(mandates).join(links, links.c.mandate_id == mandates.c.mandate_id).order_by(links.c.depth)


_CHAIN = _chain_query()


def facts(connection: Connection, caller: Caller, instant: datetime) -> Facts:
    """All that a decision for this caller at this instant needs."""
    chain = () if caller.mandate is None else tuple(_mandates(connection, caller.mandate))
    parties = {caller.principal, caller.actor.id}
    for mandate in chain:
        parties |= {mandate.principal, mandate.holder}
    grants = connection.execute(_GRANTS, {"parties": sorted({caller.principal, caller.actor.id})}).all()
    turns = [time for row in grants for time in (row.valid_from, row.valid_until)]
    turns += [
        time for each in chain for time in (each.valid_from, each.valid_until, each.revoked_at, each.suspended_at)
    ]
    return Facts(
        principal=_in_force(grants, caller.principal, instant),
        actor=_in_force(grants, caller.actor.id, instant),
        chain=chain,
        epoch=epoch_of(connection, parties),
        valid_until=min((time for time in turns if time is not None and time > instant), default=None),
    )


def epoch_of(connection: Connection, parties: Iterable[PrincipalId]) -> Epoch:
    """How far the state of these parties has come."""
    concerned = tuple(sorted(set(parties)))
    total = connection.execute(_EPOCH, {"parties": concerned}).scalar_one()
    return Epoch(concerned, int(total))


def mandate(connection: Connection, mandate_id: str, *, lock: bool = False) -> Mandate:
    """One mandate, locked until the transaction ends if asked; StateError where there is none."""
    query = _ONE.with_for_update() if lock else _ONE
    row = connection.execute(query, {"mandate": mandate_id}).one_or_none()
    if row is None:
        raise StateError(f"there is no mandate {mandate_id}")
    return mandate_of(row)


def mandate_of(row: Row[Any]) -> Mandate:
    """A row of the table as the noun."""
    return Mandate(
        id=MandateId(row.mandate_id),
        principal=PrincipalId(row.principal),
        holder=PrincipalId(row.holder),
        scope=row.scope,
        parameters=decode_parameters(row.parameters),
        purposes=decode_purposes(row.purposes),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        revoked_at=row.revoked_at,
        parent=None if row.parent is None else MandateId(row.parent),
        sub_delegable=row.sub_delegable,
        suspended_at=row.suspended_at,
        actor_kinds=ANY_KIND if row.actor_kinds is None else frozenset(map(_kind, row.actor_kinds)),
        max_uses=row.max_uses,
    )


def _kind(name: str) -> ActorKind:
    try:
        return ActorKind(name)
    except ValueError:
        raise StateError(f"a mandate names {name}, which is no kind of actor") from None


def _mandates(connection: Connection, first: MandateId) -> Iterator[Mandate]:
    return (mandate_of(row) for row in connection.execute(_CHAIN, {"mandate": first}).all())


def _in_force(rows: Iterable[Row[Any]], party: PrincipalId, instant: datetime) -> Entitlements:
    """What of one party's entitlements holds at the instant."""
    live = [
        row
        for row in rows
        if row.principal == party
        and row.valid_from <= instant
        and (row.valid_until is None or instant < row.valid_until)
    ]
    if not live:
        return NO_ENTITLEMENTS
    return Entitlements(
        roles=frozenset(row.name for row in live if row.kind == ROLE),
        attributes={row.name: decode(row.value) for row in live if row.kind != ROLE},
    )
