"""Entries that a killed process left in its spool, disks that fill up behind it, forks, and many threads."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from datagate.audit import Completion, JsonLinesSink
from datagate.audit.files import FileJournal
from datagate.audit.reading import events
from datagate.audit.spool import Spool, spools, waiting
from datagate.audit.verify import Fault, lines_of, verify_files
from datagate.errors import AuditUnavailable
from tests.audit.records import KEY, NOW, record
from tests.audit.test_crashes import ids

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def journal(path: Path) -> FileJournal:
    return FileJournal(path, signer=KEY, rotate_at=1 << 20, checkpoint_every=7, clock=lambda: NOW)


def entry(number: int, size: int = 10) -> bytes:
    return b'{"id":"%d","kind":"decision","statement":{"outcome":"refused","text":"%b"}}' % (number, b"x" * size)


def test_a_fork_that_dies_leaves_its_entries_to_whoever_comes_next(tmp_path: Path) -> None:
    """Entries of a process that was killed wait beside the file, are told of, and are in the chain after opening it."""
    path = tmp_path / "a"
    child = os.fork()
    if not child:
        spool = Spool(journal(path), path, lag=3600)
        for number in range(20):
            spool.keep(entry(number))
        os._exit(0)
    os.waitpid(child, 0)
    assert ids(path) == []
    assert [count for _, count in waiting(path)] == [20]
    found = verify_files(path, KEY)
    assert [each.fault for each in found.findings] == [Fault.SPOOLED]
    assert found.intact
    JsonLinesSink(path, signer=KEY).close()
    assert ids(path) == [str(number) for number in range(20)]
    assert verify_files(path, KEY).findings == ()
    assert spools(path) == []


def test_what_was_brought_away_before_the_crash_stands_in_the_chain_once(tmp_path: Path) -> None:
    """A process that dies between the journal's fsync and clearing its spool leaves nothing twice."""
    path = tmp_path / "a"
    child = os.fork()
    if not child:
        spool = Spool(journal(path), path, lag=3600)
        spool.keep(entry(1))
        spool._journal.append([entry(1)])  # as it is half-way through bringing it away
        spool.keep(entry(2))
        os._exit(0)
    os.waitpid(child, 0)
    JsonLinesSink(path, signer=KEY).close()
    assert ids(path) == ["1", "2"]


def test_bytes_in_a_spool_that_are_no_entry_are_told_of(tmp_path: Path) -> None:
    """What a machine's crash left of a spool is not taken for entries: a repair tells of it."""
    path = tmp_path / "a"
    child = os.fork()
    if not child:
        spool = Spool(journal(path), path, lag=3600)
        spool.keep(entry(1))
        spool.keep(b"\0" * 30)
        os._exit(0)
    os.waitpid(child, 0)
    JsonLinesSink(path, signer=KEY).close()
    assert ids(path) == ["1"]
    assert [each.fault for each in verify_files(path, KEY).findings] == [Fault.REPAIRED]


def test_a_living_spool_is_left_alone(tmp_path: Path) -> None:
    """Whoever opens the same audit beside a running process takes nothing from it."""
    path = tmp_path / "a"
    first = JsonLinesSink(path, signer=KEY, durability="os")
    kept = first.record(record(1), NOW)
    JsonLinesSink(path, signer=KEY, durability="os").close()
    assert len(spools(path)) == 1
    assert list(waiting(path)) == []
    first.close()
    assert ids(path) == [kept]


def test_a_forked_child_has_a_spool_of_its_own(tmp_path: Path) -> None:
    """Parent and child write to one chain; the child's copy of the parent's spool keeps nobody waiting."""
    path = tmp_path / "a"
    sink = JsonLinesSink(path, signer=KEY, durability="os")
    kept = [sink.record(record(1), NOW)]
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, sink.record(record(2), NOW).encode())
        sink.flush()
        os._exit(0)
    os.waitpid(child, 0)
    kept.append(os.read(reading, 100).decode())
    kept.append(sink.record(record(3), NOW))
    sink.close()
    os.close(reading)
    os.close(writing)
    assert sorted(ids(path)) == sorted(kept)
    assert len(set(kept)) == 3


class Full:
    """A journal on a disk that is full until it is told otherwise."""

    def __init__(self, kept: FileJournal) -> None:
        self.kept, self.full = kept, True

    def append(self, entries: Sequence[bytes]) -> None:
        if self.full:
            raise AuditUnavailable("the statement cannot be recorded: No space left on device")
        self.kept.append(entries)

    def adopt(self, entries: Sequence[bytes], torn: bytes) -> None:
        self.kept.adopt(entries, torn)

    def close(self) -> None:
        self.kept.close()


def test_a_full_disk_behind_the_spool_refuses(tmp_path: Path) -> None:
    """What was kept before the disk filled up is not lost; nothing more is taken until it can be brought away."""
    path = tmp_path / "a"
    disk = Full(journal(path))
    spool = Spool(disk, path, lag=3600)
    spool.keep(entry(1))
    with pytest.raises(AuditUnavailable, match="No space left"):
        spool.flush()
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match="No space left"):
            spool.keep(entry(2))
    disk.full = False
    spool.keep(entry(3))
    spool.close()
    assert ids(path) == ["1", "3"]
    assert verify_files(path, KEY).findings == ()


def test_no_room_for_the_spool_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without blocks for it, the audit does not open, and nothing is left behind."""

    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(AuditUnavailable, match="no room for its spool: No space left"):
        JsonLinesSink(tmp_path / "a", signer=KEY, durability="os")
    assert spools(tmp_path / "a") == []


def test_halves_fill_up_and_entries_may_be_longer_than_one(tmp_path: Path) -> None:
    """Order stays, and nothing is lost, where entries come faster than they are brought away."""
    path = tmp_path / "a"
    spool = Spool(journal(path), path, lag=3600, half=300)
    for number in range(50):
        spool.keep(entry(number, size=1000 if number % 9 == 4 else 30))
    spool.close()
    assert ids(path) == [str(number) for number in range(50)]
    assert verify_files(path, KEY).findings == ()


def test_many_threads_share_a_spool(tmp_path: Path) -> None:
    """Every record of every thread is in the chain once, in the order of its thread."""
    path = tmp_path / "a"
    sink = JsonLinesSink(path, signer=KEY, durability="os", rotate_at=100_000)
    told: list[list[str]] = [[] for _ in range(8)]

    def keep(mine: list[str]) -> None:
        mine += [sink.record(record(number), NOW) for number in range(100)]

    threads = [threading.Thread(target=keep, args=(mine,)) for mine in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    places = {each: place for place, each in enumerate(ids(path))}
    assert len(places) == 800
    for mine in told:
        assert [places[each] for each in mine] == sorted(places[each] for each in mine)
    assert verify_files(path, KEY).findings == ()


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_a_read_is_recorded_with_its_end_before_it_is_settled(tmp_path: Path, durability: str) -> None:
    """However a held record is kept, after settling it is in the audit, with rows and time; unsettled, nothing left."""
    path = tmp_path / "a"
    sink = JsonLinesSink(path, signer=KEY, durability=durability)
    held = sink.hold(record(5), NOW)
    held.settle(Completion(3, 1200), lambda: NOW)
    sink.close()
    (event,) = events(lines_of(path))
    assert event.statement["fingerprint"] == f"{5:016x}"
    assert (event.result["rows"], event.result["microseconds"]) == (3, 1200)
    found = verify_files(path, KEY)
    assert (found.findings, found.unfinished) == ((), 0)
    assert all(json.loads(line.content)["hash"] for line in lines_of(path))
