"""Full disks, killed processes, torn lines: nothing that was kept is lost, and nothing is served that was not kept."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datagate.audit import JsonLinesSink
from datagate.audit.verify import Fault, lines_of, verify_files
from datagate.errors import AuditUnavailable
from tests.audit.records import KEY, NOW, record
from tests.house.source import ROOT


def ids(path: Path) -> list[str]:
    found = [json.loads(line.content) for line in lines_of(path) if line.whole]
    return [each["id"] for each in found if each["kind"] == "decision"]


def kill_loop(path: Path, times: int, durability: str) -> None:
    """Kill a writer again and again, each time a little later; every record that it told of is there."""
    told: list[str] = []
    for number in range(times):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.audit.records", str(path), durability],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert writer.stdout is not None
        told += [writer.stdout.readline().strip() for _ in range(1 + number * 7 % 40)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [each for each in writer.stdout.read().split("\n")[:-1] if each]
        writer.stdout.close()
        writer.wait()
    assert all(told)
    JsonLinesSink(path, signer=KEY).close()
    verdict = verify_files(path, KEY)
    assert verdict.intact, verdict.findings
    assert set(told) <= set(ids(path))
    assert len(set(told)) == len(told) >= times
    assert len(set(ids(path))) == len(ids(path))


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_a_killed_writer_loses_nothing(tmp_path: Path, durability: str) -> None:
    """After kill -9, every record that was acknowledged is in a chain that verifies, and stands there once."""
    kill_loop(tmp_path / "a", 6, durability)


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_two_hundred_killed_writers_lose_nothing(tmp_path: Path, durability: str) -> None:
    """The same, two hundred times on one file."""
    kill_loop(tmp_path / "a", 200, durability)


def _write_under_limit(path: Path, limit: int, kept: multiprocessing.Queue[list[str]]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sink, told = JsonLinesSink(path, signer=KEY), []
    for number in range(100):
        try:
            told.append(sink.record(record(number), NOW))
        except AuditUnavailable:
            told.append("")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    told.append(sink.record(record(), NOW))
    sink.close()
    kept.put(told)


def test_a_full_disk_refuses_and_leaves_no_torn_line(tmp_path: Path) -> None:
    """Where the file system takes only a part, the statement is refused, the part is cut off, and later all is well."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[list[str]] = context.Queue()
    writer = context.Process(target=_write_under_limit, args=(tmp_path / "a", 10_000, queue))
    writer.start()
    told = queue.get(timeout=60)
    writer.join()
    assert told[0]
    assert told[99] == ""
    assert told[100]
    assert verify_files(tmp_path / "a", KEY).findings == ()
    assert ids(tmp_path / "a") == [each for each in told if each]


def test_a_failing_fsync_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record whose fsync failed does not count, and is not in the chain."""
    sink = JsonLinesSink(tmp_path / "a", signer=KEY)
    first = sink.record(record(1), NOW)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(AuditUnavailable, match="cannot be recorded: Input"):
            sink.record(record(2), NOW)
    last = sink.record(record(3), NOW)
    sink.close()
    assert verify_files(tmp_path / "a", KEY).findings == ()
    assert ids(tmp_path / "a") == [first, last]


def test_a_torn_line_is_told_from_tampering_and_repaired(tmp_path: Path) -> None:
    """A last line without its end is a crash's; opening cuts it off, and the repair itself is in the chain."""
    path = tmp_path / "a"
    sink = JsonLinesSink(path, signer=KEY)
    sink.record(record(1), NOW)
    sink.close()
    with path.open("ab") as file:
        file.write(b'{"chain":{"prev":"ab')
    torn = verify_files(path, KEY)
    assert [each.fault for each in torn.findings] == [Fault.TORN]
    assert torn.intact
    JsonLinesSink(path, signer=KEY).close()
    mended = verify_files(path, KEY)
    assert [each.fault for each in mended.findings] == [Fault.REPAIRED]
    assert mended.intact
    (repair,) = [json.loads(line.content) for line in lines_of(path) if b'"repair"' in line.content]
    assert repair["result"]["bytes"] == 20


def test_a_cut_is_no_crash(tmp_path: Path) -> None:
    """Entries cut off at the end, also in the middle of a line, are told for ever, though writing goes on."""
    path = tmp_path / "a"
    sink = JsonLinesSink(path, signer=KEY)
    for number in range(5):
        sink.record(record(number), NOW)
    sink.close()
    path.write_bytes(path.read_bytes()[:-1500])
    assert Fault.TRUNCATED in {each.fault for each in verify_files(path, KEY).findings}
    JsonLinesSink(path, signer=KEY).close()
    verdict = verify_files(path, KEY)
    assert [each.fault for each in verdict.findings] == [Fault.TRUNCATED]
    assert not verdict.intact
