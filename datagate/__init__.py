"""datagate: row and column filtering at the moment of action.

The public names, and nothing else. What is heavy is read when it is first asked for, so that catching an error or
naming a caller costs no database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from datagate.errors import (
    AuditUnavailable,
    DatabaseError,
    DataError,
    DatagateError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    KeyringError,
    NestedTooDeeply,
    NotSupportedError,
    OperationalError,
    PolicyError,
    Problem,
    ProgrammingError,
    ProtocolViolation,
    Refused,
    RightsChanged,
    RowGone,
    SeveralStatements,
    StateError,
    StatementSyntaxError,
    TokenRefused,
    UndefinedColumn,
    UndefinedRelation,
    UnsupportedConstruct,
    VerificationFailed,
    Warning,  # noqa: A004 - PEP 249 prescribes the name
)
from datagate.model.caller import Actor, ActorKind, Caller, TokenVerifier
from datagate.model.narrowing import Narrowing

if TYPE_CHECKING:
    from datagate.audit import (
        AuditRecord,
        Completion,
        Ed25519Key,
        Ed25519Verifier,
        HmacKey,
        JsonLinesSink,
        LoggingSink,
        Sink,
        TableSink,
    )
    from datagate.frontends.driver import AsyncConnection, Connection, connect, connect_async
    from datagate.frontends.orm import (
        AsyncGatedSession,
        GatedEngine,
        GatedSession,
        gate_engine,
        gated_sessionmaker,
        masked_columns,
    )
    from datagate.gate import Gate, Reloaded, Why
    from datagate.identity import JwksFile, JwksUrl, JwtVerifier
    from datagate.stores import EntitlementKind, StateStore
    from datagate.stores.keyring import Keyring

__version__ = "0.1.0"

apilevel = "2.0"
threadsafety = 2
paramstyle = "pyformat"

__all__ = [
    "Actor",
    "ActorKind",
    "AsyncConnection",
    "AsyncGatedSession",
    "AuditRecord",
    "AuditUnavailable",
    "Caller",
    "Completion",
    "Connection",
    "DataError",
    "DatabaseError",
    "DatagateError",
    "Ed25519Key",
    "Ed25519Verifier",
    "EntitlementKind",
    "Error",
    "Gate",
    "GatedEngine",
    "GatedSession",
    "HmacKey",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "JsonLinesSink",
    "JwksFile",
    "JwksUrl",
    "JwtVerifier",
    "Keyring",
    "KeyringError",
    "LoggingSink",
    "Narrowing",
    "NestedTooDeeply",
    "NotSupportedError",
    "OperationalError",
    "PolicyError",
    "Problem",
    "ProgrammingError",
    "ProtocolViolation",
    "Refused",
    "Reloaded",
    "RightsChanged",
    "RowGone",
    "SeveralStatements",
    "Sink",
    "StateError",
    "StateStore",
    "StatementSyntaxError",
    "TableSink",
    "TokenRefused",
    "TokenVerifier",
    "UndefinedColumn",
    "UndefinedRelation",
    "UnsupportedConstruct",
    "VerificationFailed",
    "Warning",
    "Why",
    "__version__",
    "apilevel",
    "connect",
    "connect_async",
    "gate_engine",
    "gated_sessionmaker",
    "masked_columns",
    "paramstyle",
    "threadsafety",
]

_HOMES = {
    "AsyncConnection": "datagate.frontends.driver",
    "AsyncGatedSession": "datagate.frontends.orm",
    "AuditRecord": "datagate.audit",
    "Connection": "datagate.frontends.driver",
    "EntitlementKind": "datagate.stores",
    "Gate": "datagate.gate",
    "GatedEngine": "datagate.frontends.orm",
    "GatedSession": "datagate.frontends.orm",
    "JsonLinesSink": "datagate.audit",
    "JwksFile": "datagate.identity",
    "JwksUrl": "datagate.identity",
    "JwtVerifier": "datagate.identity",
    "Keyring": "datagate.stores.keyring",
    "LoggingSink": "datagate.audit",
    "Reloaded": "datagate.gate",
    "Sink": "datagate.audit",
    "Completion": "datagate.audit",
    "Ed25519Key": "datagate.audit",
    "Ed25519Verifier": "datagate.audit",
    "HmacKey": "datagate.audit",
    "TableSink": "datagate.audit",
    "StateStore": "datagate.stores",
    "Why": "datagate.gate",
    "connect": "datagate.frontends.driver",
    "connect_async": "datagate.frontends.driver",
    "gate_engine": "datagate.frontends.orm",
    "gated_sessionmaker": "datagate.frontends.orm",
    "masked_columns": "datagate.frontends.orm",
}


def __getattr__(name: str) -> object:
    """Bring a name from its room when it is first asked for (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
