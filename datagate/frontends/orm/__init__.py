"""SQLAlchemy sessions and engines for applications that keep their models: every statement passes the gate.

This room stands above the driver, whose connections and dialect it hands from caller to caller; it decides nothing.
"""

from __future__ import annotations

from typing import Any, overload

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from datagate.errors import InterfaceError
from datagate.frontends.orm.engine import GatedEngine, gate_engine
from datagate.frontends.orm.session import GatedSession, masked_columns
from datagate.frontends.orm.session_async import AsyncGatedSession
from datagate.gate import Gate


@overload
def gated_sessionmaker(bind: Engine, *, gate: Gate, **options: Any) -> sessionmaker[GatedSession]: ...
@overload
def gated_sessionmaker(bind: AsyncEngine, *, gate: Gate, **options: Any) -> async_sessionmaker[AsyncGatedSession]: ...
@overload
def gated_sessionmaker(bind: GatedEngine, *, gate: None = None, **options: Any) -> Any: ...
def gated_sessionmaker(bind: Engine | AsyncEngine | GatedEngine, *, gate: Gate | None = None, **options: Any) -> Any:
    """Give what makes sessions of callers: call it with ``caller=…`` for each.

    Args:
        bind: the application's own engine, synchronous or asynchronous, or one of `gate_engine`.
        gate: the gate, unless the engine has it.
        **options: as for `sqlalchemy.orm.sessionmaker`.

    Raises:
        InterfaceError: no gate, or two; ``class_`` is no class of gated sessions.
    """
    if isinstance(bind, GatedEngine):
        if gate is not None and gate is not bind.gate:
            raise InterfaceError("the engine has a gate already")
        gated = bind
    elif gate is None:
        raise InterfaceError("gated_sessionmaker needs gate=Gate.open(…)")
    else:
        gated = gate_engine(bind, gate)
    kind: type = AsyncGatedSession if gated.is_async else GatedSession
    maker: Any = async_sessionmaker if gated.is_async else sessionmaker
    chosen = options.pop("class_", kind)
    if not issubclass(chosen, kind):
        raise InterfaceError(f"class_ must be a subclass of {kind.__name__}")
    return maker(bind=gated, class_=chosen, **options)


__all__ = [
    "AsyncGatedSession",
    "GatedEngine",
    "GatedSession",
    "gate_engine",
    "gated_sessionmaker",
    "masked_columns",
]
