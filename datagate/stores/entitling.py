"""Grant and withdraw entitlements, and read them back, as they are and as they were."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select

from datagate.errors import StateError
from datagate.model.names import PrincipalId
from datagate.model.values import AttributeValue
from datagate.stores.encoding import decode, encode
from datagate.stores.engine import StateDatabase, name_of, validity_of
from datagate.stores.history import as_of, facts_about
from datagate.stores.records import Entitlement, EntitlementKind, Fact
from datagate.stores.rows import fact_of, rows_of
from datagate.stores.tables import entitlements


class Entitling:
    """The part of `StateStore` that is about entitlements."""

    _database: StateDatabase

    def grant_role(
        self,
        principal: str,
        role: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        by: str | None = None,
        why: str | None = None,
    ) -> None:
        """Grant a role, in place of an earlier grant of it.

        ``valid_from`` None: now; ``valid_until`` None: no end. ``by`` and ``why`` go into the history.
        """
        row = {"principal": principal, "kind": EntitlementKind.ROLE.value, "name": role, "value": None}
        self._entitle(row, valid_from, valid_until, by, why)

    def grant_attribute(
        self,
        principal: str,
        attribute: str,
        value: AttributeValue,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        by: str | None = None,
        why: str | None = None,
    ) -> None:
        """Give an attribute its value, in place of the one it had. The rest as for roles."""
        kind = EntitlementKind.ATTRIBUTE.value
        row = {"principal": principal, "kind": kind, "name": attribute, "value": encode(value)}
        self._entitle(row, valid_from, valid_until, by, why)

    def withdraw_entitlement(
        self, principal: str, kind: EntitlementKind, name: str, *, by: str | None = None, why: str | None = None
    ) -> None:
        """Withdraw a role or an attribute; StateError where the principal has none of that name."""
        table = entitlements.c
        mine = (table.principal == principal, table.kind == kind.value, table.name == name)
        with self._database.recording(by, why) as connection:
            found = connection.execute(select(entitlements).where(*mine)).one_or_none()
            if found is None or connection.execute(delete(entitlements).where(*mine)).rowcount == 0:
                raise StateError(f"{principal} has no {kind.value} {name}")
            self._database.write_facts(connection, entitlements, [dict(found._mapping)], present=False)  # noqa: SLF001 - SQLAlchemy's public name
            self._database.advance(connection, [PrincipalId(principal)])

    def list_entitlements(self, principal: str | None = None, *, at: datetime | None = None) -> list[Entitlement]:
        """All entitlements, or those of one principal, in force or not; ``at``: as they were recorded then."""
        query = select(entitlements) if at is None else as_of(entitlements, at)
        with self._database.reading() as connection:
            found = rows_of(connection, query, {"principal": principal}, ("principal", "kind", "name"))
        return [_entitlement(row) for row in found]

    def entitlement_history(self, principal: str | None = None) -> list[Fact[Entitlement]]:
        """Everything that was ever recorded of entitlements, or of one principal's, in order."""
        with self._database.reading() as connection:
            found = facts_about(connection, entitlements, {"principal": principal})
        return [fact_of(row, _entitlement(row)) for row in found]

    def _entitle(
        self,
        row: dict[str, Any],
        valid_from: datetime | None,
        valid_until: datetime | None,
        by: str | None,
        why: str | None,
    ) -> None:
        name_of("principal", row["principal"])
        name_of(row["kind"], row["name"])
        with self._database.recording(by, why) as connection:
            row |= validity_of(self._database.now(connection) if valid_from is None else valid_from, valid_until)
            self._database.put(connection, entitlements, [row])
            self._database.advance(connection, [PrincipalId(row["principal"])])


def _entitlement(row: Row[Any]) -> Entitlement:
    return Entitlement(
        principal=PrincipalId(row.principal),
        kind=EntitlementKind(row.kind),
        name=row.name,
        value=None if row.value is None else decode(row.value),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
