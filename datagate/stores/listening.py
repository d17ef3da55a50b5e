"""One connection that hears of every change of the state, and answers whether what was read is still in force."""

from __future__ import annotations

import json
import select
from collections import deque
from collections.abc import Collection, Mapping, Sequence
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
    """What was told. ``everybody``: it may concern anyone; ``policies``: they are to be read again.

    ``parties``: whom it concerns; ``epochs``: how far those of them have come whose rights changed; ``roles``: those of
    them for whom nothing changed but that they were given these roles.
    """

    parties: frozenset[PrincipalId]
    epochs: Mapping[PrincipalId, int]
    roles: Mapping[PrincipalId, frozenset[str]]
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
        concerned = [_concerned(payload) for channel, payload in notices if channel == CHANNEL]
        epochs: dict[PrincipalId, int] = {}
        roles: dict[PrincipalId, frozenset[str]] = {}
        otherwise: set[PrincipalId] = set()
        for party, value, given in (each for one in concerned for each in one or ()):
            epochs[party] = max(value, epochs.get(party, 0))
            roles[party] = roles.get(party, frozenset()) | given
            if not given:
                otherwise.add(party)
        return Heard(
            parties=frozenset(epochs),
            epochs={party: value for party, value in epochs.items() if value},
            roles={party: given for party, given in roles.items() if party not in otherwise},
            everybody=None in concerned,
            policies=any(channel == POLICIES_CHANNEL for channel, _ in notices),
        )


def _concerned(payload: str) -> Sequence[tuple[PrincipalId, int, frozenset[str]]] | None:
    """Whom a payload names, with the epoch or 0, and the roles that are all that changed, if they are.

    None: it may be anyone, also where it is no payload of our triggers'.
    """
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"purposes": list(purposes), **more} if not more and _are_texts(purposes):
            return [(party, 0, frozenset()) for party in consent_parties(purposes)]
        case {"parties": dict(parties), **more} if all(type(each) is int for each in parties.values()):
            roles = more.pop("roles", {})
            if more or not isinstance(roles, dict) or not all(map(_are_texts, roles.values())):
                return None
            return [(PrincipalId(each), value, frozenset(roles.get(each, ()))) for each, value in parties.items()]
        case _:
            return None


def _are_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(each, str) for each in found)


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
