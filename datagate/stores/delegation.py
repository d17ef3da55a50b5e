"""Issue, suspend, resume and revoke mandates, count their uses, and read them back, as they are and as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, text, update

from datagate.errors import StateError
from datagate.model.caller import ActorKind
from datagate.model.facts import ANY_KIND, Mandate
from datagate.model.names import MandateId, PrincipalId
from datagate.model.values import AttributeValue
from datagate.stores import reading
from datagate.stores.encoding import encode_parameters, encode_purposes
from datagate.stores.engine import StateDatabase, name_of, validity_of
from datagate.stores.history import as_of, facts_about
from datagate.stores.records import Fact
from datagate.stores.rows import fact_of, rows_of
from datagate.stores.tables import mandate_uses, mandates

_NO_PARAMETERS: Mapping[str, AttributeValue] = MappingProxyType({})
_USE = text("SELECT datagate.use_mandate(:mandate, :session, statement_timestamp())")


class Delegating:
    """The part of `StateStore` that is about mandates."""

    _database: StateDatabase

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
        max_uses: int | None = None,
        actor_kinds: Iterable[ActorKind | str] = ANY_KIND,
        mandate_id: str | None = None,
        by: str | None = None,
        why: str | None = None,
    ) -> Mandate:
        """Hand a principal's authority to a holder; with ``parent``, a part of what its holder was handed.

        A sub-mandate may say more than its parent: a decision takes the intersection of the whole chain.

        ``max_uses``: how many sessions may start under it or a part of it; None: any number. A use is a session, not a
        statement: it is counted when the first statement is admitted, and how many statements a program needs for what
        it does is not the principal's business. ``actor_kinds``: the kinds of actor that may act under it. ``by`` and
        ``why`` go into the history.

        Raises:
            StateError: Not the parent's principal, or the parent has ended, rests, or allows no more links.
        """
        kinds = _kinds(actor_kinds)
        issued = mandate_id if mandate_id is not None else str(uuid4())
        row: dict[str, object] = {
            "mandate_id": name_of("mandate", issued),
            "principal": name_of("principal", principal),
            "holder": name_of("holder", holder),
            "scope": name_of("scope", scope),
            "parameters": encode_parameters(parameters),
            "purposes": encode_purposes(name_of("purpose", purpose) for purpose in purposes),
            "parent": parent,
            "sub_delegable": sub_delegable,
            "max_uses": max_uses,
            "actor_kinds": None if kinds == ANY_KIND else tuple(kind.value for kind in kinds),
        }
        if row["purposes"] == "[]":
            raise StateError("a mandate needs a purpose")
        if principal == holder:
            raise StateError(f"{principal} needs no mandate to act in their own name")
        if sub_delegable < 0:
            raise StateError("sub_delegable counts the links that may hang below: 0 or more")
        if max_uses is not None and max_uses < 1:
            raise StateError("max_uses counts the sessions that may start: 1 or more, or None for any number")
        with self._database.recording(by, why) as connection:
            now = self._database.now(connection)
            row |= validity_of(now if valid_from is None else valid_from, valid_until)
            if parent is not None:
                _hangs_from(reading.mandate(connection, parent, lock=True), principal, sub_delegable, now)
            connection.execute(mandates.insert(), row)
            self._database.write_facts(connection, mandates, [row], present=True)
            self._database.advance(connection, [PrincipalId(principal), PrincipalId(holder)])
            return reading.mandate(connection, issued)

    def revoke_mandate(
        self, mandate_id: str, *, at: datetime | None = None, by: str | None = None, why: str | None = None
    ) -> Mandate:
        """End a mandate, and all that hang below it; one that was revoked earlier stays so."""

        def revoked(found: Mandate, now: datetime) -> dict[str, datetime | None] | None:
            when = now if at is None else at
            return None if found.revoked_at is not None and found.revoked_at <= when else {"revoked_at": when}

        return self._change(mandate_id, revoked, by, why)

    def suspend_mandate(
        self, mandate_id: str, *, at: datetime | None = None, by: str | None = None, why: str | None = None
    ) -> Mandate:
        """Let a mandate rest, and all that hang below it, until it is resumed; one that rests already stays so."""

        def suspended(found: Mandate, now: datetime) -> dict[str, datetime | None] | None:
            when = now if at is None else at
            return None if found.suspended_at is not None and found.suspended_at <= when else {"suspended_at": when}

        return self._change(mandate_id, suspended, by, why)

    def resume_mandate(self, mandate_id: str, *, by: str | None = None, why: str | None = None) -> Mandate:
        """End a suspension; StateError for a mandate that was revoked, which nothing brings back."""

        def resumed(found: Mandate, now: datetime) -> dict[str, datetime | None] | None:
            if found.revoked_at is not None and found.revoked_at <= now:
                raise StateError(f"mandate {mandate_id} was revoked; issue a new one")
            return None if found.suspended_at is None else {"suspended_at": None}

        return self._change(mandate_id, resumed, by, why)

    def use_mandates(self, chain: Iterable[Mandate], session_id: str) -> MandateId | None:
        """Count a use of each mandate of a chain that has a number of them; the same session counts once.

        Returns:
            None, or the mandate that is used up; then no use is counted of any.
        """
        limited = [mandate for mandate in chain if mandate.max_uses is not None]
        if not limited:
            return None
        with self._database.writing() as connection:
            for mandate in limited:
                if not self._use(connection, mandate, session_id):
                    connection.rollback()
                    return mandate.id
        return None

    def uses_of(self, mandate_id: str) -> int:
        """How many sessions have started under a mandate, or a part of it; counted only where it has a maximum."""
        query = select(func.count()).select_from(mandate_uses).where(mandate_uses.c.mandate_id == mandate_id)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def list_mandates(
        self, *, principal: str | None = None, holder: str | None = None, at: datetime | None = None
    ) -> list[Mandate]:
        """All mandates, or one principal's, or those in one holder's hands, ended ones too; ``at``: as of then."""
        query = select(mandates) if at is None else as_of(mandates, at)
        given = {"principal": principal, "holder": holder}
        with self._database.reading() as connection:
            found = rows_of(connection, query, given, ("valid_from", "mandate_id"))
        return [reading.mandate_of(row) for row in found]

    def mandate_history(self, mandate_id: str | None = None, *, principal: str | None = None) -> list[Fact[Mandate]]:
        """Everything that was ever recorded of mandates, of one, or of one principal's, in order."""
        with self._database.reading() as connection:
            found = facts_about(connection, mandates, {"mandate_id": mandate_id, "principal": principal})
        return [fact_of(row, reading.mandate_of(row)) for row in found]

    def _use(self, connection: Connection, mandate: Mandate, session_id: str) -> bool:
        if self._database.is_postgres:
            # A function, so that whoever reads the state can count uses and change nothing else.
            return bool(connection.execute(_USE, {"mandate": mandate.id, "session": session_id}).scalar_one())
        reading.mandate(connection, mandate.id, lock=True)
        query = select(mandate_uses.c.session_id).where(mandate_uses.c.mandate_id == mandate.id)
        sessions = connection.execute(query).scalars().all()
        if session_id in sessions:
            return True
        if mandate.max_uses is not None and len(sessions) >= mandate.max_uses:
            return False
        used = {"mandate_id": mandate.id, "session_id": session_id, "used_at": self._database.now(connection)}
        connection.execute(insert(mandate_uses), used)
        return True

    def _change(
        self,
        mandate_id: str,
        change: Callable[[Mandate, datetime], dict[str, datetime | None] | None],
        by: str | None,
        why: str | None,
    ) -> Mandate:
        """Change a mandate as the function says of what is found; None: it is so already."""
        with self._database.recording(by, why) as connection:
            now = self._database.now(connection)
            found = reading.mandate(connection, mandate_id, lock=True)
            values = change(found, now)
            if values is None:
                return found
            mine = mandates.c.mandate_id == mandate_id
            connection.execute(update(mandates).where(mine).values(**values))
            changed = connection.execute(select(mandates).where(mine)).one()
            self._database.write_facts(connection, mandates, [dict(changed._mapping)], present=True)  # noqa: SLF001 - SQLAlchemy's public name
            self._database.advance(connection, [found.principal, found.holder])
            return reading.mandate_of(changed)


def _kinds(given: Iterable[ActorKind | str]) -> frozenset[ActorKind]:
    try:
        kinds = frozenset(ActorKind(each) for each in given)
    except ValueError:
        known = ", ".join(kind.value for kind in ActorKind)
        raise StateError(f"an actor is one of: {known}") from None
    if not kinds:
        raise StateError("a mandate needs a kind of actor that may hold it")
    return kinds


def _hangs_from(parent: Mandate, principal: str, sub_delegable: int, now: datetime) -> None:
    """Whether a link may be hung below; that of the parents above it was asked when the parent was issued."""
    if parent.principal != principal:
        raise StateError(f"mandate {parent.id} is not one of {principal}")
    if parent.revoked_at is not None or (parent.valid_until is not None and parent.valid_until <= now):
        raise StateError(f"mandate {parent.id} has ended")
    if parent.suspended_at is not None and parent.suspended_at <= now:
        raise StateError(f"mandate {parent.id} is suspended; resume it first")
    if parent.sub_delegable <= sub_delegable:
        raise StateError(
            f"mandate {parent.id} allows {parent.sub_delegable} links below it, not {sub_delegable + 1};"
            " lower sub_delegable, or ask its principal for more"
        )
