-- Times are microseconds since 1970.
CREATE TABLE unverifications (
    account       TEXT NOT NULL,
    email         TEXT NOT NULL, -- in ASCII lower case
    unverified_at INTEGER,       -- NULL: verified again since
    reason        TEXT,
    verified_at   INTEGER,       -- when it was verified again
    PRIMARY KEY (account, email)
) STRICT, WITHOUT ROWID;
