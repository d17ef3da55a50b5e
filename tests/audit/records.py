"""Records to keep, and a program that keeps them until it is killed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from datagate.audit import AuditRecord, HmacKey, JsonLinesSink
from datagate.model.caller import Caller

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = HmacKey(b"k" * 32)


def record(number: int = 0, *, principal: str = "ann", permitted: bool = True) -> AuditRecord:
    """A record that tells its number in its fingerprint."""
    return AuditRecord(
        caller=Caller.of(principal, purpose="analytics"),
        frontend="test",
        text="SELECT 'secret'",
        permitted=permitted,
        relations=("bank.customers",),
        rules=(),
        policy_version="v1",
        reason=None if permitted else "no-permit: nothing",
        fingerprint=f"{number:016x}",
    )


def keep_on(path: Path, durability: str) -> None:
    """Keep records for ever; tell the number of each on standard output, once it is kept."""
    sink = JsonLinesSink(path, signer=KEY, durability=durability, rotate_at=200_000, checkpoint_every=50)
    number = 0
    while True:
        number += 1
        kept = sink.record(record(number), NOW)
        sys.stdout.write(f"{kept}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    keep_on(Path(sys.argv[1]), sys.argv[2])
