-- What happened in an institution, by whom, when and from where. Rows are only added; each contains the hash of the one before.
CREATE TABLE audit_entries (
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor_id TEXT,
    actor TEXT NOT NULL,
    origin TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (institution_id, number)
);
CREATE INDEX audit_entries_action ON audit_entries (institution_id, action, number);
CREATE INDEX audit_entries_at ON audit_entries (institution_id, at);

-- Both ends of each chain, sealed: who can write to the database alone cannot write the log anew. An older copy of a whole log with its
-- ends can be put back: compare the last number and hash with those noted elsewhere (`audit verify` prints them).
CREATE TABLE audit_ends (
    id TEXT PRIMARY KEY REFERENCES institutions (id),
    sealed TEXT NOT NULL
);
