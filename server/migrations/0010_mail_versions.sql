-- Raised by each transaction that changes what a user sees of their mail: pages compare it to see whether they are current.
CREATE TABLE mail_versions (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    version BIGINT NOT NULL
);
