"""asyncpg's connections, for callers who take turns on them: every statement passes the gate.

They are made by the dialect of `datagate.frontends.driver.asyncpg_dialect` alone. ``connection._protocol`` is where the
gate stands, and asyncpg's own protocol object behind it is, like libpq's, in reach of whoever programs in the same
process; it lies outside of what the driver guards.
"""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import asyncpg

from datagate.backends.postgres import faults
from datagate.errors import DataError, Error, InterfaceError, InternalError, NotSupportedError, OperationalError
from datagate.frontends.driver.admission import Admission, GateSession
from datagate.frontends.driver.asyncpg_protocol import GatedProtocol
from datagate.frontends.driver.flights import Revocable
from datagate.frontends.driver.lending import PUT_AWAY, SharedSession, TakesTurns

_LOG = logging.getLogger("datagate.driver")
_ARGUMENT = re.compile(r"query argument \$(\d+)")
# Policy values travel by the codecs of PostgreSQL's own types; of those, only these have none of them.
_FREE_CODECS = frozenset({"json", "jsonb", "inet", "cidr"})
_SETTINGS = (
    "application_name client_encoding DateStyle in_hot_standby integer_datetimes IntervalStyle is_superuser search_path"
    " server_encoding server_version session_authorization standard_conforming_strings TimeZone"
).split()
_SAID = {"S": "severity", "V": "severity_en", "C": "sqlstate"}


class AsyncpgConnection(TakesTurns, Revocable, asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """An asyncpg connection whose every statement passes the gate, for the caller to whom it is lent."""

    def __init__(self, protocol: Any, *args: Any) -> None:
        self._gated = GatedProtocol(protocol, self)
        self.turn = 0
        super().__init__(self._gated, *args)
        # Else asyncpg turns a setting off and on around what it asks about types.
        capabilities: Any = self._server_caps
        self._server_caps: Any = capabilities._replace(jit=False)

    # --- the gate ----------------------------------------------------------------------------------------------------

    @property
    def admission(self) -> Admission | None:
        """The way of the caller to whom the connection is lent; None while the gate is shut."""
        return self._admission

    def enter_gate(self, session: GateSession) -> None:
        """Open the gate for whoever the connection is opened for.

        Raises:
            OperationalError: The server reads string literals in another way than the gate does.
        """
        if self._gated.get_settings().standard_conforming_strings != "on":
            raise OperationalError("the server must run with standard_conforming_strings = on")
        self._admission = Admission(session)

    async def lend(self, session: SharedSession) -> None:
        """Open the gate for a caller, once nothing is left of the last one."""
        self._expect_free(session)
        if self._last is not session or self._protocol.is_in_transaction() or self.left_something:
            if self._protocol.is_in_transaction():
                await self._gated.put_away("ROLLBACK")
            await self._gated.put_away(PUT_AWAY.decode())
            self._top_xact = None
            self.turn += 1
            self.left_something = False
        self._open_gate(session)

    left_something = False

    def fault(self, way: Admission, error: asyncpg.PostgresError) -> Error:
        """Translate one of asyncpg's errors; a change of rights makes the session forget what it knew."""
        if error.severity is None:
            return self._clients_own(way, error)
        way.failed()
        state = error.sqlstate or "XX000"
        if state == faults.RIGHTS_CHANGED:
            way.refresh()
        if self._ended_by_the_gate(state):
            way.refresh()
            return faults.from_revoking()
        within = error.context is not None or error.internal_query is not None
        said = faults.Said(state, error.message or "", error.position is not None, within)
        return faults.from_fields(said, way.asked)

    def _clients_own(self, way: Admission, error: asyncpg.PostgresError) -> Error:
        """Translate what asyncpg itself finds wrong with a value."""
        if isinstance(error, asyncpg.PostgresConnectionError) or self.is_closed():
            return OperationalError("the connection to the server is closed or was lost; connect again")
        numbers = [int(number) for number in _ARGUMENT.findall(str(error))]
        if any(number > self._gated.own for number in numbers):
            return InternalError("a policy value cannot be sent to the server; nothing was sent")
        del way
        return DataError(str(error), sqlstate="22000")

    # --- statements under way ----------------------------------------------------------------------------------------

    def begins(self) -> None:
        """A statement begins."""
        self._revoked = False

    @property
    def under_way(self) -> bool:
        """Whether a statement runs now; the gate's lookout asks."""
        return self._gated.busy > 0

    def _cancel_under_way(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._cancel_now)
        except RuntimeError:
            _LOG.warning("a statement whose caller's rights ended could not be cancelled: its loop is closed")

    def _cancel_now(self) -> None:
        if not self.is_closed():
            self._cancel_current_command(self._loop.create_future())

    def _cleanup(self) -> None:
        self._watch_no_longer()
        super()._cleanup()

    # --- what would go past the gate ---------------------------------------------------------------------------------

    def get_settings(self) -> Any:
        """The server's settings, to read."""
        found = self._gated.get_settings()
        return SimpleNamespace(**{name: getattr(found, name) for name in _SETTINGS if hasattr(found, name)})

    async def set_type_codec(self, typename: str, *, schema: str = "public", **codec: Any) -> None:
        """As asyncpg's, but for types by which policy values travel."""
        self._expect_free_codec(typename, schema)
        await super().set_type_codec(typename, schema=schema, **codec)

    async def reset_type_codec(self, typename: str, *, schema: str = "public") -> None:
        """As asyncpg's."""
        self._expect_free_codec(typename, schema)
        await super().reset_type_codec(typename, schema=schema)

    async def set_builtin_type_codec(self, typename: str, *, schema: str = "public", **codec: Any) -> None:
        """As asyncpg's, but for types by which policy values travel."""
        self._expect_free_codec(typename, schema)
        await super().set_builtin_type_codec(typename, schema=schema, **codec)

    @staticmethod
    def _expect_free_codec(typename: str, schema: str) -> None:
        if schema == "pg_catalog" and typename not in _FREE_CODECS:
            raise NotSupportedError(
                f"policy values may travel as {typename}, so that its codec stays asyncpg's; "
                "convert values in the application instead"
            )

    def _process_log_message(self, fields: dict[str, str], last_query: str) -> None:
        """Hand a notice to the connection's listeners, with nothing in it that could be hidden from the caller."""
        asked = self._admission.asked if self._admission is not None else ""
        state = fields.get("C", "00000")
        said = faults.Said(state, fields.get("M", ""), "P" in fields, "W" in fields or "q" in fields)
        quiet = {key: value for key, value in fields.items() if key in _SAID}
        del last_query
        super()._process_log_message({**quiet, "M": faults.notice(said, asked)}, asked)


def translated(error: asyncpg.PostgresError | asyncpg.InterfaceError | OSError) -> Error:
    """Translate what failed before there was a session, hence before anything hidden could be read."""
    if isinstance(error, asyncpg.PostgresError):
        return OperationalError(str(error), sqlstate=error.sqlstate)
    if isinstance(error, asyncpg.InterfaceError):
        return InterfaceError(str(error))
    return OperationalError(str(error))
