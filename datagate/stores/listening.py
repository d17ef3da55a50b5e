"""One connection that hears of every change of the state, and answers whether what was read is still in force."""

from __future__ import annotations

import json
import select
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import psycopg
from sqlalchemy import Engine, exc

from datagate.errors import OperationalError
from datagate.model.names import PrincipalId, Purpose
from datagate.stores.postgres import CHANNEL
from datagate.stores.signals import POLICIES_CHANNEL, consent_parties
from datagate.stores.turns import TURNED

_EPOCHS = "SELECT party, value FROM datagate.epochs WHERE party OPERATOR(pg_catalog.=) ANY(%s)"

_RENEW = "SELECT datagate.renew_blocks(%(most)s)"
_RENEWED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Heard:
    """What was told. ``everybody``: it may concern anyone; ``policies``: they are to be read again."""

    parties: frozenset[PrincipalId]
    everybody: bool
    policies: bool


class Asking:
    """A connection that stays open to be asked for epochs; thread-safe. OperationalError where it is lost."""

    def __init__(self, engine: Engine) -> None:
        self._lock = Lock()
        self.connection = _connect(engine)

    def epochs(self, parties: Collection[PrincipalId]) -> Mapping[PrincipalId, int]:
        """How far each of these parties has come, 0 for one that never changed; by a snapshot taken now."""
        with self._lock:
            try:
                rows = self.connection.execute(_EPOCHS, (list(parties),)).fetchall()
            except psycopg.Error as error:
                raise OperationalError(f"the state database failed: {type(error).__name__}") from None
        return dict.fromkeys(parties, 0) | {PrincipalId(party): int(value) for party, value in rows}

    def now(self) -> datetime:
        """What time it is at the state."""
        return self._ask("SELECT pg_catalog.clock_timestamp()", {})  # type: ignore[no-any-return] # a timestamptz

    def turned(self, purposes: Collection[Purpose], since: datetime, until: datetime | None) -> bool:
        """What `datagate.stores.turns` says; ``until`` None: until now."""
        return bool(self._ask(TURNED, {"purposes": list(purposes), "since": since, "until": until}))

    def renew_blocks(self) -> None:
        """Have blocks of consents that ended by the clock read anew (`datagate.stores.blocks`), some at a time."""
        while self._ask(_RENEW, {"most": _RENEWED_AT_ONCE}) == _RENEWED_AT_ONCE:
            continue

    def _ask(self, query: str, given: Mapping[str, object]) -> Any:
        """The one value of an answer."""
        with self._lock:
            try:
                row = self.connection.execute(query.encode(), given).fetchone()
            except psycopg.Error as error:
                raise OperationalError(f"the state database failed: {type(error).__name__}") from None
        if row is None:
            raise OperationalError("the state database does not answer")
        return row[0]

    def close(self) -> None:
        """End the connection."""
        self.connection.close()


class Listening(Asking):
    """A connection that listens; one thread alone may hear."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._backlog: deque[psycopg.Notify] = deque()
        # What comes along with the answer to a question, psycopg hands on here.
        self.connection.add_notify_handler(self._backlog.append)
        try:
            self.connection.execute(f"LISTEN {CHANNEL}")
            self.connection.execute(f"LISTEN {POLICIES_CHANNEL}")
        except psycopg.Error as error:
            self.connection.close()
            raise OperationalError(f"the state database failed: {type(error).__name__}") from None

    def hear(self, waker: int, timeout: float | None) -> Heard | None:
        """Wait until something is told, or ``waker`` can be read, or time is up; None: nothing was told.

        Raises:
            OperationalError: The connection is lost: from now on anything may have changed.
        """
        pgconn = self.connection.pgconn
        try:
            # What came with the answer to a question waits already.
            told = self._told()
            if told is None:
                ready, _, _ = select.select([pgconn.socket, waker], [], [], timeout)
                if pgconn.socket in ready:
                    pgconn.consume_input()
                    told = self._told()
        except (psycopg.Error, OSError, ValueError) as error:
            raise OperationalError(f"the state's channel was lost: {type(error).__name__}") from None
        return told

    def _told(self) -> Heard | None:
        pgconn = self.connection.pgconn
        notices = [(each.channel, each.payload) for each in self._backlog]
        self._backlog.clear()
        while (notice := pgconn.notifies()) is not None:
            notices.append((notice.relname.decode(), notice.extra.decode("utf-8", "replace")))
        if not notices:
            return None
        named = [_parties(payload) for channel, payload in notices if channel == CHANNEL]
        return Heard(
            parties=frozenset(party for parties in named for party in parties or ()),
            everybody=None in named,
            policies=any(channel == POLICIES_CHANNEL for channel, _ in notices),
        )


def _parties(payload: str) -> tuple[PrincipalId, ...] | None:
    """Whom a payload names; None: it may be anyone, also where it is none that `datagate.stores.postgres` makes."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or len(found) != 1:
        return None
    ((kind, named),) = found.items()
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        return None
    if kind == "purposes":
        return consent_parties(named)
    return tuple(PrincipalId(each) for each in named) if kind == "parties" else None


def _connect(engine: Engine) -> psycopg.Connection[Any]:
    """A connection of the engine's making that does not go back to its pool."""
    try:
        pooled = engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
    except (psycopg.Error, exc.SQLAlchemyError) as error:
        raise OperationalError(f"the state database cannot be reached: {type(error).__name__}") from None
    if not isinstance(connection, psycopg.Connection):
        pooled.close()
        raise OperationalError("only through psycopg can the state of PostgreSQL be listened to")
    connection.rollback()
    connection.autocommit = True
    return connection
