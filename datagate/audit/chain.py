"""The hash chain: each entry holds the hash of the one before, and its own.

An entry is one object of canonical JSON (RFC 8785), of which ``hash`` is the SHA-256 of all but itself::

    {"chain":{"prev":"…","seq":7},"hash":"…","id":"…","kind":"decision","statement":{…},"time":"…"}

Kinds: ``decision``, ``completion`` (``of`` names the decision's id), ``checkpoint`` (``proof`` signs the entry before),
``repair`` (what a crash left unfinished was cut off). All keys but ``chain`` sort after ``hash``, so that an entry is
made by joining bytes.
"""

from __future__ import annotations

import hashlib
import json
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


def link(after: Link, rest: bytes) -> tuple[Link, bytes]:
    """The next link and its line; ``rest`` is the entry's canonical JSON without ``chain`` and ``hash``."""
    seq = after.seq + 1
    chained = b'{"chain":{"prev":"%s","seq":%d},' % (after.hash.encode(), seq)
    digest = hashlib.sha256(chained + rest[1:]).hexdigest()
    return Link(seq, digest), b'%s"hash":"%s",%s\n' % (chained, digest.encode(), rest[1:])
