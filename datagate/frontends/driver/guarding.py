"""What sync and async connections share: two doors, both shut by default.

Statements: `Gated.expect_cursor` is called by this driver's cursors alone, so that any other cursor class put onto the
connection (``psycopg.Cursor(connection)``) is refused before it sends anything. Commands that psycopg itself makes
(BEGIN, FETCH, CLOSE …): only those of `_COMMANDS` pass, two-phase commands go through the gate, the rest is refused.

``connection.pgconn`` and ``cursor.pgresult`` are libpq's own objects: whoever programs in the same process can reach
them as he can reach the password. They lie outside of what the driver guards.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any, ClassVar
from weakref import ReferenceType, ref

import psycopg
from psycopg import capabilities, pq, waiting
from psycopg.abc import Params, PQGen, Query
from psycopg.errors import _WaitTimeout  # private: what wait_conn raises when time is up
from psycopg.rows import Row
from psycopg.sql import Composable

from datagate import errors
from datagate.audit import Completion
from datagate.backends.postgres import faults
from datagate.frontends.driver.admission import Admission, GateSession, Statement
from datagate.frontends.driver.completing import Tally, completion, sqlstate_of
from datagate.frontends.driver.flights import LATE_CANCEL, OwnErrors, Revocable

_IDLE = pq.TransactionStatus.IDLE
_ACTIVE = pq.TransactionStatus.ACTIVE
_STEP = 0.05
_LOG = logging.getLogger("datagate.driver")
_TEXT = pq.Format.TEXT

_NAME = r'"(?:[^"\0]|"")*"'
_LITERAL = r"(?:'(?:[^'\\\0]|'')*'|\ E'(?:[^'\\\0]|''|\\\\)*')"
_PLAIN = frozenset({b"BEGIN", b"COMMIT", b"ROLLBACK"})
_COMMANDS = re.compile(
    rf"""BEGIN(?:\ ISOLATION\ LEVEL\ (?:READ\ (?:UN)?COMMITTED|REPEATABLE\ READ|SERIALIZABLE))?
            (?:\ READ\ (?:ONLY|WRITE))?(?:\ (?:NOT\ )?DEFERRABLE)?
    | (?:SAVEPOINT|RELEASE|ROLLBACK\ TO|CLOSE)\ {_NAME}
    | DEALLOCATE\ (?:ALL|_pg3_[0-9]+)
    | FETCH\ FORWARD\ (?:ALL|\ ?-?[0-9]+)\ FROM\ {_NAME}
    | MOVE(?:\ ABSOLUTE)?\ \ ?-?[0-9]+\ FROM\ {_NAME}
    | SELECT\ 1\ FROM\ pg_catalog\.pg_cursors\ WHERE\ name\ =\ {_LITERAL}""".encode(),
    re.VERBOSE,
)
_FETCHING = re.compile(rb'(?:FETCH|MOVE)\ .*\ FROM\ "((?:[^"\0]|"")*)"')
_TWO_PHASE = re.compile(rf"(?:PREPARE\ TRANSACTION|COMMIT\ PREPARED|ROLLBACK\ PREPARED)\ {_LITERAL}".encode())


class NeutralInfo(psycopg.ConnectionInfo):
    """Psycopg's connection properties, without the server's last error message."""

    @property
    def error_message(self) -> str:
        """Empty: the server's words may quote hidden values; the exception says what can be said."""
        return ""


class Gated(OwnErrors, Revocable, psycopg.BaseConnection[Row]):
    """What makes one of psycopg's connections a gated one."""

    _admission: Admission | None = None
    _expects_cursor = False
    # Whether the statement under way is the first of its transaction, so that nothing is lost by starting over.
    _is_first = False
    # Whether a transaction() block has begun in which nothing ran yet.
    _untouched = False
    # Whether a statement ran that may have left something in the server's session (a setting, a cursor, a lock).
    has_session_state = False

    _retryable: ClassVar[frozenset[pq.TransactionStatus]] = frozenset(
        {pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR}
    )

    def enter_gate(self, session: GateSession) -> None:
        """Give the connection its caller's gate session, once.

        Raises:
            OperationalError: The server reads string literals in another way than the gate does.
            InterfaceError: The connection has a session already.
        """
        if self._admission is not None:
            raise errors.InterfaceError("the connection has its gate session already; open another connection")
        if self.pgconn.parameter_status(b"standard_conforming_strings") != b"on":
            raise errors.OperationalError("the server must run with standard_conforming_strings = on")
        self._admission = Admission(session)
        session.watch(self)
        self.pgconn.notice_handler = partial(_pass_notice, ref(self))

    def admit(self, query: Query, parameters: Params | None, *, ahead: bool = False) -> Any:
        """Pass a statement through the gate; the answer is an `admission.Statement`, which psycopg hands on unread.

        ``ahead``: `completed` or `failed` is called however the statement ends, and before any row of it leaves.

        Raises:
            DatagateError: The gate's refusals, and what is wrong with the statement.
        """
        if self._admission is None:
            raise errors.InterfaceError("the connection has no gate; open it with datagate.connect()")
        statement = self._admission.admit(query, parameters, self, ahead=ahead)
        if not statement.is_query and statement.sent:
            self.has_session_state = True
        return statement

    def completed(self, begun: int, rows: int | None, result: pq.abc.PGresult | None) -> None:
        """Record how the last statement of this thread or task ended; ``begun`` is of `perf_counter_ns`.

        Raises:
            AuditUnavailable: It is not recorded itself: nothing of its answer may leave.
        """
        if self._admission is not None:
            session = self._admission.session
            keyed = session.keyed if session.keeps_keys else None
            session.complete(session.recorded, completion(begun, rows, result, keyed))

    def failed(self, begun: int | None, error: BaseException) -> None:
        """Record that the last statement of this thread or task failed; ``begun`` None: it was never sent."""
        if self._admission is not None and begun is not None:
            session = self._admission.session
            microseconds = (perf_counter_ns() - begun) // 1000
            session.complete(session.recorded, Completion(None, microseconds, sqlstate_of(error)))

    @property
    def gives_rows_at_once(self) -> bool:
        """Whether a statement's rows are there when it has been executed, as they are outside of a pipeline."""
        return self._pipeline is None

    def tally(self) -> Tally:
        """For the completion of the statement that was just admitted, whose rows come in parts."""
        if self._admission is None:
            raise errors.InternalError("nothing was admitted; nothing is counted")
        return Tally(self._admission.session)

    def fault(self, error: psycopg.Error) -> errors.Error:
        """Translate one of psycopg's errors; a change of rights makes the session forget what it knew."""
        if self._admission is None:
            return faults.from_connecting(error)
        self._admission.failed()
        if error.sqlstate == faults.RIGHTS_CHANGED:
            self._admission.refresh()
        if self._ended_by_the_gate(error.sqlstate):
            self._admission.refresh()
            return faults.from_revoking()
        return faults.from_server(error, self._admission.asked)

    @property
    def under_way(self) -> bool:
        """Whether a statement runs now, or rows of it wait; the gate's lookout asks."""
        return self.pgconn.transaction_status == _ACTIVE

    def _cancel_under_way(self) -> None:
        try:
            if capabilities.has_cancel_safe():
                waiting.wait_conn(self._cancel_gen(), interval=_STEP, timeout=LATE_CANCEL)
            else:
                self.pgconn.get_cancel().cancel()
        except (psycopg.Error, _WaitTimeout) as error:
            # It is tried again for as long as the statement runs; it may have ended, or its connection, meanwhile.
            if self.under_way:
                told = "a statement whose caller's rights ended could not be cancelled yet: %s"
                _LOG.warning(told, type(error).__name__)

    def check_revoked(self) -> None:
        """RightsChanged if rows that wait already belong to a statement that the gate cancelled."""
        if self._revoked:
            if self._admission is not None:
                self._admission.refresh()
            raise faults.from_revoking()

    def leave_gate(self) -> None:
        """The connection is being closed."""
        if self._admission is not None:
            self._admission.session.leave()

    @property
    def info(self) -> psycopg.ConnectionInfo:
        """Connection properties (host, database, transaction status …)."""
        return NeutralInfo(self.pgconn)

    def is_alone(self, statements: Sequence[Statement]) -> bool:
        """Whether statements of one text are a transaction of their own: none is open, and none of them opens one."""
        return self.pgconn.transaction_status == _IDLE and all(not each.about_session for each in statements)

    def opened(self, cursor: str) -> None:
        """Note that a cursor is opened for the statement just admitted; only this driver's cursors call this."""
        if self._admission is not None:
            self._admission.opened(cursor)

    def expect_cursor(self) -> None:
        """Let the next statement start; only this driver's cursors call this."""
        self._expects_cursor = True

    def _start_query(self) -> PQGen[None]:
        if not self._expects_cursor:
            raise errors.NotSupportedError(
                "this cursor class sends statements past the gate; use connection.cursor(), or a subclass of "
                "datagate's cursors as cursor_factory"
            )
        self._expects_cursor = False
        self._is_first = self._untouched or self.pgconn.transaction_status == _IDLE
        self._untouched = False
        self._revoked = False
        return super()._start_query()

    def _exec_command(self, command: Query, result_format: pq.Format = _TEXT) -> PQGen[pq.abc.PGresult | None]:
        if isinstance(command, Composable):
            command = command.as_bytes(self)
        elif isinstance(command, str):
            command = command.encode(self.pgconn._encoding)  # noqa: SLF001 - as psycopg does
        if not isinstance(command, bytes) or not (command in _PLAIN or _COMMANDS.fullmatch(command)):
            command = self._two_phase(command)
        fetched = _FETCHING.fullmatch(command)
        if fetched is not None and self._admission is not None:
            self._admission.check_cursor(fetched[1].decode().replace('""', '"'))
        self._untouched = self._num_transactions == 1 and command == self._get_tx_start_command()
        return super()._exec_command(command, result_format)

    def _two_phase(self, command: object) -> bytes:
        """Pass a two-phase command through the gate; others, psycopg did not send when this was written."""
        if not isinstance(command, bytes) or not _TWO_PHASE.fullmatch(command):
            raise errors.InternalError("psycopg made a command that this driver does not know; nothing was sent")
        sent: bytes = self.admit(command, None).sent
        return sent

    def _check_connection_ok(self) -> None:
        try:
            return super()._check_connection_ok()
        except psycopg.Error as error:
            fault = self.fault(error)
        raise fault

    @property
    def may_start_over(self) -> bool:
        """Whether the statement that failed was the first of its transaction, and can be run again unnoticed."""
        return self._is_first and self._pipeline is None and self.pgconn.transaction_status in self._retryable

    def _start_over_gen(self) -> PQGen[None]:
        """Roll back and begin again, as far as a transaction was begun."""
        if self.pgconn.transaction_status == _IDLE:
            return
        yield from self._exec_command(b"ROLLBACK")
        self._prepared.clear()
        yield from self._prepared.maintain_gen(self)
        if self._num_transactions:
            yield from self._exec_command(self._get_tx_start_command())


def _pass_notice(connection: ReferenceType[Gated[Any]], result: pq.abc.PGresult) -> None:
    """Hand a notice to the connection's handlers, with nothing in it that could be hidden from the caller."""
    self = connection()
    if self is None or not self._notice_handlers:
        return
    admission = self._admission
    diagnostic = psycopg.errors.Diagnostic(result, "utf-8")
    quiet = faults.quiet_notice(diagnostic, admission.asked if admission is not None else "")
    for handler in self._notice_handlers:
        handler(quiet)
