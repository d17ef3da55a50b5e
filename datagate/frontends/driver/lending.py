"""A connection that goes from caller to caller, as the pool of a shared engine hands it on.

Law: between two callers the gate is shut, so that every statement is refused; before it opens for another caller,
whatever of the last one could live on in the server's session is put away: cursors held beyond their transaction,
settings, temporary relations, locks, notifications, sequences' last values, and statements prepared by name
(PostgreSQL manual, DISCARD). The statements that psycopg prepares stay, as they are texts of the gate's and no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from psycopg import generators, pq
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.rows import Row

from datagate.errors import InterfaceError
from datagate.frontends.driver.admission import Admission, GateSession
from datagate.frontends.driver.guarding import Gated

if TYPE_CHECKING:
    from datagate.frontends.driver.admission import Flight

_KEPT = 64
_IDLE = pq.TransactionStatus.IDLE
PUT_AWAY = (
    b"CLOSE ALL; UNLISTEN *; SET SESSION AUTHORIZATION DEFAULT; RESET ALL;"
    b" SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)


class SharedSession(GateSession, Protocol):
    """A way through the gate for several connections of one caller; `datagate.gate.GateSession` is one."""

    def beside(self) -> GateSession:
        """The same, for one connection and what it keeps."""


class TakesTurns:
    """What a connection of whichever library needs to go from caller to caller."""

    _admission: Admission | None = None
    _last: SharedSession | None = None
    _watching: GateSession | None = None

    @property
    def _kept_admissions(self) -> dict[SharedSession, Admission]:
        """What was prepared for sending, for when a caller comes again."""
        kept: dict[SharedSession, Admission] = self.__dict__.setdefault("_admissions", {})
        return kept

    def shut_gate(self) -> None:
        """Refuse every statement until the connection is lent again."""
        self._admission = None

    def _open_gate(self, session: SharedSession) -> None:
        kept = self._kept_admissions
        if len(kept) >= _KEPT:
            kept.clear()
        if session not in kept:
            # What one connection keeps (cursors, prepared queries) is nothing to another of the same caller's.
            kept[session] = Admission(session.beside())
        admission = self._admission = kept[session]
        self._last = session
        if self._watching is not admission.session:
            # What runs here from now on ends when this caller's rights do, and no other's.
            self._watch_no_longer()
            self._watching = admission.session
            admission.session.watch(cast("Flight", self))

    def _watch_no_longer(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.leave()

    def _expect_free(self, session: SharedSession) -> None:
        lent_out = self._last is not None and self._admission is not None
        if lent_out and self._admission is not self._kept_admissions.get(session):
            raise InterfaceError("the connection is still lent to another caller")


class Lent(TakesTurns, Gated[Row]):
    """What makes a gated connection one that callers take turns on."""

    def leave_gate(self) -> None:
        """The connection is being closed."""
        self._watch_no_longer()
        super().leave_gate()

    def _is_clean_for(self, session: SharedSession) -> bool:
        """Whether nothing that somebody else left can be there."""
        self._expect_free(session)
        idle = self.pgconn.transaction_status == _IDLE
        return idle and not self.has_session_state and self._last is session

    def _clean_gen(self) -> PQGen[None]:
        """Put away what the last caller left."""
        if self.pgconn.transaction_status != _IDLE:
            yield from self._exec_command(b"ROLLBACK")
        self.pgconn.send_query(PUT_AWAY)
        for result in (yield from generators.execute(self.pgconn)):
            if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                raise error_from_result(result, encoding="utf-8")
        if self.has_session_state:
            self._kept_admissions.clear()
            self._prepared.clear()
            yield from self._prepared.maintain_gen(self)
        self.has_session_state = False


def lent(connection: Any) -> Any:
    """The driver's connection in what a pool holds: itself, or the one that SQLAlchemy's asynchronous adapter wraps.

    Raises:
        InterfaceError: It is none of this driver's.
    """
    inner = getattr(connection, "driver_connection", connection)
    if not isinstance(inner, TakesTurns):
        raise InterfaceError("the pool holds a connection that does not pass the gate; nothing was sent")
    return inner
