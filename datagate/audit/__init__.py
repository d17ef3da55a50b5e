"""What was asked, by whom, and what was decided: records, the hash chain that binds them, and where they are kept."""

from datagate.audit.files import Durability
from datagate.audit.record import AuditRecord, Completion
from datagate.audit.signing import Ed25519Key, Ed25519Verifier, HmacKey, Signer, Verifier
from datagate.audit.sinks import (
    ChainedSink,
    CompletingSink,
    Held,
    HoldingSink,
    JsonLinesSink,
    LoggingSink,
    MemorySink,
    Sink,
)
from datagate.audit.tables import TableSink, create_audit

__all__ = [
    "AuditRecord",
    "ChainedSink",
    "CompletingSink",
    "Completion",
    "Durability",
    "Ed25519Key",
    "Ed25519Verifier",
    "Held",
    "HmacKey",
    "HoldingSink",
    "JsonLinesSink",
    "LoggingSink",
    "MemorySink",
    "Signer",
    "Sink",
    "TableSink",
    "Verifier",
    "create_audit",
]
