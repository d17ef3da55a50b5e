"""What the state needs of PostgreSQL beyond tables: triggers that record, and the check inside statements.

Every change of entitlements, consents and mandates, by whatever road, writes its facts into the history, advances the
epochs of the parties concerned, moves their shards (`datagate.stores.movement`), and notifies the channel
``datagate_state``; on commit whoever listens there gets a JSON object, one of

* ``{"parties": {"ann": 7, "bob": 9}}``: the rights of these principals and actors changed, and their epochs are these;
  with ``"roles": {"ann": ["analyst"]}`` where all that changed for ann is that she was given these roles, in force now;
* ``{"purposes": ["marketing"]}``: of some data subject, a consent for these purposes was taken back or narrowed;
* ``{"everything": true}``: more than a payload can name.

All names are qualified, operators too, in functions that run under the caller's search path. The check has no
``SET search_path`` of its own: that would cost more than the check.
"""

from __future__ import annotations

from collections.abc import Iterator

from datagate.model import locks
from datagate.stores import blocks, movement, plans, turns
from datagate.stores.history import HISTORIES
from datagate.stores.signals import CONSENT
from datagate.stores.tables import metadata

STALE_SQLSTATE = "DG001"
CHANNEL = "datagate_state"

# One advisory lock for all who create the state schema.
LOCK = f"SELECT pg_catalog.pg_advisory_xact_lock({locks.CREATION}, 0)"

# From the clock, so that a database restored from a backup does not repeat values that were handed out since.
_ADVANCE = """
CREATE OR REPLACE FUNCTION datagate.advance_epochs(parties text[], roles json DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF parties = '{}' THEN
        RETURN;
    END IF;
    PERFORM datagate.move('party', parties);
    PERFORM datagate.count_changes(parties);
    PERFORM datagate.tell('parties', parties, roles);
END
$$
"""

_COUNT = """
CREATE OR REPLACE FUNCTION datagate.count_changes(parties text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO datagate.epochs AS e (party, value)
    SELECT p, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM (SELECT DISTINCT p FROM unnest(parties) AS p) AS concerned
    ORDER BY p  -- two writers meet the same rows in the same order
    ON CONFLICT (party) DO UPDATE SET value = greatest(e.value + 1, excluded.value);
END
$$
"""

_TELL = f"""
CREATE OR REPLACE FUNCTION datagate.tell(kind text, names text[], roles json DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payload text;
BEGIN
    IF cardinality(names) < 2000 THEN
        payload := json_strip_nulls(json_build_object(kind, CASE kind
            WHEN 'parties' THEN (SELECT json_object_agg(e.party, e.value ORDER BY e.party)
                FROM datagate.epochs AS e WHERE e.party = ANY (names))
            ELSE to_json(ARRAY(SELECT DISTINCT n FROM unnest(names) AS n ORDER BY n)) END, 'roles', roles));
    END IF;
    -- A payload has less than 8,000 bytes (PostgreSQL manual, NOTIFY).
    IF payload IS NULL OR octet_length(payload) >= 7900 THEN
        payload := '{{"everything": true}}';
    END IF;
    PERFORM pg_notify('{CHANNEL}', payload);
END
$$
"""

# Whether an answer, o, was replaced by one, n, that takes nothing from anybody: the same again, or a yes in force now
# for as long, as many categories and as many recipients. What a no was for is not asked: its end may give way to more.
_TAKES_NOTHING = """
    (n.granted, n.valid_from, n.valid_until, n.categories, n.recipients)
        IS NOT DISTINCT FROM (o.granted, o.valid_from, o.valid_until, o.categories, o.recipients)
    OR n.granted AND n.valid_from <= clock_timestamp()
        AND (n.valid_until IS NULL OR o.granted AND n.valid_until >= o.valid_until)
        AND (n.categories IS NULL OR o.granted AND n.categories @> o.categories)
        AND (n.recipients IS NULL OR o.granted AND n.recipients @> o.recipients)"""

# The same for entitlements: what is in force stays so, no shorter, with the same value. Facts that were read before
# end when they would have, and are read anew then.
_CHANGES_NOTHING = """
    n.value IS NOT DISTINCT FROM o.value AND n.valid_from <= clock_timestamp() AND o.valid_from <= clock_timestamp()
        AND (o.valid_until IS NULL OR o.valid_until > clock_timestamp())
        AND (n.valid_until IS NULL OR n.valid_until >= o.valid_until)"""

_TAKEN = f"""
CREATE OR REPLACE FUNCTION datagate.consents_taken(purposes text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF purposes <> '{{}}' THEN
        PERFORM datagate.move('purpose', purposes);
        -- For open cursors, whose rows are of an old snapshot.
        PERFORM datagate.count_changes(ARRAY(SELECT '{CONSENT}' || p FROM unnest(purposes) AS p));
        PERFORM datagate.tell('purposes', purposes);
    END IF;
END
$$
"""

_CHANGED = """
CREATE OR REPLACE FUNCTION datagate.{table}_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    recorder text := coalesce(nullif(current_setting('datagate.by', true), ''), session_user);
    reason text := nullif(current_setting('datagate.why', true), '');
    concerned record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        -- It takes away what its snapshot does not show, too: that would neither be recorded nor told to anybody.
        IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
            RAISE EXCEPTION 'TRUNCATE of datagate.{table} takes a transaction that is READ COMMITTED'
                USING ERRCODE = 'serialization_failure';
        END IF;
        INSERT INTO datagate.{history} (present, recorded_at, recorded_by, why, {columns})
        SELECT false, clock_timestamp(), recorder, reason, {columns} FROM datagate.{table};
        {truncated}
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO datagate.{history} (present, recorded_at, recorded_by, why, {columns})
        SELECT false, clock_timestamp(), recorder, reason, {columns} FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO datagate.{history} (present, recorded_at, recorded_by, why, {columns})
        SELECT false, clock_timestamp(), recorder, reason, {columns} FROM old_rows AS o
        WHERE NOT EXISTS (SELECT FROM new_rows AS n WHERE {same_key});
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO datagate.{history} (present, recorded_at, recorded_by, why, {columns})
        SELECT true, clock_timestamp(), recorder, reason, {columns} FROM new_rows;
    END IF;
    IF TG_OP = 'INSERT' THEN
        {came}
    ELSIF TG_OP = 'DELETE' THEN
        {went}
    ELSE
        {replaced}
    END IF;
    RETURN NULL;
END
$$
"""

_FORBIDDEN = """
CREATE OR REPLACE FUNCTION datagate.{name}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '{message}';
END
$$
"""

# True, or an error, for arguments that are NULL too; but valid_until NULL says that nothing ends by itself. A loop,
# since each look-up of one party costs 5 µs here, and one scan for an array of parties 25.
_STILL_CURRENT = f"""
CREATE OR REPLACE FUNCTION datagate.still_current(
    parties text[], value bigint, valid_until timestamptz,
    purposes text[] DEFAULT '{{}}', since pg_snapshot DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    named text;
    counted bigint;
    total bigint := 0;
    moved boolean := false;
    seen pg_snapshot := COALESCE(since, pg_catalog.pg_current_snapshot());
    one_snapshot boolean := pg_catalog.current_setting('transaction_isolation')
        OPERATOR(pg_catalog.=) ANY(ARRAY['repeatable read'::text, 'serializable'::text]);
BEGIN
    FOREACH named IN ARRAY parties LOOP
        SELECT e.value INTO counted FROM datagate.epochs AS e WHERE e.party OPERATOR(pg_catalog.=) named;
        total := total OPERATOR(pg_catalog.+) COALESCE(counted, 0);
        IF one_snapshot AND datagate.has_moved('party'::text, named, pg_catalog.pg_current_snapshot()) THEN
            moved := true;
        END IF;
    END LOOP;
    IF one_snapshot OR since IS NOT NULL THEN
        FOREACH named IN ARRAY purposes LOOP
            IF datagate.has_moved('purpose'::text, named, seen) THEN
                moved := true;
            END IF;
        END LOOP;
    END IF;
    IF NOT moved AND total OPERATOR(pg_catalog.=) value
        AND (valid_until IS NULL OR pg_catalog.statement_timestamp() OPERATOR(pg_catalog.<) valid_until)
    THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the rights of this caller changed' USING ERRCODE = '{STALE_SQLSTATE}';
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

# Row locks of mandates make uses count one after the other; the one of the lowest link first, as all do.
_USE = """
CREATE OR REPLACE FUNCTION datagate.use_mandate(used text, session text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed int;
BEGIN
    SELECT m.max_uses INTO allowed FROM datagate.mandates AS m WHERE m.mandate_id = used FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF allowed IS NULL
        OR EXISTS (SELECT FROM datagate.mandate_uses AS u WHERE u.mandate_id = used AND u.session_id = session)
    THEN
        RETURN true;
    END IF;
    IF (SELECT count(*) FROM datagate.mandate_uses AS u WHERE u.mandate_id = used) >= allowed THEN
        RETURN false;
    END IF;
    INSERT INTO datagate.mandate_uses (mandate_id, session_id, used_at) VALUES (used, session, at);
    RETURN true;
END
$$
"""

_CHECK = "still_current(text[], bigint, timestamptz, text[], pg_snapshot)"
_USES = "use_mandate(text, text, timestamptz)"
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
INCLUDE (granted, valid_from, valid_until, categories, recipients) WHERE data_subject_number IS NOT NULL
"""

_PARTIES = {"entitlements": ("principal",), "mandates": ("principal", "holder")}
_REPLACED_QUIETLY = {"entitlements": _CHANGES_NOTHING, "mandates": "false"}
_ADVANCE_OF = (
    "PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM {rows} CROSS JOIN unnest(ARRAY[{parties}]) AS p{where}));"
)
_GIVEN = (
    "PERFORM datagate.advance_epochs(ARRAY(SELECT r.principal FROM new_rows AS r), (SELECT"
    " json_object_agg(g.principal, g.names) FROM (SELECT r.principal, json_agg(r.name) AS names FROM new_rows AS r"
    " GROUP BY r.principal HAVING bool_and(r.kind = 'role' AND r.valid_from <= clock_timestamp())) AS g));"
)
_TAKEN_OF = "PERFORM datagate.consents_taken(ARRAY(SELECT DISTINCT {purpose} FROM {rows}{where}));"
_NOT_WIDE = "NOT ({0}.granted AND {0}.categories IS NULL AND {0}.recipients IS NULL)"
# Of a key that is in one of the two alone, the other's columns are NULL, and so is what is asked of them.
_PAIRS = "old_rows AS o FULL JOIN new_rows AS n ON {on}"
READ_BY_STATEMENTS = ("epochs", "consents", *blocks.READ_BY_STATEMENTS)
"""The tables of the state that rewritten statements read."""
_EVENTS = (
    ("INSERT", "AFTER", "REFERENCING NEW TABLE AS new_rows"),
    ("UPDATE", "AFTER", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    ("DELETE", "AFTER", "REFERENCING OLD TABLE AS old_rows"),
    ("TRUNCATE", "BEFORE", ""),
)
_GROW = "epochs only grow: what was read under one must not seem current again"
_STAY = "facts of the history stay as they were recorded"


def create_statements() -> Iterator[str]:
    """What makes functions and triggers; each may run again."""
    for replaced in ("still_current(text[], bigint, timestamptz)", "advance_epochs(text[])", "tell(text, text[])"):
        yield f"DROP FUNCTION IF EXISTS datagate.{replaced}"
    yield from movement.create_statements()
    yield from (_NUMBER, _NUMBER_INDEX, *turns.INDEXES)
    yield from blocks.create_statements()
    yield from (_TELL, _COUNT, _ADVANCE, _TAKEN, _STILL_CURRENT, _USE, _REFUSE_ROW)
    yield from plans.FUNCTIONS
    yield _FORBIDDEN.format(name="epochs_grow", message=_GROW)
    yield _FORBIDDEN.format(name="history_stays", message=_STAY)
    always = []
    for table in HISTORIES:
        yield _changed(table)
        for event, when, rows in _EVENTS:
            name = f"{table}_{event.lower()}"
            yield _trigger(table, name, f"{when} {event}", rows, f"{table}_changed")
            always.append((table, name))
    for history in HISTORIES.values():
        yield _trigger(history.name, "stays", "BEFORE UPDATE OR DELETE OR TRUNCATE", "", "history_stays")
        always.append((history.name, "stays"))
    yield _trigger("mandate_uses", "stays", "BEFORE UPDATE OR DELETE OR TRUNCATE", "", "history_stays")
    yield _trigger("epochs", "epochs_stay", "BEFORE DELETE OR TRUNCATE", "", "epochs_grow")
    yield (
        "CREATE OR REPLACE TRIGGER epochs_grow BEFORE UPDATE ON datagate.epochs FOR EACH ROW"
        " WHEN (NEW.value <= OLD.value OR NEW.party <> OLD.party) EXECUTE FUNCTION datagate.epochs_grow()"
    )
    for table, name in [("epochs", "epochs_stay"), ("epochs", "epochs_grow"), ("mandate_uses", "stays"), *always]:
        # Also where rows arrive by replication.
        yield f"ALTER TABLE datagate.{table} ENABLE ALWAYS TRIGGER {name}"
    own = (
        "advance_epochs(text[], json)",
        "count_changes(text[])",
        "tell(text, text[], json)",
        "consents_taken(text[])",
    )
    kept = (*own, *blocks.KEPT_BY_WRITERS, *movement.KEPT_BY_WRITERS, *movement.READ_BY_CHECK)
    for function in (*kept, _CHECK, _USES, _REFUSAL, blocks.CALLED_BY_STATEMENTS, *plans.SIGNATURES):
        yield f"REVOKE ALL ON FUNCTION datagate.{function} FROM PUBLIC"


def service_role_statements(quoted_role: str) -> Iterator[str]:
    """What the role that runs rewritten statements needs of the state, and no more; the name comes quoted."""
    yield f"GRANT USAGE ON SCHEMA datagate TO {quoted_role}"
    for table in READ_BY_STATEMENTS:
        yield f"GRANT SELECT ON datagate.{table} TO {quoted_role}"
    yield f"GRANT SELECT ON SEQUENCE {', '.join(movement.sequences())} TO {quoted_role}"
    for function in (_CHECK, _REFUSAL, blocks.CALLED_BY_STATEMENTS, *movement.READ_BY_CHECK, *plans.SIGNATURES):
        yield f"GRANT EXECUTE ON FUNCTION datagate.{function} TO {quoted_role}"


def state_reader_statements(quoted_role: str) -> Iterator[str]:
    """What the role that a gate reads facts with needs: all of the state to read, and to count uses; name as above."""
    yield f"GRANT USAGE ON SCHEMA datagate TO {quoted_role}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA datagate TO {quoted_role}"
    for function in (_USES, blocks.RENEWS, *movement.READ_BY_CHECK):
        yield f"GRANT EXECUTE ON FUNCTION datagate.{function} TO {quoted_role}"
    yield f"GRANT SELECT ON SEQUENCE {', '.join(movement.sequences())} TO {quoted_role}"


def _changed(table: str) -> str:
    source = metadata.tables[f"datagate.{table}"]
    keys = [column.name for column in source.primary_key]
    pairs = _PAIRS.format(on=" AND ".join(f"n.{key} = o.{key}" for key in keys))
    told = _told_of_consents(pairs) if table == "consents" else _told_of_parties(table, pairs)
    return _CHANGED.format(
        table=table,
        history=HISTORIES[table].name,
        columns=", ".join(column.name for column in source.columns),
        same_key=" AND ".join(f"n.{key} = o.{key}" for key in keys),
        **told,
    )


def _told_of_consents(pairs: str) -> dict[str, str]:
    """What statements tell that add answers, take some away, replace some, or empty the table."""
    granted = " WHERE r.granted"
    alone = f"CASE WHEN o.purpose IS NULL THEN {_NOT_WIDE.format('n')} WHEN n.purpose IS NULL THEN o.granted"
    replaced = f" WHERE {alone} ELSE ({_TAKES_NOTHING}) IS NOT TRUE END"
    told = {
        "came": _TAKEN_OF.format(purpose="r.purpose", rows="new_rows AS r", where=f" WHERE {_NOT_WIDE.format('r')}"),
        "went": _TAKEN_OF.format(purpose="r.purpose", rows="old_rows AS r", where=granted),
        "replaced": _TAKEN_OF.format(purpose="coalesce(o.purpose, n.purpose)", rows=pairs, where=replaced),
        "truncated": _TAKEN_OF.format(purpose="r.purpose", rows="datagate.consents AS r", where=granted),
    }
    kept = {
        "came": blocks.KEEP_CHANGED.format(rows="new_rows AS r"),
        "went": blocks.KEEP_CHANGED.format(rows="old_rows AS r"),
        "replaced": blocks.KEEP_CHANGED.format(rows="(TABLE old_rows UNION ALL TABLE new_rows) AS r"),
        "truncated": blocks.FORGET_ALL,
    }
    return {event: f"{told[event]}\n        {kept[event]}" for event in told}


def _told_of_parties(table: str, pairs: str) -> dict[str, str]:
    """The same of entitlements and mandates: whose rights changed."""
    one = ", ".join(f"r.{party}" for party in _PARTIES[table])
    both = ", ".join(f"{row}.{party}" for row in "on" for party in _PARTIES[table])
    key = _PARTIES[table][0]
    quietly = f"o.{key} IS NOT NULL AND n.{key} IS NOT NULL AND ({_REPLACED_QUIETLY[table]})"
    replaced = f" WHERE p IS NOT NULL AND ({quietly}) IS NOT TRUE"
    return {
        "came": _GIVEN if table == "entitlements" else _ADVANCE_OF.format(rows="new_rows AS r", parties=one, where=""),
        "went": _ADVANCE_OF.format(rows="old_rows AS r", parties=one, where=""),
        "replaced": _ADVANCE_OF.format(rows=f"({pairs})", parties=both, where=replaced),
        "truncated": "PERFORM datagate.advance_epochs(ARRAY(SELECT party FROM datagate.epochs));",
    }


def _trigger(table: str, name: str, when: str, rows: str, function: str) -> str:
    return (
        f"CREATE OR REPLACE TRIGGER {name} {when} ON datagate.{table} {rows}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION datagate.{function}()"
    )
