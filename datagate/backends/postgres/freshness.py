"""The check inside each statement that the facts its decisions came from are still in force."""

from __future__ import annotations

from datagate.model.fragment import Binding, Fragment
from datagate.model.values import ValueType

PARTIES = Binding("facts.parties", ValueType.TEXT_ARRAY)
EPOCH = Binding("facts.epoch", ValueType.BIGINT)
VALID_UNTIL = Binding("facts.valid_until", ValueType.TIMESTAMPTZ)

PARTY = Binding("facts.party", ValueType.TEXT)
"""The party, where one or two are concerned, as with a mandate from hand to hand; else NULL."""

SECOND_PARTY = Binding("facts.second_party", ValueType.TEXT)
"""The other of two parties; else NULL."""

PURPOSES = Binding("facts.purposes", ValueType.TEXT_ARRAY)
"""The purposes whose consents the statement reads; none where it reads no consent."""

STILL_CURRENT = Fragment.of(
    "CASE WHEN pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=)"
    " 'read committed'::pg_catalog.text"
    " AND EXISTS (SELECT 1 FROM datagate.epochs AS e WHERE e.party OPERATOR(pg_catalog.=) ",
    PARTY,
    " AND (e.value OPERATOR(pg_catalog.+) COALESCE((SELECT f.value FROM datagate.epochs AS f"
    " WHERE f.party OPERATOR(pg_catalog.=) ",
    SECOND_PARTY,
    "), 0::pg_catalog.int8)) OPERATOR(pg_catalog.=) ",
    EPOCH,
    ") AND (",
    VALID_UNTIL,
    " IS NULL OR pg_catalog.statement_timestamp() OPERATOR(pg_catalog.<) ",
    VALID_UNTIL,
    ") OR datagate.still_current(",
    PARTIES,
    ", ",
    EPOCH,
    ", ",
    VALID_UNTIL,
    ", ",
    PURPOSES,
    ", NULL) THEN 0 ELSE -1 END",
)
"""Zero while the facts that the decisions came from are in force; else it raises, and so would an OFFSET of -1.

The first half is the common case, which the engine answers faster than it calls the function: READ COMMITTED, where the
statement's snapshot is as young as the statement, and at most two parties. In an older snapshot the function looks past
it.
"""
