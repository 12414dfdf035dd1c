CREATE TABLE IF NOT EXISTS accounts (
    id                INTEGER PRIMARY KEY,
    email             TEXT NOT NULL,
    verified          BOOLEAN NOT NULL DEFAULT 0,
    verified_at       DATETIME,
    unverified_reason TEXT
);
CREATE INDEX IF NOT EXISTS accounts_by_email ON accounts (lower(email));
