-- An index takes longer than a statement otherwise may where it has millions of rows.
SET LOCAL statement_timeout = 0;

-- What a discovery counts, a chunk of many domains at a time. It counts when all accounts were seen.
CREATE TABLE gatekeeper_counted (
    pass          BIGINT NOT NULL,           -- the number of the discovery
    first_name    TEXT COLLATE "C" NOT NULL, -- of the chunk
    last_name     TEXT COLLATE "C" NOT NULL,
    names         TEXT[] COLLATE "C" NOT NULL, -- sorted; with what was counted of each
    accounts      BIGINT[] NOT NULL,
    verified_from BIGINT[] NOT NULL,
    undated       BIGINT[] NOT NULL
);
CREATE INDEX gatekeeper_counted_first_name ON gatekeeper_counted (first_name);
-- To compress what is soon read and thrown away costs more than it saves.
ALTER TABLE gatekeeper_counted ALTER COLUMN names SET STORAGE EXTERNAL, ALTER COLUMN accounts SET STORAGE EXTERNAL,
    ALTER COLUMN verified_from SET STORAGE EXTERNAL, ALTER COLUMN undated SET STORAGE EXTERNAL;

-- Half of what one that is under way counted was in the rows, so the next begins anew.
UPDATE gatekeeper_passes SET began_at = -1, ended_at = -1, lease = NULL WHERE kind = 'discovery' AND ended_at IS NULL;

-- In which discovery its addresses lost their verification; 0: in none.
ALTER TABLE gatekeeper_watched ADD COLUMN emptied_in BIGINT NOT NULL DEFAULT 0;
ALTER TABLE gatekeeper_watched DROP COLUMN pass, DROP COLUMN first_pass, DROP COLUMN counted, DROP COLUMN counted_from, DROP COLUMN counted_undated;
-- No discovery writes all rows any more.
ALTER TABLE gatekeeper_watched RESET (fillfactor);

-- Names are in the order of their bytes wherever they are sorted, whatever the database's own order is.
ALTER TABLE gatekeeper_watched ALTER COLUMN name TYPE TEXT COLLATE "C";
ALTER TABLE gatekeeper_domains ALTER COLUMN name TYPE TEXT COLLATE "C";
