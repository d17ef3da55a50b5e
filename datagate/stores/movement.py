"""What moved outside of every snapshot, on PostgreSQL: how an old transaction learns that rights changed.

A REPEATABLE READ or SERIALIZABLE transaction reads the state as its snapshot holds it, and so would a check of the
epochs. Sequences are not versioned (PostgreSQL manual, 9.17): their value is read as it is now. So each shard of what
can change has two: ``…_last`` holds the id of the transaction that changed it last, whether that has ended or not, and
``…_done`` the id of the last one before that committed. Who writes takes the shard's advisory lock first and keeps it
until the transaction ends, after it has become visible; so what came before the last writer has ended, and where the
last committed writer is visible, all are.

A shard has moved if either transaction is committed (`pg_xact_status`, which reads the commit log as it is now) and is
not visible in the snapshot. A change under way, or one that was rolled back, is none.

The order makes it safe without a lock for the reader: a writer sets ``done`` before ``last``, the reader reads ``last``
before ``done``. So it either meets the last committed one in ``last``, or meets it, or a later one, in ``done``.

The ids are those of one cluster: a dump that is restored into another one brings ids that mean nothing there. Then the
check fails until the state is written, or ``datagate init`` runs, which sets them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from datagate.model import locks

PARTY: Final = "party"
PURPOSE: Final = "purpose"
SHARDS: Final = {PARTY: 64, PURPOSE: 16}
"""How many of each. More shards: fewer old transactions that are told to start over because of somebody else."""

_CLASS: Final = {PARTY: locks.PARTY, PURPOSE: locks.PURPOSE}
"""The first key of the advisory locks; the second is the shard."""

_SHARD = """
CREATE OR REPLACE FUNCTION datagate.shard_of(kind text, name text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.hashtext(name) OPERATOR(pg_catalog.&) CASE WHEN kind OPERATOR(pg_catalog.=) 'party'::text
    THEN {party} ELSE {purpose} END
"""

_COMMITTED = """
CREATE OR REPLACE FUNCTION datagate.has_committed(id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- NULL: so old that the commit log has forgotten it, hence in every snapshot, if it committed at all.
    RETURN coalesce(pg_xact_status(id::text::xid8) = 'committed', true);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;  -- an id of another cluster
END
$$
"""

_MOVE = """
CREATE OR REPLACE FUNCTION datagate.move(kind text, names text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shard int;
    mine bigint := pg_current_xact_id()::text::bigint;
    latest bigint;
    last_id regclass;
BEGIN
    FOR shard IN SELECT DISTINCT datagate.shard_of(kind, n) AS s FROM unnest(names) AS n ORDER BY s LOOP
        PERFORM pg_advisory_xact_lock(CASE kind WHEN 'party' THEN {party} ELSE {purpose} END, shard);
        last_id := 'datagate.' || kind || '_last_' || shard;
        latest := pg_sequence_last_value(last_id);
        IF latest IS DISTINCT FROM mine THEN
            IF datagate.has_committed(latest) THEN
                PERFORM setval('datagate.' || kind || '_done_' || shard, latest);
            END IF;
            PERFORM setval(last_id, mine);
        END IF;
    END LOOP;
END
$$
"""

# Runs under the caller's search path, as the check does that calls it.
_MOVED = """
CREATE OR REPLACE FUNCTION datagate.has_moved(kind text, name text, since pg_snapshot) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    shard text := datagate.shard_of(kind, name)::pg_catalog.text;
    latest pg_catalog.xid8;
BEGIN
    latest := pg_catalog.pg_sequence_last_value(pg_catalog.concat('datagate.', kind, '_last_', shard)
        ::pg_catalog.regclass)::pg_catalog.text::pg_catalog.xid8;
    IF pg_catalog.pg_visible_in_snapshot(latest, since) THEN
        RETURN false;
    END IF;
    IF pg_catalog.pg_xact_status(latest) OPERATOR(pg_catalog.=) ANY(ARRAY['in progress'::text, 'aborted'::text]) THEN
        latest := pg_catalog.pg_sequence_last_value(pg_catalog.concat('datagate.', kind, '_done_', shard)
            ::pg_catalog.regclass)::pg_catalog.text::pg_catalog.xid8;
        RETURN pg_catalog.pg_visible_in_snapshot(latest, since) IS NOT TRUE;
    END IF;
    RETURN true;
END
$$
"""

# Under the shard's lock no writer can set an id that this transaction would take for one of the future.
_HEAL = """
DO $$
DECLARE
    kind text;
    shard int;
    which text;
    id regclass;
BEGIN
    FOR kind, shard IN SELECT k, s FROM (VALUES ('party', 63), ('purpose', 15)) AS v(k, n), generate_series(0, n) AS s
    LOOP
        PERFORM pg_advisory_xact_lock(CASE kind WHEN 'party' THEN {party} ELSE {purpose} END, shard);
        FOREACH which IN ARRAY ARRAY['_last_', '_done_'] LOOP
            id := 'datagate.' || kind || which || shard;
            IF pg_sequence_last_value(id) >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                AND pg_sequence_last_value(id) <> pg_current_xact_id()::text::bigint
            THEN
                PERFORM setval(id, 3);
            END IF;
        END LOOP;
    END LOOP;
END
$$
"""

READ_BY_CHECK: Final = ("shard_of(text, text)", "has_moved(text, text, pg_snapshot)")
KEPT_BY_WRITERS: Final = ("has_committed(bigint)", "move(text, text[])")


def sequences() -> Iterator[str]:
    """The names of all sequences."""
    for kind, count in SHARDS.items():
        for shard in range(count):
            yield f"datagate.{kind}_last_{shard}"
            yield f"datagate.{kind}_done_{shard}"


def create_statements() -> Iterator[str]:
    """What makes sequences and functions; each may run again."""
    for name in sequences():
        yield f"CREATE SEQUENCE IF NOT EXISTS {name} AS bigint CACHE 1"
        # Three is the first id that a transaction ever has: visible to all.
        yield f"SELECT pg_catalog.setval('{name}', 3) WHERE pg_catalog.pg_sequence_last_value('{name}') IS NULL"
    masks = {kind: count - 1 for kind, count in SHARDS.items()}
    yield _SHARD.format(**masks)
    yield _COMMITTED
    yield _MOVE.format(**_CLASS)
    yield _MOVED


def heal_statements() -> Iterator[str]:
    """What sets sequences back that hold an id of another cluster."""
    yield _HEAL.format(**_CLASS)
