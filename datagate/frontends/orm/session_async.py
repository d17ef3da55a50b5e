"""The asynchronous session for one caller."""

from __future__ import annotations

from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncSession

from datagate.errors import InterfaceError
from datagate.frontends.orm.engine import GatedEngine
from datagate.frontends.orm.session import GatedSession
from datagate.model.caller import Caller


class AsyncGatedSession(AsyncSession):
    """`GatedSession` for ``asyncio``.

    Whether what is held still stands is asked at each access, as there, by a short question that does not await. What
    has to be read again then cannot be, outside of an await: `RightsChanged` says so, and `refresh` reads it.
    """

    sync_session_class = GatedSession
    sync_session: GatedSession

    def __init__(self, bind: GatedEngine, *, caller: Caller, **options: Any) -> None:
        if not isinstance(bind, GatedEngine):
            raise InterfaceError("a gated session needs a bind made by gate_engine(async_engine, gate)")
        if not issubclass(options.get("sync_session_class", GatedSession), GatedSession):
            raise InterfaceError("sync_session_class must be a subclass of GatedSession")
        self._gated = bind
        self._options = options
        super().__init__(bind=bind.async_engine(caller), caller=caller, **options)

    @property
    def caller(self) -> Caller:
        """In whose name everything runs."""
        return self.sync_session.caller

    def acting_for(self, mandate_id: str, *, purpose: str | None = None) -> Self:
        """As `GatedSession.acting_for`."""
        lane = self._gated.lane(self.caller)
        narrower = lane.gate_session.acting_for(mandate_id, purpose=purpose)
        return type(self)(self._gated, caller=narrower, **self._options)
