-- One refresh at a time, among replicas too: whoever holds the lease asks, the others wait for its result.
ALTER TABLE mailboxes ADD COLUMN refresh_lease_owner TEXT;
ALTER TABLE mailboxes ADD COLUMN refresh_lease_until BIGINT NOT NULL DEFAULT 0;
-- When a mailbox that nobody looks at is looked into next.
ALTER TABLE mailboxes ADD COLUMN next_poll_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX mailboxes_next_poll ON mailboxes (next_poll_at);

-- What was last seen of a mailbox. A cache: it can be emptied at any time, and is when another account is connected.
CREATE TABLE folders (
    mailbox_id TEXT NOT NULL REFERENCES mailboxes (id),
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    name TEXT NOT NULL,
    position BIGINT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('inbox', 'sent', 'drafts', 'junk', 'trash', 'archive', 'other')),
    -- UIDVALIDITY; another one means that every UID is another message.
    validity BIGINT NOT NULL DEFAULT 0,
    total BIGINT NOT NULL DEFAULT 0,
    synced_at BIGINT,
    PRIMARY KEY (mailbox_id, name)
);

CREATE TABLE headers (
    mailbox_id TEXT NOT NULL REFERENCES mailboxes (id),
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    folder TEXT NOT NULL,
    uid BIGINT NOT NULL,
    from_name TEXT NOT NULL,
    from_address TEXT NOT NULL,
    recipients TEXT NOT NULL,
    subject TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    size BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    flagged BIGINT NOT NULL,
    answered BIGINT NOT NULL,
    attachments BIGINT NOT NULL,
    PRIMARY KEY (mailbox_id, folder, uid)
);

-- What a person writes and has not sent yet, sealed.
CREATE TABLE drafts (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    body_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX drafts_user ON drafts (institution_id, user_id, updated_at);

CREATE TABLE attachments (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    draft_id TEXT NOT NULL REFERENCES drafts (id),
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    content_sealed TEXT NOT NULL
);
CREATE INDEX attachments_draft ON attachments (draft_id, position);

-- Sign-ins leave by a page that forwards: no policy of ours has to name where they lead.
ALTER TABLE app_registrations DROP COLUMN authorize_origin;

-- What Microsoft last said against the registration itself: nobody of the institution gets a token. One incident, however many
-- mailboxes meet it.
ALTER TABLE app_registrations ADD COLUMN problem TEXT;

-- From when a message's age counts: while it could not leave through no fault of its own, it does not grow old.
ALTER TABLE deliveries ADD COLUMN aging_since BIGINT NOT NULL DEFAULT 0;
-- A form that is posted twice is one message, whichever mailbox it names.
CREATE UNIQUE INDEX deliveries_key ON deliveries (user_id, idempotency_key);
