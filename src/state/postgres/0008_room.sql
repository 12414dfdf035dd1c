-- Each discovery changes all rows. One that finds room on its page needs no new entry in any index.
ALTER TABLE gatekeeper_watched SET (fillfactor = 60);
