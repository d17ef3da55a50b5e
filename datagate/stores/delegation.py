"""Issue mandates and revoke them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import update

from datagate.errors import StateError
from datagate.model.facts import Mandate
from datagate.model.names import PrincipalId
from datagate.model.values import AttributeValue
from datagate.stores import reading
from datagate.stores.encoding import encode_parameters, encode_purposes
from datagate.stores.engine import StateDatabase, name_of, validity_of
from datagate.stores.tables import mandates


def issue(
    database: StateDatabase,
    mandate_id: str,
    *,
    principal: str,
    holder: str,
    scope: str,
    purposes: Iterable[str],
    parameters: Mapping[str, AttributeValue],
    valid_from: datetime | None,
    valid_until: datetime | None,
    parent: str | None,
    sub_delegable: int,
) -> Mandate:
    """Record a mandate after checking that it may be one; see `StateStore.issue_mandate`."""
    row: dict[str, object] = {
        "mandate_id": name_of("mandate", mandate_id),
        "principal": name_of("principal", principal),
        "holder": name_of("holder", holder),
        "scope": name_of("scope", scope),
        "parameters": encode_parameters(parameters),
        "purposes": encode_purposes(name_of("purpose", purpose) for purpose in purposes),
        "parent": parent,
        "sub_delegable": sub_delegable,
    }
    if row["purposes"] == "[]":
        raise StateError("a mandate needs a purpose")
    if principal == holder:
        raise StateError(f"{principal} needs no mandate to act in their own name")
    if sub_delegable < 0:
        raise StateError("sub_delegable counts the links that may hang below: 0 or more")
    with database.writing() as connection:
        now = database.now(connection)
        row |= validity_of(now if valid_from is None else valid_from, valid_until)
        if parent is not None:
            _hangs_from(reading.mandate(connection, parent, lock=True), principal, sub_delegable, now)
        connection.execute(mandates.insert(), row)
        database.advance(connection, [PrincipalId(principal), PrincipalId(holder)])
        return reading.mandate(connection, mandate_id)


def revoke(database: StateDatabase, mandate_id: str, at: datetime | None) -> Mandate:
    """End a mandate; see `StateStore.revoke_mandate`."""
    with database.writing() as connection:
        revoked_at = database.now(connection) if at is None else at
        found = reading.mandate(connection, mandate_id, lock=True)
        if found.revoked_at is not None and found.revoked_at <= revoked_at:
            return found
        change = update(mandates).where(mandates.c.mandate_id == mandate_id).values(revoked_at=revoked_at)
        connection.execute(change)
        database.advance(connection, [found.principal, found.holder])
        return reading.mandate(connection, mandate_id)


def _hangs_from(parent: Mandate, principal: str, sub_delegable: int, now: datetime) -> None:
    """Whether a link may be hung below; that of the parents above it was asked when the parent was issued."""
    if parent.principal != principal:
        raise StateError(f"mandate {parent.id} is not one of {principal}")
    if parent.revoked_at is not None or (parent.valid_until is not None and parent.valid_until <= now):
        raise StateError(f"mandate {parent.id} has ended")
    if parent.sub_delegable <= sub_delegable:
        raise StateError(
            f"mandate {parent.id} allows {parent.sub_delegable} links below it, not {sub_delegable + 1};"
            " lower sub_delegable, or ask its principal for more"
        )
