-- What a discovery counts, a chunk of many domains at a time. It counts when all accounts were seen.
CREATE TABLE gatekeeper_counted (
    pass       INTEGER NOT NULL, -- the number of the discovery
    first_name TEXT NOT NULL,    -- of the chunk
    last_name  TEXT NOT NULL,
    found      TEXT NOT NULL     -- as JSON, sorted: for each domain an array of name, accounts, verified_from and undated
) STRICT;
CREATE INDEX gatekeeper_counted_first_name ON gatekeeper_counted (first_name);

-- Half of what one that is under way counted was in the rows, so the next begins anew.
UPDATE gatekeeper_passes SET began_at = -1, ended_at = -1, lease = NULL WHERE kind = 'discovery' AND ended_at IS NULL;

-- In which discovery its addresses lost their verification; 0: in none.
ALTER TABLE gatekeeper_watched ADD COLUMN emptied_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gatekeeper_watched DROP COLUMN pass;
ALTER TABLE gatekeeper_watched DROP COLUMN first_pass;
ALTER TABLE gatekeeper_watched DROP COLUMN counted;
ALTER TABLE gatekeeper_watched DROP COLUMN counted_from;
ALTER TABLE gatekeeper_watched DROP COLUMN counted_undated;
