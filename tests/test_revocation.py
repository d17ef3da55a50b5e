"""The short version of `python -m benchmarks.revocation`: nothing timed, but nothing served either."""

from __future__ import annotations

from benchmarks import revocation
from datagate.backends.postgres.embedded import EmbeddedPostgres


def test_nothing_is_served_after_a_revocation(postgres: EmbeddedPostgres) -> None:
    """Of busy callers whose roles are deleted, no statement that began after the commit gave a row; results end."""
    dsn, store = revocation.create(postgres)
    made, served, latencies = revocation.measure(dsn, store, connections=6, count=30, long=4)
    store.close()
    postgres.drop_database("revocation")
    assert made >= 30
    assert served == 0
    assert [len(each) for each in latencies.values()] == [4, 4]
