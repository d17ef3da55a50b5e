"""The state says at once that it changed: NOTIFY from its own triggers, so that a change by plain SQL counts too.

Channel ``datagate_state``: ``{"parties": [...]}`` names whose epochs advanced; an empty payload concerns everybody.
Parties are principals and, as ``consent:PURPOSE``, the purposes for which somebody's yes was withdrawn. What is given
or prolonged takes nothing away, and is not told. Channel ``datagate_policies``: read the policies again.

The first hangs from the epochs, which advance whatever table of the state changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from datagate.model.names import PrincipalId, Purpose

STATE_CHANNEL = "datagate_state"
POLICIES_CHANNEL = "datagate_policies"
POLICIES_PARTY = PrincipalId("policies:read-again")
"""The party whose epoch advances with each request to read the policies again."""

_CONSENT = "consent:"

# NOTIFY takes payloads below 8,000 bytes.
_EPOCHS_CHANGED = f"""
CREATE OR REPLACE FUNCTION datagate.signal_parties() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payload text;
BEGIN
    SELECT json_build_object('parties', json_agg(party))::text INTO payload FROM new_rows HAVING count(*) > 0;
    IF payload IS NOT NULL THEN
        PERFORM pg_notify('{STATE_CHANNEL}', CASE WHEN octet_length(payload) < 7900 THEN payload ELSE '' END);
    END IF;
    RETURN NULL;
END
$$
"""

_CONSENTS_CHANGED = f"""
CREATE OR REPLACE FUNCTION datagate.consents_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    withdrawn text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        withdrawn := ARRAY(SELECT DISTINCT n.purpose FROM new_rows AS n WHERE NOT n.granted);
    ELSIF TG_OP = 'DELETE' THEN
        withdrawn := ARRAY(SELECT DISTINCT o.purpose FROM old_rows AS o);
    ELSIF TG_OP = 'TRUNCATE' THEN
        withdrawn := ARRAY(SELECT DISTINCT c.purpose FROM datagate.consents AS c);
    ELSE
        withdrawn := ARRAY(
            SELECT n.purpose FROM new_rows AS n WHERE NOT n.granted
            UNION
            SELECT o.purpose FROM old_rows AS o
            LEFT JOIN new_rows AS n ON n.data_subject = o.data_subject AND n.purpose = o.purpose
            WHERE o.granted AND NOT COALESCE(
                n.granted AND n.valid_from <= greatest(o.valid_from, statement_timestamp())
                AND (n.valid_until IS NULL OR o.valid_until IS NOT NULL AND n.valid_until >= o.valid_until), false));
    END IF;
    IF cardinality(withdrawn) > 0 THEN
        PERFORM datagate.advance_epochs(ARRAY(SELECT '{_CONSENT}' || p FROM unnest(withdrawn) AS p));
    END IF;
    RETURN NULL;
END
$$
"""

_EVENTS = (
    ("epochs", "insert", "AFTER INSERT", "REFERENCING NEW TABLE AS new_rows", "signal_parties"),
    ("epochs", "update", "AFTER UPDATE", "REFERENCING NEW TABLE AS new_rows", "signal_parties"),
    ("consents", "insert", "AFTER INSERT", "REFERENCING NEW TABLE AS new_rows", "consents_changed"),
    (
        "consents",
        "update",
        "AFTER UPDATE",
        "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "consents_changed",
    ),
    ("consents", "delete", "AFTER DELETE", "REFERENCING OLD TABLE AS old_rows", "consents_changed"),
    ("consents", "truncate", "BEFORE TRUNCATE", "", "consents_changed"),
)


def consent_parties(purposes: Iterable[Purpose]) -> tuple[PrincipalId, ...]:
    """The parties whose epochs tell of withdrawals for these purposes."""
    return tuple(PrincipalId(_CONSENT + purpose) for purpose in purposes)


def create_statements() -> Iterator[str]:
    """What makes the triggers; each may run again."""
    yield from (_EPOCHS_CHANGED, _CONSENTS_CHANGED)
    for table, event, when, rows, function in _EVENTS:
        name = f"{table}_{event}_signal"
        yield (
            f"CREATE OR REPLACE TRIGGER {name} {when} ON datagate.{table} {rows}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION datagate.{function}()"
        )
        # Also where rows arrive by replication.
        yield f"ALTER TABLE datagate.{table} ENABLE ALWAYS TRIGGER {name}"
