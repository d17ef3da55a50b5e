"""What the state needs of PostgreSQL beyond tables: triggers that advance epochs, and the check inside statements.

All names are qualified, operators too, since the functions run under the caller's search path. The check has no
``SET search_path`` of its own: that would cost more than the check.
"""

from __future__ import annotations

from collections.abc import Iterator

STALE_SQLSTATE = "DG001"

CONSENT_PARTY = "consent:"
"""A purpose stands among the parties under this and its name: its epoch advances with every answer for it."""

# One advisory lock for all who create the state schema: "datagate" in ASCII.
LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(7233173890163373157)"

# From the clock, so that a database restored from a backup does not repeat values that were handed out since.
_ADVANCE = """
CREATE OR REPLACE FUNCTION datagate.advance_epochs(parties text[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO datagate.epochs AS e (party, value)
    SELECT p, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM (SELECT DISTINCT p FROM unnest(parties) AS p) AS concerned
    ORDER BY p  -- two writers meet the same rows in the same order
    ON CONFLICT (party) DO UPDATE SET value = greatest(e.value + 1, excluded.value)
$$
"""

_CHANGED = """
CREATE OR REPLACE FUNCTION datagate.{table}_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM datagate.advance_epochs(ARRAY(SELECT party FROM datagate.epochs));
    ELSE
        IF TG_OP <> 'DELETE' THEN
            PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM new_rows, unnest(ARRAY[{parties}]) AS p));
        END IF;
        IF TG_OP <> 'INSERT' THEN
            PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM old_rows, unnest(ARRAY[{parties}]) AS p));
        END IF;
    END IF;
    RETURN NULL;
END
$$
"""

_GROW_ONLY = """
CREATE OR REPLACE FUNCTION datagate.epochs_grow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'epochs only grow: what was read under one must not seem current again';
END
$$
"""

# True, or an error, for arguments that are NULL too; but valid_until NULL says that nothing ends by itself. A loop,
# since each look-up of one party costs 5 µs here, and one scan for an array of parties 25.
_STILL_CURRENT = f"""
CREATE OR REPLACE FUNCTION datagate.still_current(parties text[], value bigint, valid_until timestamptz)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    concerned text;
    counted bigint;
    total bigint := 0;
BEGIN
    FOREACH concerned IN ARRAY parties LOOP
        SELECT e.value INTO counted FROM datagate.epochs AS e WHERE e.party OPERATOR(pg_catalog.=) concerned;
        total := total OPERATOR(pg_catalog.+) COALESCE(counted, 0);
    END LOOP;
    IF total OPERATOR(pg_catalog.=) value
        AND (valid_until IS NULL OR pg_catalog.statement_timestamp() OPERATOR(pg_catalog.<) valid_until)
    THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the rights of this caller changed' USING ERRCODE = '{STALE_SQLSTATE}';
END
$$
"""

STIRRED = "datagate_stirred"
"""The channel on which the database tells that something of the state changed, as soon as it is committed."""

_STIR = f"""
CREATE OR REPLACE FUNCTION datagate.stir() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('{STIRRED}', '');
    RETURN NULL;
END
$$
"""

_REFUSE_ROW = """
CREATE OR REPLACE FUNCTION datagate.refuse_row(relation text) RETURNS boolean
LANGUAGE plpgsql PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '44000',
        MESSAGE = pg_catalog.concat('a row of ', relation, ' would not satisfy the policy');
END
$$
"""

_CHECK = "still_current(text[], bigint, timestamptz)"
_REFUSAL = "refuse_row(text)"
# Where the key of a data subject is a whole number in its canonical spelling, it is kept as a number too: statements
# whose key column is one join by it, in half the time. CASE keeps the casts from what is none.
_NUMBER = """
ALTER TABLE datagate.consents ADD COLUMN IF NOT EXISTS data_subject_number bigint GENERATED ALWAYS AS (
    CASE WHEN data_subject ~ '^(0|-?[1-9][0-9]{0,18})$' THEN
        CASE WHEN data_subject::numeric BETWEEN -9223372036854775808 AND 9223372036854775807
            THEN data_subject::bigint END
    END) STORED
"""
_NUMBER_INDEX = """
CREATE INDEX IF NOT EXISTS consents_by_number ON datagate.consents (purpose, data_subject_number)
INCLUDE (granted, valid_from, valid_until)
"""

# Whoever keeps rows that consents let him see is told by the purpose's own epoch; no decision is made from it.
_PARTIES = {
    "entitlements": "principal",
    "mandates": "principal, holder",
    "consents": f"'{CONSENT_PARTY}' || purpose",
}
_READ_BY_STATEMENTS = ("epochs", "consents")


def create_statements() -> Iterator[str]:
    """What makes functions and triggers; each may run again."""
    yield from (_NUMBER, _NUMBER_INDEX, _ADVANCE, _GROW_ONLY, _STILL_CURRENT, _STIR, _REFUSE_ROW)
    for table, parties in _PARTIES.items():
        yield _CHANGED.format(table=table, parties=parties)
        for event, rows in (
            ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
            ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
            ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
            ("TRUNCATE", ""),
        ):
            yield _trigger(table, f"{table}_{event.lower()}", f"AFTER {event}", rows, f"{table}_changed")
    yield _trigger("epochs", "epochs_stay", "BEFORE DELETE OR TRUNCATE", "", "epochs_grow")
    yield _trigger("epochs", "epochs_stir", "AFTER INSERT OR UPDATE", "", "stir")
    yield (
        "CREATE OR REPLACE TRIGGER epochs_grow BEFORE UPDATE ON datagate.epochs FOR EACH ROW"
        " WHEN (NEW.value <= OLD.value OR NEW.party <> OLD.party) EXECUTE FUNCTION datagate.epochs_grow()"
    )
    for table, name in [
        ("epochs", "epochs_stay"),
        ("epochs", "epochs_grow"),
        ("epochs", "epochs_stir"),
        *_trigger_names(),
    ]:
        # Also where rows arrive by replication.
        yield f"ALTER TABLE datagate.{table} ENABLE ALWAYS TRIGGER {name}"
    for function in ("advance_epochs(text[])", _CHECK, _REFUSAL):
        yield f"REVOKE ALL ON FUNCTION datagate.{function} FROM PUBLIC"


def service_role_statements(quoted_role: str) -> Iterator[str]:
    """What the role that runs rewritten statements needs of the state, and no more; the name comes quoted."""
    yield f"GRANT USAGE ON SCHEMA datagate TO {quoted_role}"
    for table in _READ_BY_STATEMENTS:
        yield f"GRANT SELECT ON datagate.{table} TO {quoted_role}"
    for function in (_CHECK, _REFUSAL):
        yield f"GRANT EXECUTE ON FUNCTION datagate.{function} TO {quoted_role}"


def state_reader_statements(quoted_role: str) -> Iterator[str]:
    """What the role that a gate reads facts with needs: all of the state, to read; the name comes quoted."""
    yield f"GRANT USAGE ON SCHEMA datagate TO {quoted_role}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA datagate TO {quoted_role}"


def _trigger_names() -> Iterator[tuple[str, str]]:
    for table in _PARTIES:
        for event in ("insert", "update", "delete", "truncate"):
            yield table, f"{table}_{event}"


def _trigger(table: str, name: str, when: str, rows: str, function: str) -> str:
    return (
        f"CREATE OR REPLACE TRIGGER {name} {when} ON datagate.{table} {rows}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION datagate.{function}()"
    )
