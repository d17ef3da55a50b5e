"""What was asked, by whom, and what was decided: records and the sinks that keep them."""

from datagate.audit.record import AuditRecord
from datagate.audit.sinks import JsonLinesSink, LoggingSink, MemorySink, Sink

__all__ = ["AuditRecord", "JsonLinesSink", "LoggingSink", "MemorySink", "Sink"]
