-- How many accounts were un-verified since `recent_from`, a day at most. Only the passes of un-verification have it.
ALTER TABLE gatekeeper_passes ADD COLUMN recent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gatekeeper_passes ADD COLUMN recent_from INTEGER NOT NULL DEFAULT 0;
