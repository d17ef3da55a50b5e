"""Whether anything changed since: a question asked so often that it has a connection of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from datagate.errors import OperationalError
from datagate.model.names import PrincipalId, Purpose
from datagate.stores.engine import StateDatabase
from datagate.stores.postgres import CHANNEL

_BEAT = """
SELECT pg_catalog.statement_timestamp(), pg_catalog.pg_current_snapshot()::text,
       COALESCE((SELECT pg_catalog.sum(e.value) FROM datagate.epochs AS e
                 WHERE e.party OPERATOR(pg_catalog.=) ANY (%(parties)s::text[])), 0),
       COALESCE((SELECT pg_catalog.bool_or(datagate.has_moved('purpose', p, %(since)s::pg_catalog.pg_snapshot))
                 FROM pg_catalog.unnest(%(purposes)s::text[]) AS p WHERE %(since)s::text IS NOT NULL), false)"""
_TURN = """
SELECT min(t) FROM datagate.consents AS k, unnest(ARRAY[k.valid_from, k.valid_until]) AS t
WHERE k.purpose = ANY (%s::text[]) AND t > %s"""


@dataclass(frozen=True, slots=True)
class Beat:
    """How far the state has come; and the next instant at which an answer for some purposes begins or ends by itself.

    ``consents`` counts the times that answers were taken back or narrowed, as far as they were noticed.
    """

    instant: datetime
    parties: int
    consents: int
    turn: datetime | None


class Pulse:
    """Asks one PostgreSQL database whether its state changed. Thread-safe; a forked process opens its own connection.

    Raises:
        OperationalError: the database cannot be reached, or has no state in it.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._process = 0
        self._stirs = 0
        self._moves: dict[tuple[str, ...], tuple[str | None, int]] = {}
        self._turns: dict[tuple[str, ...], tuple[int, datetime | None]] = {}

    def beat(self, parties: Sequence[PrincipalId], purposes: Sequence[Purpose]) -> Beat:
        """How far the state has come by now for some parties, and for consents to some purposes."""
        asked = tuple(purposes)
        with self._lock:
            since, consents = self._moves.get(asked, (None, 0))
            given = {"parties": list(parties), "purposes": list(asked), "since": since}
            instant, snapshot, own, moved = self._ask(_BEAT, given)
            self._moves[asked] = (snapshot, consents + bool(moved))
            turn = self._turn(asked, consents + bool(moved), instant)
        return Beat(instant, int(own), consents + bool(moved), turn)

    def stirs(self) -> int:
        """Grows soon after any change of the state was committed; looks at what came in, and asks nothing."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                connected = self._connection.pgconn
                try:
                    connected.consume_input()
                except psycopg.OperationalError:
                    self._connection = None
                    self._stirs += 1
                while connected.notifies() is not None:
                    self._stirs += 1
            return self._stirs

    def _note(self, _notice: psycopg.Notify) -> None:
        self._stirs += 1

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _turn(self, purposes: tuple[str, ...], consents: int, instant: datetime) -> datetime | None:
        if not purposes:
            return None
        known = self._turns.get(purposes)
        if known is None or known[0] != consents or (known[1] is not None and known[1] <= instant):
            (turn,) = self._ask(_TURN, (list(purposes), instant))
            known = self._turns[purposes] = (consents, turn)
        return known[1]

    def _ask(self, query: str, parameters: object) -> tuple[Any, ...]:
        """The one row of an answer; a connection that was lost is opened again, once."""
        try:
            if self._connection is not None and self._process == os.getpid():
                return self._row(self._connection, query, parameters)
        except psycopg.OperationalError:
            self._connection = None
        try:
            self._connection = self._open()
            return self._row(self._connection, query, parameters)
        except psycopg.Error as error:
            raise OperationalError(f"the state database failed: {error}") from error

    @staticmethod
    def _row(connection: psycopg.Connection[Any], query: str, parameters: Any) -> tuple[Any, ...]:
        found = connection.execute(query.encode(), parameters).fetchone()
        return tuple(found or ())

    def _open(self) -> psycopg.Connection[Any]:
        connection = self._database.detached()
        connection.add_notify_handler(self._note)
        connection.execute(f"LISTEN {CHANNEL}")
        self._process = os.getpid()
        return connection
