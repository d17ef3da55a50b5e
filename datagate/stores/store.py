"""Change and read the state: entitlements, consents, mandates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import Engine, Row, Select, delete, select

from datagate.errors import InterfaceError, StateError
from datagate.model.caller import Caller
from datagate.model.facts import Epoch, Facts, Mandate
from datagate.model.names import PrincipalId, Purpose
from datagate.model.values import AttributeValue
from datagate.stores import creation, delegation, reading
from datagate.stores.encoding import decode, encode
from datagate.stores.engine import IDENTITY, Clock, StateDatabase, identity_of, name_of, validity_of
from datagate.stores.pulse import Pulse
from datagate.stores.records import Consent, Entitlement, EntitlementKind
from datagate.stores.tables import consents, entitlements, mandates

_NO_PARAMETERS: Mapping[str, AttributeValue] = MappingProxyType({})


class StateStore:
    """The state in one database: PostgreSQL (schema ``datagate``), SQLite, or another that SQLAlchemy knows.

    Args:
        engine: Where it is.
        clock: Says what time it is; by default the database does, whose clock judges what is in force.

    Every method raises StateError for what cannot be recorded, OperationalError where the database fails.
    """

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._database = StateDatabase(engine, clock)

    def close(self) -> None:
        """Close the connections that the engine keeps; it opens new ones when it is asked again."""
        self._database.close()

    def create(self) -> None:
        """Create the tables, and what keeps their epochs; again changes nothing.

        Raises:
            StateError: The database holds a state of another version of datagate.
        """
        creation.create(self._database)

    def grant_service_role(self, role: str) -> None:
        """Let the role that runs rewritten statements read what those statements need, and no more."""
        creation.grant_service_role(self._database, role)

    def grant_state_reader(self, role: str) -> None:
        """Let a role read all of the state: the role that a gate connects with to learn its callers' facts."""
        creation.grant_state_reader(self._database, role)

    def grant_role(
        self, principal: str, role: str, *, valid_from: datetime | None = None, valid_until: datetime | None = None
    ) -> None:
        """Grant a role, in place of an earlier grant of it. ``valid_from`` None: now; ``valid_until`` None: no end."""
        self._entitle(principal, EntitlementKind.ROLE, role, None, valid_from, valid_until)

    def grant_attribute(
        self,
        principal: str,
        attribute: str,
        value: AttributeValue,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> None:
        """Give an attribute its value, in place of the one it had. Validity as for roles."""
        self._entitle(principal, EntitlementKind.ATTRIBUTE, attribute, encode(value), valid_from, valid_until)

    def withdraw_entitlement(self, principal: str, kind: EntitlementKind, name: str) -> None:
        """Withdraw a role or an attribute; StateError where the principal has none of that name."""
        table = entitlements.c
        with self._database.writing() as connection:
            gone = connection.execute(
                delete(entitlements).where(table.principal == principal, table.kind == kind.value, table.name == name)
            )
            if gone.rowcount == 0:
                raise StateError(f"{principal} has no {kind.value} {name}")
            self._database.advance(connection, [PrincipalId(principal)])

    def list_entitlements(self, principal: str | None = None) -> list[Entitlement]:
        """All entitlements, or those of one principal, in force or not."""
        query = select(entitlements).order_by(entitlements.c.principal, entitlements.c.kind, entitlements.c.name)
        return [
            Entitlement(
                principal=PrincipalId(row.principal),
                kind=EntitlementKind(row.kind),
                name=row.name,
                value=None if row.value is None else decode(row.value),
                valid_from=row.valid_from,
                valid_until=row.valid_until,
            )
            for row in self._rows(query, principal=principal)
        ]

    def give_consent(
        self,
        data_subject: str,
        purpose: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> None:
        """Record a yes, in place of the data subject's earlier answer for this very purpose."""
        self.give_consents([data_subject], purpose, valid_from=valid_from, valid_until=valid_until)

    def give_consents(
        self,
        data_subjects: Iterable[str],
        purpose: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> None:
        """Record a yes of each data subject."""
        self._answer(data_subjects, purpose, granted=True, valid_from=valid_from, valid_until=valid_until)

    def withdraw_consent(self, data_subject: str, purpose: str, *, at: datetime | None = None) -> None:
        """Record a no. It stands also where there was no yes, and against a yes for a purpose that contains this."""
        self._answer([data_subject], purpose, granted=False, valid_from=at, valid_until=None)

    def list_consents(self, data_subject: str | None = None, purpose: str | None = None) -> list[Consent]:
        """All answers, or those of one data subject or for one very purpose."""
        query = select(consents).order_by(consents.c.data_subject, consents.c.purpose)
        return [
            Consent(row.data_subject, Purpose(row.purpose), row.granted, row.valid_from, row.valid_until)
            for row in self._rows(query, data_subject=data_subject, purpose=purpose)
        ]

    def issue_mandate(
        self,
        principal: str,
        holder: str,
        scope: str,
        *,
        purposes: Iterable[str],
        parameters: Mapping[str, AttributeValue] = _NO_PARAMETERS,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        parent: str | None = None,
        sub_delegable: int = 0,
        mandate_id: str | None = None,
    ) -> Mandate:
        """Hand a principal's authority to a holder; with ``parent``, a part of what its holder was handed.

        A sub-mandate may say more than its parent: a decision takes the intersection of the whole chain.

        Raises:
            StateError: Not the parent's principal, or the parent has ended or allows no more links.
        """
        return delegation.issue(
            self._database,
            mandate_id if mandate_id is not None else str(uuid4()),
            principal=principal,
            holder=holder,
            scope=scope,
            purposes=purposes,
            parameters=parameters,
            valid_from=valid_from,
            valid_until=valid_until,
            parent=parent,
            sub_delegable=sub_delegable,
        )

    def revoke_mandate(self, mandate_id: str, *, at: datetime | None = None) -> Mandate:
        """End a mandate, and all that hang below it; one that was revoked earlier stays so."""
        return delegation.revoke(self._database, mandate_id, at)

    def list_mandates(self, *, principal: str | None = None, holder: str | None = None) -> list[Mandate]:
        """All mandates, or those of one principal or in one holder's hands, ended ones too."""
        query = select(mandates).order_by(mandates.c.valid_from, mandates.c.mandate_id)
        rows = self._rows(query, principal=principal, holder=holder)
        return [reading.mandate_of(row) for row in rows]

    def facts(self, caller: Caller, instant: datetime | None = None) -> Facts:
        """Read all that a decision for this caller needs, as one snapshot holds it."""
        with self._database.reading() as connection:
            return reading.facts(connection, caller, instant if instant is not None else self._database.now(connection))

    def now(self) -> datetime:
        """What time it is where the state is kept."""
        with self._database.reading() as connection:
            return self._database.now(connection)

    def shares_database(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether the state lies in the very database of a psycopg connection, so that statements can read it."""
        with self._database.reading() as own:
            return identity_of(own) == tuple(connection.execute(IDENTITY).fetchone() or ())

    def consenting(self, purposes: Sequence[Purpose], instant: datetime) -> tuple[str, ...]:
        """The data subjects whose nearest answer is yes at an instant; ``purposes`` runs up to the root."""
        nearest: dict[str, bool] = {}
        for purpose in purposes:
            for answer in self.list_consents(purpose=purpose):
                ended = answer.valid_until is not None and answer.valid_until <= instant
                if answer.valid_from <= instant and not ended:
                    nearest.setdefault(answer.data_subject, answer.granted)
        return tuple(data_subject for data_subject, granted in nearest.items() if granted)

    def is_current(self, epoch: Epoch) -> bool:
        """Whether nothing changed for these parties; for state that statements cannot check by themselves."""
        with self._database.reading() as connection:
            return reading.epoch_of(connection, epoch.parties) == epoch

    def pulse(self) -> Pulse:
        """What tells, often and at once, whether the state changed; InterfaceError where the engine cannot."""
        if not self._database.is_postgres:
            raise InterfaceError("only a state on PostgreSQL tells its changes at once")
        return Pulse(self._database)

    def _entitle(
        self,
        principal: str,
        kind: EntitlementKind,
        name: str,
        value: str | None,
        valid_from: datetime | None,
        valid_until: datetime | None,
    ) -> None:
        row: dict[str, object] = {
            "principal": name_of("principal", principal),
            "kind": kind.value,
            "name": name_of(kind.value, name),
            "value": value,
        }
        with self._database.writing() as connection:
            row |= validity_of(self._database.now(connection) if valid_from is None else valid_from, valid_until)
            self._database.put(connection, entitlements, [row])
            self._database.advance(connection, [PrincipalId(principal)])

    def _answer(
        self,
        data_subjects: Iterable[str],
        purpose: str,
        *,
        granted: bool,
        valid_from: datetime | None,
        valid_until: datetime | None,
    ) -> None:
        # The same data subject twice in one call is one answer.
        names = [name_of("data subject", each) for each in dict.fromkeys(data_subjects)]
        answer: dict[str, object] = {"purpose": name_of("purpose", purpose), "granted": granted}
        with self._database.writing() as connection:
            answer |= validity_of(self._database.now(connection) if valid_from is None else valid_from, valid_until)
            if names:
                self._database.put(connection, consents, [{"data_subject": name, **answer} for name in names])

    def _rows(self, query: Select[Any], **given: str | None) -> list[Row[Any]]:
        """The rows of a query in which each given column has the given value."""
        for name, value in given.items():
            if value is not None:
                query = query.where(query.selected_columns[name] == value)
        with self._database.reading() as connection:
            return list(connection.execute(query))
