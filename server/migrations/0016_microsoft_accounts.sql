-- The Microsoft account that a person signs in with: `oid@tid`, which no one else can have. Addresses can be reassigned.
ALTER TABLE users ADD COLUMN microsoft_subject TEXT;
-- Partial: PostgreSQL then takes no lock that foreign keys to users wait for.
CREATE UNIQUE INDEX users_microsoft_subject ON users (institution_id, microsoft_subject) WHERE microsoft_subject IS NOT NULL;
-- Those who connected their own mailbox have proven it.
UPDATE users SET microsoft_subject = (
    SELECT MIN(m.subject) FROM mailboxes m WHERE m.institution_id = users.institution_id AND m.user_id = users.id
      AND m.purpose = 'personal' AND LOWER(m.address) = users.address_key AND LOWER(m.sign_in_name) = users.address_key
      AND m.subject LIKE '%@' || m.tenant_id
      AND NOT EXISTS (SELECT 1 FROM mailboxes o WHERE o.institution_id = m.institution_id AND o.subject = m.subject AND o.user_id <> m.user_id));
