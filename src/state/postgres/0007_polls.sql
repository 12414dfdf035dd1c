-- How long after a look the DNS is to be asked follows from what is known of the domain.
ALTER TABLE gatekeeper_watched DROP COLUMN poll_after;
