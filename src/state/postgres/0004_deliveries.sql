-- How far audit logs were delivered.
CREATE TABLE gatekeeper_deliveries (
    file    TEXT NOT NULL, -- as in gatekeeper_audit_heads
    webhook TEXT NOT NULL, -- the SHA-256 of its URL
    seq     BIGINT NOT NULL,
    hash    TEXT NOT NULL,
    PRIMARY KEY (file, webhook)
);
