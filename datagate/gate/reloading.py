"""Policies that are read again while the gate is open: whole or not at all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datagate.errors import Problem

LOG = logging.getLogger("datagate.policies")
_EVERY = 0.5

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading the policies again.

    ``version`` is that which is in force now; ``changed`` whether it is another than before. ``problems`` say why what
    was read is not in force, one a line: then the old version stays.
    """

    version: str
    changed: bool
    problems: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether what stands in the directory is what is in force."""
        return not self.problems


def signature(directory: Path) -> Signature:
    """What tells that files of a directory changed, without reading them."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.suffix.lower() in {".yaml", ".yml"}:
            try:
                stat = path.stat()
            except OSError:
                # Gone, or out of reach: reading the policies will say so.
                found.append((path.as_posix(), -1, -1))
            else:
                found.append((path.as_posix(), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


class FileWatch:
    """Looks at a directory twice a second, and calls when its files changed and have come to rest.

    Args:
        directory: Where the policy files are.
        changed: Called from the watch's own thread.
    """

    def __init__(self, directory: Path, changed: Callable[[], object]) -> None:
        self._directory, self._changed = directory, changed
        self._seen = signature(directory)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="datagate-policy-files", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        pending = self._seen
        while not self._stopped.wait(_EVERY):
            found = signature(self._directory)
            # An editor or a deployment writes several files: wait until two looks agree.
            if found != self._seen and found == pending:
                self._seen = found
                self._changed()
            pending = found


def told(problems: tuple[Problem, ...]) -> tuple[str, ...]:
    """Problems as lines."""
    return tuple(str(problem) for problem in problems)
