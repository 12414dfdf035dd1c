-- Who may pass a block, and until when. What is over stays for a year, for who asks later.
CREATE TABLE gatekeeper_exemptions (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,    -- domain or account
    name       TEXT NOT NULL,    -- the domain in A-labels, or the key of the account
    given_at   INTEGER NOT NULL,
    given_by   TEXT NOT NULL,
    reason     TEXT NOT NULL,
    ends_at    INTEGER NOT NULL,
    removed_at INTEGER,          -- NULL: it was not taken back
    removed_by TEXT
) STRICT;
CREATE INDEX gatekeeper_exemptions_name ON gatekeeper_exemptions (name);
