-- When a mailbox's grant was last renewed: one that nobody uses is renewed well inside the 90 days after which it would end.
ALTER TABLE mailboxes ADD COLUMN refreshed_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX mailboxes_refreshed ON mailboxes (refreshed_at);

-- What administrators were told of, so that each incident is one message.
CREATE TABLE alerts (
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    incident TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (institution_id, incident)
);
