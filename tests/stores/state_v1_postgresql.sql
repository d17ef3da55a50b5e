-- The state of version 1, as datagate of that version made it; never to be changed.
SET check_function_bodies = off;
CREATE SCHEMA datagate;
CREATE FUNCTION datagate.advance_epochs(parties text[]) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    INSERT INTO datagate.epochs AS e (party, value)
    SELECT p, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM (SELECT DISTINCT p FROM unnest(parties) AS p) AS concerned
    ORDER BY p  -- two writers meet the same rows in the same order
    ON CONFLICT (party) DO UPDATE SET value = greatest(e.value + 1, excluded.value)
$$;
CREATE FUNCTION datagate.entitlements_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM datagate.advance_epochs(ARRAY(SELECT party FROM datagate.epochs));
    ELSE
        IF TG_OP <> 'DELETE' THEN
            PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM new_rows, unnest(ARRAY[principal]) AS p));
        END IF;
        IF TG_OP <> 'INSERT' THEN
            PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM old_rows, unnest(ARRAY[principal]) AS p));
        END IF;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION datagate.epochs_grow() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'epochs only grow: what was read under one must not seem current again';
END
$$;
CREATE FUNCTION datagate.mandates_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM datagate.advance_epochs(ARRAY(SELECT party FROM datagate.epochs));
    ELSE
        IF TG_OP <> 'DELETE' THEN
            PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM new_rows, unnest(ARRAY[principal, holder]) AS p));
        END IF;
        IF TG_OP <> 'INSERT' THEN
            PERFORM datagate.advance_epochs(ARRAY(SELECT p FROM old_rows, unnest(ARRAY[principal, holder]) AS p));
        END IF;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION datagate.still_current(parties text[], value bigint, valid_until timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
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
    RAISE EXCEPTION 'the rights of this caller changed' USING ERRCODE = 'DG001';
END
$$;
CREATE TABLE datagate.consents (
    data_subject text NOT NULL,
    purpose text NOT NULL,
    granted boolean NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    data_subject_number bigint GENERATED ALWAYS AS (
CASE
    WHEN (data_subject ~ '^(0|-?[1-9][0-9]{0,18})$'::text) THEN
    CASE
        WHEN (((data_subject)::numeric >= ('-9223372036854775808'::bigint)::numeric) AND ((data_subject)::numeric <= ('9223372036854775807'::bigint)::numeric)) THEN (data_subject)::bigint
        ELSE NULL::bigint
    END
    ELSE NULL::bigint
END) STORED,
    CONSTRAINT consents_check CHECK (((valid_until IS NULL) OR (valid_until > valid_from))),
    CONSTRAINT consents_check1 CHECK ((((valid_from >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (valid_from <= '9999-12-30 00:00:00+00'::timestamp with time zone)) AND ((valid_until IS NULL) OR ((valid_until >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (valid_until <= '9999-12-30 00:00:00+00'::timestamp with time zone)))))
);
CREATE TABLE datagate.entitlements (
    principal text NOT NULL,
    kind character varying(9) NOT NULL,
    name text NOT NULL,
    value text,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    CONSTRAINT entitlements_check CHECK (((valid_until IS NULL) OR (valid_until > valid_from))),
    CONSTRAINT entitlements_check1 CHECK ((((valid_from >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (valid_from <= '9999-12-30 00:00:00+00'::timestamp with time zone)) AND ((valid_until IS NULL) OR ((valid_until >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (valid_until <= '9999-12-30 00:00:00+00'::timestamp with time zone))))),
    CONSTRAINT entitlements_check2 CHECK (((((kind)::text = 'role'::text) AND (value IS NULL)) OR (((kind)::text = 'attribute'::text) AND (value IS NOT NULL)))),
    CONSTRAINT entitlements_check3 CHECK (((principal <> ''::text) AND (name <> ''::text))),
    CONSTRAINT entitlements_value_check CHECK (((value IS NULL) OR ((value)::json IS NOT NULL)))
);
COMMENT ON COLUMN datagate.entitlements.value IS 'JSON, for attributes only';
CREATE TABLE datagate.epochs (
    party text NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE datagate.mandates (
    mandate_id text NOT NULL,
    principal text NOT NULL,
    holder text NOT NULL,
    scope text NOT NULL,
    parameters text NOT NULL,
    purposes text NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    revoked_at timestamp with time zone,
    parent text,
    sub_delegable integer NOT NULL,
    CONSTRAINT mandates_check CHECK (((valid_until IS NULL) OR (valid_until > valid_from))),
    CONSTRAINT mandates_check1 CHECK ((((valid_from >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (valid_from <= '9999-12-30 00:00:00+00'::timestamp with time zone)) AND ((valid_until IS NULL) OR ((valid_until >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (valid_until <= '9999-12-30 00:00:00+00'::timestamp with time zone))))),
    CONSTRAINT mandates_check2 CHECK (((principal <> ''::text) AND (holder <> ''::text) AND (principal <> holder))),
    CONSTRAINT mandates_check3 CHECK ((((parameters)::json IS NOT NULL) AND ((purposes)::json IS NOT NULL))),
    CONSTRAINT mandates_revoked_at_check CHECK (((revoked_at >= '0001-01-02 00:00:00+00'::timestamp with time zone) AND (revoked_at <= '9999-12-30 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT mandates_sub_delegable_check CHECK ((sub_delegable >= 0))
);
COMMENT ON COLUMN datagate.mandates.parameters IS 'JSON object';
COMMENT ON COLUMN datagate.mandates.purposes IS 'JSON array of purposes';
CREATE TABLE datagate.schema_version (
    version integer NOT NULL
);
INSERT INTO datagate.consents VALUES ('1', 'analytics', true, '2026-01-01 00:00:00+00', '2027-01-01 00:00:00+00', DEFAULT);
INSERT INTO datagate.consents VALUES ('ab', 'analytics', true, '2026-01-01 00:00:00+00', '2027-01-01 00:00:00+00', DEFAULT);
INSERT INTO datagate.consents VALUES ('1', 'marketing', false, '2026-01-01 00:00:00+00', NULL, DEFAULT);
INSERT INTO datagate.entitlements VALUES ('ann', 'role', 'analyst', NULL, '2026-01-01 00:00:00+00', NULL);
INSERT INTO datagate.entitlements VALUES ('ann', 'attribute', 'regions', '["EU", "US"]', '2026-01-01 00:00:00+00', '2027-01-01 00:00:00+00');
INSERT INTO datagate.entitlements VALUES ('cora', 'attribute', 'customer_id', '7', '2026-01-01 00:00:00+00', NULL);
INSERT INTO datagate.epochs VALUES ('ann', 1795595591703939);
INSERT INTO datagate.epochs VALUES ('tom', 1795595591710622);
INSERT INTO datagate.epochs VALUES ('cora', 1795595591718377);
INSERT INTO datagate.epochs VALUES ('eve', 1795595591718407);
INSERT INTO datagate.mandates VALUES ('m1', 'cora', 'tom', 'tax-accountant', '{"customer_id": 7}', '["tax"]', '2026-01-01 00:00:00+00', NULL, NULL, NULL, 1);
INSERT INTO datagate.mandates VALUES ('m2', 'cora', 'eve', 'tax-accountant', '{"customer_id": 7}', '["tax"]', '2026-01-01 00:00:00+00', NULL, '2026-02-01 00:00:00+00', 'm1', 0);
INSERT INTO datagate.schema_version VALUES (1);
ALTER TABLE ONLY datagate.consents
    ADD CONSTRAINT consents_pkey PRIMARY KEY (data_subject, purpose);
ALTER TABLE ONLY datagate.entitlements
    ADD CONSTRAINT entitlements_pkey PRIMARY KEY (principal, kind, name);
ALTER TABLE ONLY datagate.epochs
    ADD CONSTRAINT epochs_pkey PRIMARY KEY (party);
ALTER TABLE ONLY datagate.mandates
    ADD CONSTRAINT mandates_pkey PRIMARY KEY (mandate_id);
ALTER TABLE ONLY datagate.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
CREATE INDEX consents_by_number ON datagate.consents USING btree (purpose, data_subject_number) INCLUDE (granted, valid_from, valid_until);
CREATE INDEX consents_by_purpose ON datagate.consents USING btree (purpose, data_subject) INCLUDE (granted, valid_from, valid_until);
CREATE INDEX ix_datagate_mandates_holder ON datagate.mandates USING btree (holder);
CREATE INDEX ix_datagate_mandates_parent ON datagate.mandates USING btree (parent);
CREATE INDEX ix_datagate_mandates_principal ON datagate.mandates USING btree (principal);
CREATE TRIGGER entitlements_delete AFTER DELETE ON datagate.entitlements REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION datagate.entitlements_changed();
ALTER TABLE datagate.entitlements ENABLE ALWAYS TRIGGER entitlements_delete;
CREATE TRIGGER entitlements_insert AFTER INSERT ON datagate.entitlements REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION datagate.entitlements_changed();
ALTER TABLE datagate.entitlements ENABLE ALWAYS TRIGGER entitlements_insert;
CREATE TRIGGER entitlements_truncate AFTER TRUNCATE ON datagate.entitlements FOR EACH STATEMENT EXECUTE FUNCTION datagate.entitlements_changed();
ALTER TABLE datagate.entitlements ENABLE ALWAYS TRIGGER entitlements_truncate;
CREATE TRIGGER entitlements_update AFTER UPDATE ON datagate.entitlements REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION datagate.entitlements_changed();
ALTER TABLE datagate.entitlements ENABLE ALWAYS TRIGGER entitlements_update;
CREATE TRIGGER epochs_grow BEFORE UPDATE ON datagate.epochs FOR EACH ROW WHEN (((new.value <= old.value) OR (new.party <> old.party))) EXECUTE FUNCTION datagate.epochs_grow();
ALTER TABLE datagate.epochs ENABLE ALWAYS TRIGGER epochs_grow;
CREATE TRIGGER epochs_stay BEFORE DELETE OR TRUNCATE ON datagate.epochs FOR EACH STATEMENT EXECUTE FUNCTION datagate.epochs_grow();
ALTER TABLE datagate.epochs ENABLE ALWAYS TRIGGER epochs_stay;
CREATE TRIGGER mandates_delete AFTER DELETE ON datagate.mandates REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION datagate.mandates_changed();
ALTER TABLE datagate.mandates ENABLE ALWAYS TRIGGER mandates_delete;
CREATE TRIGGER mandates_insert AFTER INSERT ON datagate.mandates REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION datagate.mandates_changed();
ALTER TABLE datagate.mandates ENABLE ALWAYS TRIGGER mandates_insert;
CREATE TRIGGER mandates_truncate AFTER TRUNCATE ON datagate.mandates FOR EACH STATEMENT EXECUTE FUNCTION datagate.mandates_changed();
ALTER TABLE datagate.mandates ENABLE ALWAYS TRIGGER mandates_truncate;
CREATE TRIGGER mandates_update AFTER UPDATE ON datagate.mandates REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION datagate.mandates_changed();
ALTER TABLE datagate.mandates ENABLE ALWAYS TRIGGER mandates_update;
ALTER TABLE ONLY datagate.mandates
    ADD CONSTRAINT mandates_parent_fkey FOREIGN KEY (parent) REFERENCES datagate.mandates(mandate_id);
