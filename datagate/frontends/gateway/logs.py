"""Logs as JSON lines: what happened, to whom and where, with a trace id for each connection, and no literals."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

_OWN = ("event", "trace", "user", "address", "sqlstate", "worker")


class JsonLines(logging.Formatter):
    """A log record as one line of JSON, without arguments that could hold a literal."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; of an exception its kind and places, since its words may quote what a caller sent."""
        line = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(), "level": record.levelname.lower()}
        line["logger"] = record.name
        # asyncio goes on to show what a callback was called with.
        line["message"] = record.getMessage().partition("\n")[0]
        line.update((name, record.__dict__[name]) for name in _OWN if name in record.__dict__)
        if record.exc_info is not None and record.exc_info[0] is not None:
            places = traceback.extract_tb(record.exc_info[2])
            line["exception"] = record.exc_info[0].__name__
            line["at"] = " < ".join(f"{Path(place.filename).name}:{place.lineno}" for place in reversed(places))
        return json.dumps(line, ensure_ascii=False)


def log_json(stream: TextIO) -> None:
    """Have all of this program's logs go to a stream, as JSON lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name, level in (("datagate.gateway", logging.INFO), ("datagate.policies", logging.WARNING)):
        _send(logging.getLogger(name), handler, level)
    # What goes wrong in a callback is told by asyncio.
    _send(logging.getLogger("asyncio"), handler, logging.ERROR)


def _send(log: logging.Logger, handler: logging.Handler, level: int) -> None:
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
