"""The bits of consents, on PostgreSQL: what the answers of many data subjects are, in few rows.

For each purpose and each 1,024 numbers of data subjects (block *n* has those from 1,024 n on) ``consent_blocks`` has a
row: ``yes`` has a bit for each answer in force that is a yes without limits, ``no`` for each that is a no, and
``asked`` for each yes that is limited to categories or recipients, of which statements read the answer itself (NULL
where there is none). All this as it is before ``holds_until``, when the next answer of the block begins or ends by
itself; from then on the row says nothing. ``consent_numbers`` has the number of each block that has a row.

Law: a row is written in the transaction that changes an answer, after the answer, under the row's lock; so two who
change answers of one block at once do it one after the other (the second of two old snapshots gets 40001), and whoever
sees an answer sees its bit. Bits that are not those of the answers just changed are taken over only from a row that
holds; else the row is made anew from the answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BLOCKS: Final = "consent_blocks"
NUMBERS: Final = "consent_numbers"
READ_BY_STATEMENTS: Final = (BLOCKS, NUMBERS)

_ZEROS: Final = f"'\\x{'00' * 128}'"

# Room on each page, so that a row's next version stays beside it and no index changes.
_TABLES = (
    f"""
CREATE TABLE IF NOT EXISTS datagate.{BLOCKS} (
    block bigint NOT NULL,
    holds_until timestamptz NOT NULL DEFAULT '-infinity',
    purpose text NOT NULL,
    yes bytea NOT NULL DEFAULT {_ZEROS},
    asked bytea,
    no bytea NOT NULL DEFAULT {_ZEROS},
    PRIMARY KEY (purpose, block),
    CHECK (length(yes) = 128 AND length(no) = 128 AND length(asked) = 128)
) WITH (fillfactor = 70)
""",
    f"CREATE TABLE IF NOT EXISTS datagate.{NUMBERS} (block bigint PRIMARY KEY)",
    f"""
CREATE OR REPLACE AGGREGATE datagate.with_bits(bigint, integer) (
    SFUNC = pg_catalog.set_bit, STYPE = bytea, INITCOND = '\\x{"00" * 128}'
)
""",
)

# Above so many changed answers of one block the whole block is read, which takes as long.
_MANY: Final = 64

# By an answer, c, at the instant at which the block is written.
_STANDS: Final = "c.valid_from <= instant AND (c.valid_until IS NULL OR c.valid_until > instant)"
_NEXT_TURN: Final = (
    "CASE WHEN c.valid_from > instant THEN c.valid_from WHEN c.valid_until > instant THEN c.valid_until END"
)

# A plan that was made while there were few answers is used when there are many, too.
_KEEP = f"""
CREATE OR REPLACE FUNCTION datagate.keep_block(named text, numbered bigint, changed bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    kept datagate.{BLOCKS};
    instant timestamptz;
    number bigint;
    answer record;
    yes boolean;
    limited boolean;
BEGIN
    SELECT * INTO kept FROM datagate.{BLOCKS} AS b WHERE b.purpose = named AND b.block = numbered FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO datagate.{NUMBERS} VALUES (numbered) ON CONFLICT DO NOTHING;
        INSERT INTO datagate.{BLOCKS} (purpose, block) VALUES (named, numbered) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT kept FROM datagate.{BLOCKS} AS b
        WHERE b.purpose = named AND b.block = numbered FOR NO KEY UPDATE;
    END IF;
    instant := clock_timestamp();
    IF instant < kept.holds_until AND cardinality(changed) <= {_MANY} THEN
        FOREACH number IN ARRAY changed LOOP
            -- All NULL where there is no answer any more: then no bit is set, and no turn comes of it.
            SELECT c.granted, c.categories IS NOT NULL OR c.recipients IS NOT NULL AS limited,
                {_STANDS} AS stands, {_NEXT_TURN} AS next_turn
            INTO answer FROM datagate.consents AS c
            WHERE c.purpose = named AND c.data_subject_number = number;
            kept.holds_until := least(kept.holds_until, answer.next_turn);
            yes := coalesce(answer.granted AND answer.stands, false);
            limited := yes AND answer.limited;
            kept.yes := set_bit(kept.yes, number & 1023, (yes AND NOT limited)::int);
            kept.no := set_bit(kept.no, number & 1023, coalesce(NOT answer.granted AND answer.stands, false)::int);
            IF limited OR kept.asked IS NOT NULL THEN
                kept.asked := set_bit(coalesce(kept.asked, {_ZEROS}), number & 1023, limited::int);
            END IF;
        END LOOP;
    ELSE
        SELECT datagate.with_bits(k.bit, 1) FILTER (WHERE k.granted AND k.stands AND NOT k.limited),
            datagate.with_bits(k.bit, 1) FILTER (WHERE NOT k.granted AND k.stands),
            CASE WHEN bool_or(k.granted AND k.stands AND k.limited)
                THEN datagate.with_bits(k.bit, 1) FILTER (WHERE k.granted AND k.stands AND k.limited) END,
            coalesce(min(k.next_turn), 'infinity')
        INTO STRICT kept.yes, kept.no, kept.asked, kept.holds_until
        FROM (
            SELECT c.data_subject_number & 1023 AS bit, c.granted,
                c.categories IS NOT NULL OR c.recipients IS NOT NULL AS limited,
                {_STANDS} AS stands, {_NEXT_TURN} AS next_turn
            FROM datagate.consents AS c
            WHERE c.purpose = named AND c.data_subject_number BETWEEN numbered << 10 AND (numbered << 10) + 1023
        ) AS k;
    END IF;
    UPDATE datagate.{BLOCKS} AS b
    SET yes = kept.yes, no = kept.no, asked = kept.asked, holds_until = kept.holds_until
    WHERE b.purpose = named AND b.block = numbered
        AND (b.yes, b.no, b.asked, b.holds_until)
            IS DISTINCT FROM (kept.yes, kept.no, kept.asked, kept.holds_until);
END
$$
"""

# For statements, under the caller's search path; so all names are qualified. NULL: there is no answer in force. It is
# called where a block does not hold, and of one with limited answers for who has neither bit, yes or no.
_ANSWERED = """
CREATE OR REPLACE FUNCTION datagate.answered(
    named text, number bigint, holds_until timestamptz, asked bytea, tags text[], parties text[], others text[])
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10 AS $$
BEGIN
    IF pg_catalog.statement_timestamp() OPERATOR(pg_catalog.<) holds_until
        AND pg_catalog.get_bit(asked, number OPERATOR(pg_catalog.&) 1023::bigint) OPERATOR(pg_catalog.=) 0
    THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT k.granted AND (k.categories IS NULL OR k.categories OPERATOR(pg_catalog.@>) tags)
            AND (k.recipients IS NULL
                OR k.recipients OPERATOR(pg_catalog.&&) parties AND k.recipients OPERATOR(pg_catalog.&&) others)
        FROM datagate.consents AS k
        WHERE k.purpose OPERATOR(pg_catalog.=) named AND k.data_subject_number OPERATOR(pg_catalog.=) number
            AND k.valid_from OPERATOR(pg_catalog.<=) pg_catalog.statement_timestamp()
            AND (k.valid_until IS NULL OR k.valid_until OPERATOR(pg_catalog.>) pg_catalog.statement_timestamp()));
END
$$
"""

# What was read long ago is passed over where somebody else is at it already.
_RENEW = f"""
CREATE OR REPLACE FUNCTION datagate.renew_blocks(most int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stale record;
    renewed int := 0;
BEGIN
    FOR stale IN
        SELECT b.purpose, b.block FROM datagate.{BLOCKS} AS b WHERE b.holds_until <= clock_timestamp()
        ORDER BY b.purpose, b.block LIMIT most FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM datagate.keep_block(stale.purpose, stale.block, NULL);
        renewed := renewed + 1;
    END LOOP;
    RETURN renewed;
END
$$
"""

_FILL = """
SELECT pg_catalog.count(datagate.keep_block(k.purpose, k.block, NULL)) FROM (
    SELECT DISTINCT c.purpose, c.data_subject_number OPERATOR(pg_catalog.>>) 10 AS block
    FROM datagate.consents AS c WHERE c.data_subject_number IS NOT NULL
    ORDER BY 1, 2
) AS k
"""

RENEWS: Final = "renew_blocks(integer)"
CALLED_BY_STATEMENTS: Final = "answered(text, bigint, timestamptz, bytea, text[], text[], text[])"
KEPT_BY_WRITERS: Final = ("keep_block(text, bigint, bigint[])", RENEWS)

KEEP_CHANGED: Final = """FOR concerned IN
            SELECT r.purpose, r.data_subject_number >> 10 AS block, array_agg(DISTINCT r.data_subject_number) AS changed
            FROM {rows} WHERE r.data_subject_number IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
        LOOP
            PERFORM datagate.keep_block(concerned.purpose, concerned.block, concerned.changed);
        END LOOP;"""
"""For the trigger on consents: all blocks of a statement's rows, in the order in which everybody takes them."""

FORGET_ALL: Final = f"DELETE FROM datagate.{BLOCKS};"


def create_statements() -> Iterator[str]:
    """What makes tables and functions; each may run again."""
    yield from _TABLES
    yield _ANSWERED
    yield _KEEP
    yield _RENEW


def fill_statements() -> Iterator[str]:
    """What makes the bits of answers that are there already; under a lock that keeps writers away."""
    yield f"DELETE FROM datagate.{BLOCKS}"
    yield _FILL
