-- The folder that deleted messages go to, where the server does not say it: the person chose it.
ALTER TABLE mailboxes ADD COLUMN trash_folder TEXT;
-- Why one folder cannot be opened. The others go on.
ALTER TABLE folders ADD COLUMN problem TEXT;
-- Headers are a cache: those that were read before every charset was known are read again.
DELETE FROM headers;
UPDATE folders SET validity = 0, synced_at = NULL;
