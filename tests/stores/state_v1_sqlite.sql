-- The state of version 1, as datagate of that version made it; never to be changed.
BEGIN TRANSACTION;
CREATE TABLE consents (
	data_subject TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	granted BOOLEAN NOT NULL, 
	valid_from DATETIME NOT NULL, 
	valid_until DATETIME, 
	PRIMARY KEY (data_subject, purpose), 
	CHECK (valid_until IS NULL OR valid_until > valid_from)
);
INSERT INTO "consents" VALUES('1','analytics',1,'2026-01-01 00:00:00.000000','2027-01-01 00:00:00.000000');
INSERT INTO "consents" VALUES('ab','analytics',1,'2026-01-01 00:00:00.000000','2027-01-01 00:00:00.000000');
INSERT INTO "consents" VALUES('1','marketing',0,'2026-01-01 00:00:00.000000',NULL);
CREATE TABLE entitlements (
	principal TEXT NOT NULL, 
	kind VARCHAR(9) NOT NULL, 
	name TEXT NOT NULL, 
	value TEXT, 
	valid_from DATETIME NOT NULL, 
	valid_until DATETIME, 
	PRIMARY KEY (principal, kind, name), 
	CHECK (valid_until IS NULL OR valid_until > valid_from), 
	CHECK ((kind = 'role' AND value IS NULL) OR (kind = 'attribute' AND value IS NOT NULL)), 
	CHECK (principal <> '' AND name <> '')
);
INSERT INTO "entitlements" VALUES('ann','role','analyst',NULL,'2026-01-01 00:00:00.000000',NULL);
INSERT INTO "entitlements" VALUES('ann','attribute','regions','["EU", "US"]','2026-01-01 00:00:00.000000','2027-01-01 00:00:00.000000');
INSERT INTO "entitlements" VALUES('cora','attribute','customer_id','7','2026-01-01 00:00:00.000000',NULL);
CREATE TABLE epochs (
	party TEXT NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (party)
);
INSERT INTO "epochs" VALUES('ann',1795595592023004);
INSERT INTO "epochs" VALUES('cora',1795595592102989);
INSERT INTO "epochs" VALUES('tom',1795595592064002);
INSERT INTO "epochs" VALUES('eve',1795595592102989);
CREATE TABLE mandates (
	mandate_id TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	purposes TEXT NOT NULL, 
	valid_from DATETIME NOT NULL, 
	valid_until DATETIME, 
	revoked_at DATETIME, 
	parent TEXT, 
	sub_delegable INTEGER NOT NULL, 
	PRIMARY KEY (mandate_id), 
	CHECK (valid_until IS NULL OR valid_until > valid_from), 
	CHECK (principal <> '' AND holder <> '' AND principal <> holder), 
	CHECK (sub_delegable >= 0), 
	FOREIGN KEY(parent) REFERENCES mandates (mandate_id)
);
INSERT INTO "mandates" VALUES('m1','cora','tom','tax-accountant','{"customer_id": 7}','["tax"]','2026-01-01 00:00:00.000000',NULL,NULL,NULL,1);
INSERT INTO "mandates" VALUES('m2','cora','eve','tax-accountant','{"customer_id": 7}','["tax"]','2026-01-01 00:00:00.000000',NULL,'2026-02-01 00:00:00.000000','m1',0);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE INDEX consents_by_purpose ON consents (purpose, data_subject);
CREATE INDEX ix_datagate_mandates_principal ON mandates (principal);
CREATE INDEX ix_datagate_mandates_holder ON mandates (holder);
CREATE INDEX ix_datagate_mandates_parent ON mandates (parent);
CREATE TRIGGER entitlements_insert AFTER INSERT ON entitlements BEGIN INSERT INTO epochs (party, value) VALUES (NEW.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); END;
CREATE TRIGGER entitlements_update AFTER UPDATE ON entitlements BEGIN INSERT INTO epochs (party, value) VALUES (OLD.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); INSERT INTO epochs (party, value) VALUES (NEW.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); END;
CREATE TRIGGER entitlements_delete AFTER DELETE ON entitlements BEGIN INSERT INTO epochs (party, value) VALUES (OLD.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); END;
CREATE TRIGGER mandates_insert AFTER INSERT ON mandates BEGIN INSERT INTO epochs (party, value) VALUES (NEW.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); INSERT INTO epochs (party, value) VALUES (NEW.holder, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); END;
CREATE TRIGGER mandates_update AFTER UPDATE ON mandates BEGIN INSERT INTO epochs (party, value) VALUES (OLD.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); INSERT INTO epochs (party, value) VALUES (OLD.holder, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); INSERT INTO epochs (party, value) VALUES (NEW.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); INSERT INTO epochs (party, value) VALUES (NEW.holder, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); END;
CREATE TRIGGER mandates_delete AFTER DELETE ON mandates BEGIN INSERT INTO epochs (party, value) VALUES (OLD.principal, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); INSERT INTO epochs (party, value) VALUES (OLD.holder, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value); END;
CREATE TRIGGER mandates_replace BEFORE INSERT ON mandates BEGIN UPDATE epochs SET value = max(value + 1, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) WHERE party IN (SELECT principal FROM mandates WHERE mandate_id = NEW.mandate_id); UPDATE epochs SET value = max(value + 1, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) WHERE party IN (SELECT holder FROM mandates WHERE mandate_id = NEW.mandate_id); END;
CREATE TRIGGER epochs_stay BEFORE DELETE ON epochs BEGIN SELECT RAISE(ABORT, 'epochs only grow: what was read under one must not seem current again'); END;
CREATE TRIGGER epochs_grow BEFORE UPDATE ON epochs WHEN NEW.value <= OLD.value OR NEW.party <> OLD.party BEGIN SELECT RAISE(ABORT, 'epochs only grow: what was read under one must not seem current again'); END;
COMMIT;
