-- The last record of each audit log.
CREATE TABLE audit_heads (
    file TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
