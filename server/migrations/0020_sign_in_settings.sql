-- Who may sign in with a password, and which people of the tenant get an account when they sign in with Microsoft.
CREATE TABLE sign_in_settings (
    institution_id TEXT PRIMARY KEY REFERENCES institutions (id),
    passwords TEXT NOT NULL CHECK (passwords IN ('everyone', 'administrators')),
    newcomers TEXT NOT NULL CHECK (newcomers IN ('refused', 'assigned', 'domains')),
    -- One per line.
    domains TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- The start of the day on which the password last worked, in UTC.
ALTER TABLE users ADD COLUMN password_used_at BIGINT;
