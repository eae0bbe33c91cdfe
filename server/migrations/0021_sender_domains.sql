-- Domains that people send from, and what their DNS published when it was last looked up.
CREATE TABLE sender_domains (
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    domain TEXT NOT NULL,
    mailboxes BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    checked_at BIGINT,
    -- JSON.
    published TEXT,
    PRIMARY KEY (institution_id, domain)
);
CREATE INDEX sender_domains_due ON sender_domains (due_at);
