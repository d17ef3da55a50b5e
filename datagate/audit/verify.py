"""Whether a chain is what was written: changes, gaps, other orders, truncation, forged checkpoints.

What is found without anything from outside: every change, removal, insertion and reordering of entries, and a cut at
the end, since the head file tells where the chain ends. With a signer's key, also a chain that was made anew, since its
checkpoints and head bear no signature of that key. What cannot be found without an external anchor: that files and head
were both put back to what they were at an earlier instant, or that all of them are gone; and whoever holds the signing
key can write any history. So ship heads elsewhere (`datagate audit verify` prints number and hash of the last entry;
``expect`` takes such a pair back), or sign with Ed25519 where only the writer has the private half.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import rfc8785

from datagate.audit.chain import Link
from datagate.audit.files import read_head, rotated
from datagate.audit.signing import Verifier, checkpoint_message
from datagate.audit.spool import waiting

HEX = frozenset("0123456789abcdef")


class Fault(Enum):
    """What can be wrong; a torn last line, a repair and a spool are a crash's, the rest is tampering or loss."""

    CHANGED = "changed"
    GAP = "gap"
    ORDER = "order"
    TRUNCATED = "truncated"
    FORGED = "forged"
    UNSIGNED = "unsigned"
    TORN = "torn"
    REPAIRED = "repaired"
    SPOOLED = "spooled"


HARMLESS = frozenset({Fault.TORN, Fault.REPAIRED, Fault.SPOOLED})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where: file and line, or the head."""

    fault: Fault
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.fault.value}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found; ``end`` is the last entry, ``unfinished`` counts decisions without completion."""

    findings: tuple[Finding, ...]
    entries: int
    checkpoints: int
    unfinished: int
    end: Link

    @property
    def intact(self) -> bool:
        """Whether nothing was found but traces of crashes."""
        return all(each.fault in HARMLESS for each in self.findings)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a journal with its place; ``whole``: it ends in a line break."""

    content: bytes
    place: str
    whole: bool = True


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a journal of files, oldest first."""
    for each in [*rotated(path), *([path] if path.exists() else [])]:
        with each.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield Line(line.rstrip(b"\n"), f"{each}:{number}", line.endswith(b"\n"))


def verify_files(path: Path, key: Verifier | None, expect: Link | None = None) -> Verdict:
    """Verify the journal at a path, with its head."""
    head_path = Path(f"{path}.head")
    head = head_path.read_bytes() if head_path.exists() else None
    found = verify(lines_of(path), key, head=head, head_place=str(head_path), expect=expect)
    spooled = tuple(
        Finding(Fault.SPOOLED, str(place), f"{count} entries of a killed process; the next one to write chains them")
        for place, count in waiting(path)
    )
    return replace(found, findings=found.findings + spooled)


def verify(
    lines: Iterable[Line], key: Verifier | None, *, head: bytes | None, head_place: str, expect: Link | None = None
) -> Verdict:
    """Verify a chain from its first entry on.

    Args:
        lines: Its lines, in order.
        key: What checkpoints and head must be signed with; without it, signatures are not looked at.
        head: The content of the head; None where there is none.
        head_place: What findings call the head.
        expect: An entry that was seen before, and must be in the chain.
    """
    walk = _Walk(key)
    for line in lines:
        walk.take(line)
    walk.finish(head, head_place)
    if expect is not None and expect.seq and walk.hashes.get(expect.seq) != expect.hash:
        walk.find(Fault.TRUNCATED, head_place, f"entry {expect.seq} is not the one that was seen before")
    return Verdict(
        tuple(walk.findings), walk.entries, walk.checkpoints, len(walk.unfinished), Link(walk.end.seq, walk.end.hash)
    )


class _Walk:
    def __init__(self, key: Verifier | None) -> None:
        self.key = key
        self.end = Link()
        self.findings: list[Finding] = []
        self.hashes: dict[int, str] = {}
        self.unfinished: set[str] = set()
        self.entries = self.checkpoints = 0
        self._torn: Line | None = None

    def find(self, fault: Fault, place: str, what: str) -> None:
        self.findings.append(Finding(fault, place, what))

    def take(self, line: Line) -> None:
        if self._torn is not None:
            self.find(Fault.CHANGED, self._torn.place, "the line is unfinished, and others follow")
            self._torn = None
        if not line.whole:
            self._torn = line
            return
        try:
            entry = json.loads(line.content)
            seq, prev, told = int(entry["chain"]["seq"]), str(entry["chain"]["prev"]), str(entry["hash"])
            spelled = rfc8785.dumps(entry)
            digest = hashlib.sha256(rfc8785.dumps({k: v for k, v in entry.items() if k != "hash"})).hexdigest()
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
            self.find(Fault.CHANGED, line.place, "the line is no entry")
            return
        if digest != told or spelled != line.content:
            self.find(Fault.CHANGED, line.place, f"entry {seq} is not what its hash says")
        self._link(line, seq, prev)
        self.end = Link(seq, told)
        self.hashes[seq] = told
        self.entries += 1
        self._by_kind(line, entry, Link(seq - 1, prev))

    def _link(self, line: Line, seq: int, prev: str) -> None:
        expected = self.end.seq + 1
        if seq > expected:
            self.find(Fault.GAP, line.place, f"entries {expected} to {seq - 1} are missing")
        elif seq < expected:
            self.find(Fault.ORDER, line.place, f"entry {seq} stands after entry {self.end.seq}")
        elif prev != self.end.hash:
            self.find(Fault.CHANGED, line.place, f"entry {seq} does not follow the entry before it")

    def _by_kind(self, line: Line, entry: dict[str, object], before: Link) -> None:
        kind = entry.get("kind")
        if kind == "decision":
            statement = entry.get("statement")
            if isinstance(statement, dict) and statement.get("outcome") == "permitted" and "result" not in entry:
                self.unfinished.add(str(entry.get("id")))
        elif kind == "completion":
            self.unfinished.discard(str(entry.get("of")))
        elif kind == "checkpoint":
            self.checkpoints += 1
            self._proof(line, entry.get("proof"), before)
        elif kind == "repair":
            result = entry.get("result")
            missing = result.get("missing") if isinstance(result, dict) else None
            if missing == 0:
                self.find(Fault.REPAIRED, line.place, "a line that a crash left unfinished was cut off")
            else:
                self.find(Fault.TRUNCATED, line.place, f"{missing} entries before this were gone when it was written")

    def _proof(self, line: Line, proof: object, before: Link) -> None:
        if self.key is None:
            return
        signature = proof.get("signature") if isinstance(proof, dict) else None
        if signature is None:
            self.find(Fault.UNSIGNED, line.place, "the checkpoint is not signed")
        elif not self.key.verify(checkpoint_message(before), str(signature)):
            self.find(Fault.FORGED, line.place, f"the checkpoint's signature is not of {self.key.name}")

    def finish(self, head: bytes | None, place: str) -> None:
        end = None if head is None else read_head(head, self.key)
        if end is None and self.entries:
            signed = head is not None and read_head(head, None) is not None
            what = f"the head is not signed by {self.key.name}" if signed and self.key else "there is no readable head"
            self.find(Fault.FORGED if signed else Fault.TRUNCATED, place, what)
        elif end is not None and end.seq > self.end.seq:
            self.find(Fault.TRUNCATED, place, f"entries {self.end.seq + 1} to {end.seq} were cut off")
        elif end is not None and end.seq and self.hashes.get(end.seq) != end.hash:
            self.find(Fault.CHANGED, place, f"entry {end.seq} is not the one that the head names")
        if self._torn is not None:
            self.find(Fault.TORN, self._torn.place, "the last line is unfinished, as a crash leaves it")
