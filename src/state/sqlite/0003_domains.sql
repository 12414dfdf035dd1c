-- The file may be the application's own: no table of its has such a name.
ALTER TABLE unverifications RENAME TO gatekeeper_unverifications;
ALTER TABLE audit_heads RENAME TO gatekeeper_audit_heads;

-- What was last said of each domain, and what was seen of it over time.
CREATE TABLE gatekeeper_domains (
    name       TEXT PRIMARY KEY, -- in A-labels
    checked_at INTEGER NOT NULL, -- when `report` was made
    expires_at INTEGER,          -- the end of the registration by `report`; NULL: not known
    standing   TEXT NOT NULL,    -- by `report`, when it was made
    report     TEXT NOT NULL,    -- JSON
    history    TEXT NOT NULL     -- JSON
) STRICT, WITHOUT ROWID;
