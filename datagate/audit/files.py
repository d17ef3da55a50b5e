"""A journal of JSON lines: one chain for all writers, under a file lock; rotated, fsynced, with a signed head.

Why one chain: a lock costs microseconds next to an fsync, and one chain has no seams between writers in which something
could be missing. Beside ``audit.jsonl`` stand ``audit.jsonl.000001`` … (full files, in order), ``audit.jsonl.lock``
and ``audit.jsonl.head``: number and hash of the last entry, signed, rewritten after each batch. A chain that ends
before its head was cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path

from datagate.audit.chain import Link, canonical, link, link_all
from datagate.audit.signing import Signer, Verifier, checkpoint_message, head_message
from datagate.errors import AuditUnavailable

_CHUNK = 1 << 16
_LOOKED_BACK = 1 << 25
HEAD_SIZE = 512


class Durability(Enum):
    """When an entry counts as kept: on the disk; or in the operating system's hands, and on the disk a moment later."""

    FSYNC = "fsync"
    OS = "os"


def rotated(path: Path) -> list[Path]:
    """The full files of a journal, oldest first."""
    found = [each for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdigit()]
    return sorted(found, key=lambda each: int(each.suffix[1:]))


class FileJournal:
    """The journal at one path; see the module's law."""

    def __init__(
        self,
        path: Path,
        *,
        signer: Signer | None,
        rotate_at: int,
        checkpoint_every: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._path = path
        self._signer = signer
        self._rotate_at = rotate_at
        self._every = checkpoint_every
        self._clock = clock
        self._lock = self._file = self._head = -1
        with _spoken("the audit file cannot be opened"):
            self._begin()
            with self._locked():
                self._catch_up()

    def append(self, entries: Sequence[bytes]) -> None:
        """Chain and keep entries; AuditUnavailable where the file system does not take them all."""
        with _spoken("the statement cannot be recorded"):
            if self._process != os.getpid():
                self._begin()  # A lock that was inherited would keep nobody out.
            with self._locked():
                self._catch_up()
                self._write(entries)

    def adopt(self, entries: Sequence[bytes], torn: bytes) -> None:
        """Keep what a dead writer had begun to keep, each entry once, and tell of bytes of it that were no entry."""
        with _spoken("what a killed process had begun to record cannot be kept"), self._locked():
            self._catch_up()
            known = self._known()
            new = [each for each in entries if json.loads(each)["id"] not in known]
            if torn:
                new.append(self._repair(torn, missing=0))
            if new:
                self._write(new)

    def _known(self) -> set[str]:
        """The ids of the last entries: as many as a writer can have kept twice."""
        found: set[str] = set()
        for each in [*rotated(self._path)[-1:], self._path]:
            with each.open("rb") as file:
                file.seek(max(0, each.stat().st_size - _LOOKED_BACK))
                for line in file:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        found.add(json.loads(line)["id"])
        return found

    def close(self) -> None:
        """Keep a last checkpoint, and close."""
        if self._lock < 0:
            return
        try:
            with _spoken("the audit file cannot be closed"):
                if self._process == os.getpid() and self._end.seq and self._since:
                    with self._locked():
                        self._catch_up()
                        self._write([self._checkpoint()])
        finally:
            for number in (self._file, self._head, self._lock):
                os.close(number)
            self._lock = self._file = self._head = -1

    def _begin(self) -> None:
        self._process = os.getpid()
        self._end, self._since = Link(), 0
        self._lock = _open(f"{self._path}.lock", os.O_RDWR)
        self._head = _open(f"{self._path}.head", os.O_RDWR)
        self._open_file()

    def _open_file(self) -> None:
        self._file = _open(self._path, os.O_RDWR | os.O_APPEND)
        self._inode, self._size = os.fstat(self._file).st_ino, -1
        _sync_directory(self._path.parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Take the chain up where other writers, or an earlier run, left it; cut a torn last line off."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = -1
        if inode != self._inode:
            os.close(self._file)
            self._open_file()
        size = os.fstat(self._file).st_size
        if size == self._size:
            return
        whole, last = _last_line(self._file, size)
        self._end = self._link_of(last) if last else self._end_of_rotated()
        self._size = whole
        head = read_head(os.pread(self._head, HEAD_SIZE, 0), self._signer)
        missing = head.seq - self._end.seq if head is not None and head.seq > self._end.seq else 0
        if size > whole or missing:
            torn = os.pread(self._file, size - whole, whole)
            os.ftruncate(self._file, whole)
            self._write([self._repair(torn, missing)])

    def _end_of_rotated(self) -> Link:
        full = rotated(self._path)
        if not full:
            return Link()
        with full[-1].open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _, last = _last_line(file.fileno(), size)
        return self._link_of(last)

    def _link_of(self, line: bytes) -> Link:
        try:
            entry = json.loads(line)
            return Link(int(entry["chain"]["seq"]), str(entry["hash"]))
        except (ValueError, KeyError, TypeError):
            pass
        raise AuditUnavailable("the audit file ends in what is no entry; look at it with: datagate audit verify")

    def _write(self, entries: Sequence[bytes]) -> None:
        end, since, lines, rest = self._end, self._since, list[bytes](), entries
        while rest:
            due = max(self._every - since, 1)
            end, linked = link_all(end, rest[:due])
            lines += linked
            rest, since = rest[due:], since + len(linked)
            if since >= self._every:
                end, line = link(end, self._checkpoint(end))
                lines.append(line)
                since = 0
        block = b"".join(lines)
        try:
            _write_all(self._file, block)
            os.fdatasync(self._file)
        except OSError:
            # None of the batch counts; if it cannot even be cut off, its chain is taken up anew.
            size, self._size = self._size, -1
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise
        self._end, self._since, self._size = end, since, self._size + len(block)
        os.pwrite(self._head, head_line(end, self._signer), 0)
        if self._size >= self._rotate_at:
            self._rotate()

    def _rotate(self) -> None:
        full = rotated(self._path)
        number = int(full[-1].suffix[1:]) + 1 if full else 1
        self._path.rename(f"{self._path}.{number:06d}")
        os.close(self._file)
        self._open_file()
        self._size = 0

    def _checkpoint(self, end: Link | None = None) -> bytes:
        end = end or self._end
        proof: dict[str, object] = {"key": None, "signature": None}
        if self._signer is not None:
            proof = {"key": self._signer.name, "signature": self._signer.sign(checkpoint_message(end))}
        return canonical({**self._stamp("checkpoint"), "proof": proof})

    def _repair(self, torn: bytes, missing: int) -> bytes:
        about = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest(), "missing": missing}
        return canonical({**self._stamp("repair"), "result": about})

    def _stamp(self, kind: str) -> dict[str, object]:
        return {"id": "", "kind": kind, "time": self._clock().isoformat()}


def _last_line(file: int, size: int) -> tuple[int, bytes]:
    """Where the last whole line ends, and what it holds."""
    tail, begin = b"", size
    while begin and tail.count(b"\n") < 2:
        step = min(_CHUNK, begin)
        begin -= step
        tail = os.pread(file, step, begin) + tail
    whole = tail.rfind(b"\n") + 1
    return begin + whole, tail[: max(whole - 1, 0)].rpartition(b"\n")[2]


def head_line(end: Link, signer: Signer | None) -> bytes:
    """The content of the head file: always of one length, so that a new one covers the old."""
    found: dict[str, object] = {"seq": end.seq, "hash": end.hash}
    if signer is not None:
        found |= {"key": signer.name, "signature": signer.sign(head_message(end))}
    return canonical(found).ljust(HEAD_SIZE - 1) + b"\n"


def read_head(content: bytes, key: Verifier | None) -> Link | None:
    """Where the head file says that the chain ends; None where it says nothing, or not with this signature."""
    try:
        found = json.loads(content)
        end = Link(int(found["seq"]), str(found["hash"]))
        good = key is None or key.verify(head_message(end), str(found["signature"]))
    except (ValueError, KeyError, TypeError):
        return None
    return end if good else None


def _open(path: Path | str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _write_all(file: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def _spoken(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fault = AuditUnavailable(f"{what}: {error.strerror}")
    else:
        return
    raise fault
