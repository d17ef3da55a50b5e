"""Entries in the operating system's hands at once, and in the journal a moment later.

Each process writes its entries into memory that is mapped from a file beside the journal (``audit.jsonl.<id>.spool``).
What stands there survives the process, however it ends, and costs neither a system call nor a turn with other threads.
A thread of its own brings it to the journal, many entries with one write and one fsync, and only then clears it. So a
machine that loses its power loses what came in the last moment, as long as `LAG`; a killed process loses nothing: who
opens the journal next brings the spools of the dead to it.

The file: 64 bytes (magic, which half is written to, where each half ends), then two halves, of which one is written to
while the other is brought away. Its blocks are allocated when it is made, so that a full disk is met there or at the
journal, by an error, and never in the mapped memory, by a signal.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import mmap
import os
import secrets
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Protocol
from weakref import WeakSet

from datagate.audit.commit import Journal
from datagate.errors import AuditUnavailable

LAG = 0.02
"""How many seconds an entry waits for others to be brought to the journal with it."""
HALF = 4 << 20
_LOOKS_AFTER = 5.0
_MAGIC = b"dgspool1"
_HEADER = 64
_ACTIVE = struct.Struct("<q")
_WORDS = struct.Struct("<8sqqq")
_ACTIVE_AT, _ENDS_AT = 8, (16, 24)
_BROKEN = "the statement cannot be recorded"


class RepairingJournal(Journal, Protocol):
    """A journal that can also be told of bytes that were lost."""

    def adopt(self, entries: Sequence[bytes], torn: bytes) -> None:
        """Keep what a dead writer had begun to keep, each entry once, and tell of what was no entry."""


class Spool:
    """Brings the entries of one process's threads to a journal, by way of mapped memory.

    Args:
        journal: Where they go in the end.
        path: The journal's; spools stand beside it.

    Raises:
        AuditUnavailable: There is no room for the spool.
    """

    _at: int
    _limit: int
    _end_at: int

    def __init__(self, journal: RepairingJournal, path: Path, *, lag: float = LAG, half: int = HALF) -> None:
        self._journal, self._path, self._lag, self._half = journal, path, lag, half
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._mutex, self._draining = threading.Lock(), threading.Lock()
        self._fault: str | None = None
        self._idle, self._closed = True, False
        self._wanted, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._place = Path(f"{self._path}.{secrets.token_hex(8)}.spool")
        self._file, self._map = _make(self._place, _HEADER + 2 * self._half)
        self._ends = [_HEADER, _HEADER + self._half]
        self._write_to(0)
        _LIVING.add(self)

    def keep(self, entry: bytes) -> None:
        """Keep an entry; when this returns, it survives this process, or AuditUnavailable is raised."""
        line = entry + b"\n"
        with self._mutex:
            at = self._at
            end = at + len(line)
            if end > self._limit or self._fault is not None:
                end = 0
            else:
                self._map[at:end] = line
                # The end after the content: what stands behind it does not count.
                _ACTIVE.pack_into(self._map, self._end_at, end)
                self._at = end
        if not end:
            self._keep_slowly(line)
        elif self._idle:
            self._rouse()

    def keep_later(self, entry: bytes) -> None:
        """Keep an entry, where that is possible."""
        with contextlib.suppress(AuditUnavailable):
            self.keep(entry)

    def flush(self) -> None:
        """Bring all entries to the journal; AuditUnavailable where that fails."""
        with self._draining:
            self._drain(1 - self._now)
            self._turn()
            self._drain(1 - self._now)

    def close(self) -> None:
        """Flush, remove the spool, and close the journal."""
        if self._closed or self._process != os.getpid():
            return
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.flush()
            with self._mutex:
                self._limit, self._closed = 0, True
            self._place.unlink(missing_ok=True)
        finally:
            self._closed = True
            self.let_go()
            self._journal.close()

    def let_go(self) -> None:
        """Let go of the file, and so of its lock: a forked child's copy would keep it beyond its process's death."""
        self._limit = 0
        self._map.close()
        os.close(self._file)

    def _keep_slowly(self, line: bytes) -> None:
        """Where the half is full, or the journal failed a moment ago: bring away what waits, then keep it."""
        if self._process != os.getpid():
            self._begin()  # A forked child: what its parent has spooled is its parent's to bring away.
            return self.keep(line[:-1])
        if self._closed:
            raise AuditUnavailable(f"{_BROKEN}: the audit is closed")
        self.flush()
        if len(line) > self._half:
            with self._draining:
                return self._journal.append([line[:-1]])
        return self.keep(line[:-1])

    def _rouse(self) -> None:
        with self._mutex:
            self._idle = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="datagate-audit", daemon=True)
                self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        """The thread: wait for the first entry, let others come, bring them away."""
        looked = monotonic()
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closing.wait(self._lag):
                return
            self._idle = True
            with contextlib.suppress(AuditUnavailable):
                # Who comes next meets the fault, and is refused.
                self.flush()
                if monotonic() - looked > _LOOKS_AFTER:
                    looked = monotonic()
                    with self._draining:
                        adopt(self._path, self._journal)

    def _write_to(self, half: int) -> None:
        self._now = half
        self._at, self._limit = self._ends[half], _HEADER + (half + 1) * self._half
        self._end_at = _ENDS_AT[half]
        _ACTIVE.pack_into(self._map, _ACTIVE_AT, half)

    def _turn(self) -> None:
        """Write to the other half, which is empty, from now on."""
        with self._mutex:
            self._ends[self._now] = self._at
            self._write_to(1 - self._now)

    def _drain(self, half: int) -> None:
        """Bring a half that nobody writes to away, and clear it."""
        begin, end = _HEADER + half * self._half, self._ends[half]
        if end == begin:
            return
        try:
            self._journal.append(self._map[begin : end - 1].split(b"\n"))
        except AuditUnavailable as error:
            self._fault = error.message
            raise
        _ACTIVE.pack_into(self._map, _ENDS_AT[half], begin)
        self._ends[half] = begin
        self._fault = None


def spools(path: Path) -> list[Path]:
    """The spools beside a journal, of the living and of the dead."""
    return sorted(path.parent.glob(f"{path.name}.*.spool"))


def adopt(path: Path, journal: RepairingJournal) -> None:
    """Bring the spools of dead processes to the journal; AuditUnavailable where that fails."""
    for each in spools(path):
        _adopt(each, journal)


def waiting(path: Path) -> Iterator[tuple[Path, int]]:
    """The spools of dead processes beside a journal, each with how many entries wait in it."""
    for place in spools(path):
        with contextlib.suppress(FileNotFoundError), _of_the_dead(place, os.O_RDONLY) as file:
            if file is not None:
                yield place, len(_content(file)[0])


def _make(place: Path, size: int) -> tuple[int, mmap.mmap]:
    """A spool of this process: locked as long as that lives, and with all its blocks."""
    try:
        file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.posix_fallocate(file, 0, size)
            os.pwrite(file, _WORDS.pack(_MAGIC, 0, _HEADER, _HEADER + (size - _HEADER) // 2), 0)
            return file, mmap.mmap(file, size)
        except OSError:
            os.close(file)
            place.unlink()
            raise
    except OSError as error:
        fault = f"{_BROKEN}: there is no room for its spool: {error.strerror}"
    raise AuditUnavailable(fault)


@contextlib.contextmanager
def _of_the_dead(place: Path, flags: int) -> Iterator[int | None]:
    """The file of a spool, locked, if its process lives no more."""
    file = os.open(place, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file
    finally:
        os.close(file)


def _content(file: int) -> tuple[list[bytes], bytes]:
    """The entries of a spool, oldest first, and what stands where entries should, and is none."""
    whole = os.pread(file, os.fstat(file).st_size, 0)
    if len(whole) < _HEADER or not whole.startswith(_MAGIC):
        return [], whole[:_HEADER].rstrip(b"\0")
    _, active, *ends = _WORDS.unpack_from(whole)
    half = (len(whole) - _HEADER) // 2
    entries, torn = [], b""
    for each in (1 - (active & 1), active & 1):
        begin = _HEADER + each * half
        for line in whole[begin : max(begin, min(ends[each], begin + half) - 1)].split(b"\n"):
            if _is_entry(line):
                entries.append(line)
            else:
                torn += line
    return entries, torn


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line)["id"], str)
    except (ValueError, KeyError, TypeError):
        return False


def _adopt(place: Path, journal: RepairingJournal) -> None:
    """Bring a dead process's spool to the journal, and remove it."""
    fault = "the spool of an earlier process cannot be brought to the audit file"
    try:
        with _of_the_dead(place, os.O_RDWR) as file:
            if file is not None:
                entries, torn = _content(file)
                journal.adopt(entries, torn)
                place.unlink(missing_ok=True)
            return
    except FileNotFoundError:
        return  # Another has done it.
    except OSError as error:
        fault += f": {error.strerror}"
    raise AuditUnavailable(fault)


_LIVING: WeakSet[Spool] = WeakSet()


def _let_go_of_all() -> None:
    """In a forked child: the spools are the parent's, and its own are made when it first keeps something."""
    for each in list(_LIVING):
        each._mutex = threading.Lock()  # noqa: SLF001 - a thread that is not in this process may hold it
        each.let_go()


def _close_all() -> None:
    for each in list(_LIVING):
        with contextlib.suppress(AuditUnavailable):
            # What cannot be brought away now stays in the spool, for who opens the journal next.
            each.close()


os.register_at_fork(after_in_child=_let_go_of_all)
atexit.register(_close_all)
