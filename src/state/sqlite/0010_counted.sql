-- What a discovery counts, a chunk of many domains at a time. It counts when all accounts were seen.
CREATE TABLE gatekeeper_counted (
    pass       INTEGER NOT NULL, -- the number of the discovery
    first_name TEXT NOT NULL,    -- of the chunk
    last_name  TEXT NOT NULL,
    found      TEXT NOT NULL     -- as JSON, sorted: for each domain an array of name, accounts, verified_from and undated
) STRICT;

-- Half of what one that is under way counted was in the rows, so the next begins anew.
UPDATE gatekeeper_passes SET began_at = -1, ended_at = -1, lease = NULL WHERE kind = 'discovery' AND ended_at IS NULL;

ALTER TABLE gatekeeper_watched DROP COLUMN pass;
ALTER TABLE gatekeeper_watched DROP COLUMN first_pass;
ALTER TABLE gatekeeper_watched DROP COLUMN counted;
ALTER TABLE gatekeeper_watched DROP COLUMN counted_from;
ALTER TABLE gatekeeper_watched DROP COLUMN counted_undated;
