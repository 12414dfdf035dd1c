-- Each discovery changes all rows: beside its row, a change needs no entry in any index.
ALTER TABLE gatekeeper_watched SET (fillfactor = 60);
