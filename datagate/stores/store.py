"""Change and read the state: entitlements, consents, mandates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import Engine, text

from datagate.errors import InterfaceError, OperationalError
from datagate.model.caller import Caller
from datagate.model.facts import Epoch, Facts
from datagate.model.names import PrincipalId, Purpose
from datagate.stores import creation, reading, turns
from datagate.stores.consenting import Consenting
from datagate.stores.delegation import Delegating
from datagate.stores.engine import IDENTITY, Clock, StateDatabase, identity_of
from datagate.stores.entitling import Entitling
from datagate.stores.listening import Asking, Listening
from datagate.stores.pulse import Pulse
from datagate.stores.signals import POLICIES_CHANNEL, POLICIES_PARTY


class StateStore(Entitling, Consenting, Delegating):
    """The state in one database: PostgreSQL (schema ``datagate``), SQLite, or another that SQLAlchemy knows.

    Whatever changes it is kept as one more fact in its history, with ``by`` (None: whoever the database says is
    connected) and ``why``; lists read the present, or with ``at`` what was recorded at a past instant.

    Args:
        engine: Where it is.
        clock: Says what time it is; by default the database does, whose clock judges what is in force. The history is
            dated by the database in any case.

    Every method raises StateError for what cannot be recorded and for a state of another version, OperationalError
    where the database fails.
    """

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._database = StateDatabase(engine, clock)
        self._pulse: Pulse | None = None

    def close(self) -> None:
        """Close the connections that the engine and the pulse keep; they open new ones when they are asked again."""
        if self._pulse is not None:
            self._pulse.close()
        self._database.close()

    def create(self) -> None:
        """Create the tables, and what keeps their epochs and histories, or migrate those of an earlier version.

        Raises:
            StateError: The database holds a state of a newer version of datagate.
        """
        creation.create(self._database)

    def grant_service_role(self, role: str) -> None:
        """Let the role that runs rewritten statements read what those statements need, and no more."""
        creation.grant_service_role(self._database, role)

    def grant_state_reader(self, role: str) -> None:
        """Let a role read all of the state, and count uses: the role that a gate learns its callers' facts with."""
        creation.grant_state_reader(self._database, role)

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

    def epochs(self, parties: Collection[PrincipalId]) -> Mapping[PrincipalId, int]:
        """How far each of these parties has come, 0 for one that never changed."""
        with self._database.reading() as connection:
            return reading.epochs_by_party(connection, parties)

    def turned(self, purposes: Collection[Purpose], since: datetime, until: datetime) -> bool:
        """Whether an answer for these purposes was narrowed between two instants without anybody's doing."""
        with self._database.reading() as connection:
            return turns.turned(connection, purposes, since, until)

    @property
    def tells_changes(self) -> bool:
        """Whether the database can tell of changes as they happen."""
        return self._database.is_postgres

    def listen(self) -> Listening:
        """A connection that hears of every change; OperationalError where the state cannot be listened to."""
        return Listening(self._listenable())

    def ask(self) -> Asking:
        """A connection that stays open to be asked for epochs; OperationalError as for :meth:`listen`."""
        return Asking(self._listenable())

    def _listenable(self) -> Engine:
        if not self._database.is_postgres:
            raise OperationalError("only PostgreSQL tells of changes; elsewhere the state is read for each statement")
        return self._database.engine

    def call_for_policies(self) -> None:
        """Tell every gate on this state to read its policies again; OperationalError where it is not PostgreSQL's."""
        self._listenable()
        with self._database.writing() as connection:
            connection.execute(text("SELECT datagate.advance_epochs(ARRAY[:party])"), {"party": POLICIES_PARTY})
            connection.execute(text("SELECT pg_catalog.pg_notify(:channel, '')"), {"channel": POLICIES_CHANNEL})

    @property
    def pulse(self) -> Pulse:
        """What tells, often and at once, whether the state changed; InterfaceError where the engine cannot."""
        if not self._database.is_postgres:
            raise InterfaceError("only a state on PostgreSQL tells its changes at once")
        if self._pulse is None:
            self._pulse = Pulse(self._database)
        return self._pulse

    def is_current(self, epoch: Epoch) -> bool:
        """Whether nothing changed for these parties; for state that statements cannot check by themselves."""
        with self._database.reading() as connection:
            return reading.epoch_of(connection, epoch.parties) == epoch
