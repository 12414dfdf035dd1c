-- The domains that accounts with a verified address hang on, and when each is to be looked at.
CREATE TABLE gatekeeper_watched (
    name            TEXT PRIMARY KEY, -- in A-labels
    accounts        INTEGER NOT NULL, -- how many have a verified address there; 0: it is left alone
    verified_from   INTEGER,          -- when the first of them was verified; NULL: of none it is known
    undated         INTEGER NOT NULL, -- of how many it is not known
    pass            INTEGER NOT NULL, -- the number of the discovery that last saw an account there
    first_pass      INTEGER NOT NULL, -- that of the one that saw the first
    counted         INTEGER NOT NULL, -- how many accounts `pass` has seen; with the next two, what counts once it has ended
    counted_from    INTEGER,
    counted_undated INTEGER NOT NULL,
    due_at          INTEGER NOT NULL, -- when to look next; of one that is leased, when the lease ends
    lease           TEXT,             -- who looks at it; NULL: nobody
    registry_at     INTEGER NOT NULL, -- when the registry is to be asked next, whatever the DNS says until then
    poll_after      INTEGER NOT NULL, -- how long after a look the DNS is to be asked where it leads
    polled_at       INTEGER,          -- when the DNS was last seen to lead where it did when the registry was asked
    operators       TEXT NOT NULL,    -- who serves it, as was seen then
    failures        INTEGER NOT NULL, -- how many looks failed in a row
    told            TEXT NOT NULL,    -- what was last recorded of it
    found           TEXT              -- the reason that takes the verification of its addresses away; NULL: none
) STRICT, WITHOUT ROWID;
CREATE INDEX gatekeeper_watched_due ON gatekeeper_watched (due_at) WHERE accounts > 0;
CREATE INDEX gatekeeper_watched_open ON gatekeeper_watched (due_at) WHERE lease IS NOT NULL OR failures > 0;
CREATE INDEX gatekeeper_watched_found ON gatekeeper_watched (name) WHERE found IS NOT NULL;

-- Passes through all accounts of the directory, one of each kind at a time.
CREATE TABLE gatekeeper_passes (
    kind         TEXT PRIMARY KEY, -- discovery or unverification
    number       INTEGER NOT NULL, -- how many of this kind there were, with this one
    began_at     INTEGER NOT NULL,
    ended_at     INTEGER,          -- NULL: it is under way, or was left where it is
    after        TEXT,             -- the key of the last account that is done; NULL: none is
    accounts     INTEGER NOT NULL, -- how many are done
    lease        TEXT,             -- who does it; NULL: nobody
    leased_until INTEGER NOT NULL  -- until when, if nothing is heard of him
) STRICT, WITHOUT ROWID;

-- When each server may be asked next.
CREATE TABLE gatekeeper_rations (
    server  TEXT PRIMARY KEY,
    next_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
