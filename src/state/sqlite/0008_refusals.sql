-- Since when a webhook refuses records that come after its position. NULL: it refused none.
ALTER TABLE gatekeeper_deliveries ADD COLUMN refused_at INTEGER;
