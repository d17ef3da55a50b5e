"""The hash chain: each entry holds the hash of the one before, and its own.

An entry is one object of canonical JSON (RFC 8785), of which ``hash`` is the SHA-256 of all but itself::

    {"chain":{"prev":"…","seq":7},"hash":"…","id":"…","kind":"decision","statement":{…},"time":"…"}

Kinds: ``decision`` (with ``result`` where the statement had ended by then), ``completion`` (``of`` names the decision's
id), ``checkpoint`` (``proof`` signs the entry before), ``repair`` (what a crash left unfinished was cut off). All keys
but ``chain`` sort after ``hash``, so that an entry is made by joining bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

GENESIS = "0" * 64
"""What the first entry has for a predecessor."""


@dataclass(frozen=True, slots=True)
class Link:
    """The end of a chain: the number and the hash of its last entry; number 0 for an empty one."""

    seq: int = 0
    hash: str = GENESIS


def canonical(value: object) -> bytes:
    """RFC 8785's spelling of strings, whole numbers below 2**53, booleans, null, lists and objects with ASCII keys.

    For these, Python's own encoder writes what the RFC prescribes, in a fifth of the time that `rfc8785` takes; a test
    holds the two to each other, and verification uses the library.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def link_all(after: Link, entries: Iterable[bytes]) -> tuple[Link, list[bytes]]:
    """The end of the chain with these entries, and their lines; each entry is canonical JSON that lacks chain and hash.

    One loop over plain values: this is done for every statement, and is most of what an audit costs.
    """
    seq, prev, lines, sha256 = after.seq, after.hash.encode(), [], hashlib.sha256
    for entry in entries:
        seq += 1
        rest = entry[1:]
        chained = b'{"chain":{"prev":"%b","seq":%d},' % (prev, seq)
        prev = sha256(chained + rest).hexdigest().encode()
        lines.append(b'%b"hash":"%b",%b\n' % (chained, prev, rest))
    return Link(seq, prev.decode()), lines


def link(after: Link, rest: bytes) -> tuple[Link, bytes]:
    """As `link_all`, for one entry."""
    end, (line,) = link_all(after, [rest])
    return end, line
