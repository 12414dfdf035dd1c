-- The schema may be the application's own: no table of its has such a name. Times are microseconds since 1970.
CREATE TABLE gatekeeper_unverifications (
    account       TEXT NOT NULL,
    email         TEXT NOT NULL, -- in ASCII lower case
    unverified_at BIGINT,        -- NULL: verified again since
    reason        TEXT,
    verified_at   BIGINT,        -- when it was verified again
    PRIMARY KEY (account, email)
);

-- The last record of each audit log.
CREATE TABLE gatekeeper_audit_heads (
    file TEXT PRIMARY KEY, -- the machine's name, a colon and the path there
    seq  BIGINT NOT NULL,
    hash TEXT NOT NULL
);

-- What was last said of each domain, and what was seen of it over time.
CREATE TABLE gatekeeper_domains (
    name       TEXT PRIMARY KEY, -- in A-labels
    checked_at BIGINT NOT NULL,  -- when `report` was made
    expires_at BIGINT,           -- the end of the registration by `report`; NULL: not known
    standing   TEXT NOT NULL,    -- by `report`, when it was made
    report     TEXT NOT NULL,    -- JSON
    history    TEXT NOT NULL     -- JSON
);
