-- The folder that deleted messages go to, where the server does not say it: the person chose it.
ALTER TABLE mailboxes ADD COLUMN trash_folder TEXT;
-- Why one folder cannot be opened. The others go on.
ALTER TABLE folders ADD COLUMN problem TEXT;
-- Headers are a cache: those that were read before every charset was known are read again.
DELETE FROM headers;
UPDATE folders SET validity = 0, synced_at = NULL;
-- One row that is written again and again, to prove that the database takes writes.
CREATE TABLE probes (id TEXT PRIMARY KEY, probed_at BIGINT NOT NULL);
-- After a new password link that an administrator made: Microsoft accounts (tenant and object id), one a line, of which one must sign
-- in before mail is shown again. Who makes a link for somebody else gets their account by it, and must not get their mail.
ALTER TABLE users ADD COLUMN mail_lock TEXT;
