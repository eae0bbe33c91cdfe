-- Programs that people add for their own mailboxes, where the institution allows it.
ALTER TABLE email_settings ADD COLUMN own_programs BIGINT NOT NULL DEFAULT 0;
-- Whose program it is; none: the institution's.
ALTER TABLE devices ADD COLUMN owner_id TEXT REFERENCES users (id);
CREATE INDEX devices_owner ON devices (owner_id) WHERE owner_id IS NOT NULL;
