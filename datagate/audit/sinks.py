"""Where audit records go. A sink that cannot record raises, and then the statement is refused."""

from __future__ import annotations

import json
import logging
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import Protocol

from datagate.audit.record import AuditRecord
from datagate.errors import AuditUnavailable


class Sink(Protocol):
    """Takes records; AuditUnavailable where a record could not be kept."""

    def record(self, record: AuditRecord, instant: datetime) -> None:
        """Keep one record, before anything of the statement's answer leaves."""
        ...


class LoggingSink:
    """Python's logging, logger ``datagate.audit``: permits at INFO, refusals at WARNING."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("datagate.audit")

    def record(self, record: AuditRecord, instant: datetime) -> None:
        """Log one record."""
        level = logging.INFO if record.permitted else logging.WARNING
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", json.dumps(as_json(record, instant), sort_keys=True))


class JsonLinesSink:
    """Appends one JSON object a line to a file."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise AuditUnavailable(f"the audit file cannot be opened: {error.strerror}") from None

    def record(self, record: AuditRecord, instant: datetime) -> None:
        """Append one record; AuditUnavailable where the file system refuses or takes only a part."""
        line = (json.dumps(as_json(record, instant), sort_keys=True) + "\n").encode()
        with self._lock:
            try:
                written = os.write(self._file, line)
            except OSError as error:
                raise AuditUnavailable(f"the statement cannot be recorded: {error.strerror}") from None
        if written != len(line):
            raise AuditUnavailable("the statement cannot be recorded: the file system took only a part of it")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class MemorySink:
    """Keeps records in a list, for tests and for showing what a session did."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.instants: list[datetime] = []

    def record(self, record: AuditRecord, instant: datetime) -> None:
        """Keep one record."""
        self.records.append(record)
        self.instants.append(instant)


def as_json(record: AuditRecord, instant: datetime) -> dict[str, object]:
    """The record with plain JSON values."""
    caller = record.caller
    return {
        "time": instant.isoformat(),
        "principal": caller.principal,
        "actor": caller.actor.id,
        "actor_kind": caller.actor.kind.value,
        "mandate": caller.mandate,
        "purpose": caller.purpose,
        "frontend": record.frontend,
        "text": record.text,
        "outcome": "permitted" if record.permitted else "refused",
        "relations": list(record.relations),
        "rules": [f"{rule.name} ({rule.source})" for rule in record.rules],
        "policy_version": record.policy_version,
        "reason": record.reason,
    }
