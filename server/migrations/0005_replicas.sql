-- What was handed to mail servers lately, each attempt by itself: how fast a sender may go is counted from here.
CREATE TABLE submissions (
    delivery_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    sender TEXT NOT NULL,
    -- None, as long as no octet of the message left: then nobody was addressed.
    recipients BIGINT NOT NULL,
    PRIMARY KEY (delivery_id, at)
);
CREATE INDEX submissions_sender ON submissions (sender, at);
CREATE INDEX submissions_at ON submissions (at);
-- Whom the mail server counts: a mailbox, whichever lanes lead to it. Locked while its submissions are counted.
CREATE TABLE senders (
    id TEXT PRIMARY KEY,
    counted_at BIGINT NOT NULL
);
-- Connections to submit through, each for as long as it is kept open.
CREATE TABLE connections (
    id TEXT PRIMARY KEY,
    sender TEXT NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX connections_sender ON connections (sender, until);
DROP INDEX deliveries_started;
CREATE INDEX deliveries_finished ON deliveries (finished_at);

-- The refusal that the token endpoint last gave for a mailbox, and until when nobody asks again: for every replica.
ALTER TABLE mailboxes ADD COLUMN refresh_refusal TEXT;

-- Who has the one IMAP connection of a mailbox. Nobody: the lease ended.
ALTER TABLE mailboxes ADD COLUMN line_owner TEXT;
ALTER TABLE mailboxes ADD COLUMN line_until BIGINT NOT NULL DEFAULT 0;

-- Why the mailbox could not be looked into lately, as JSON: what is listed is older than it seems.
ALTER TABLE mailboxes ADD COLUMN look_problem TEXT;

-- Which page wrote a draft last, and how often: what it sent earlier does not overwrite what it sent later.
ALTER TABLE drafts ADD COLUMN writer TEXT NOT NULL DEFAULT '';
ALTER TABLE drafts ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
-- Those that are there already were written by somebody: only what nobody wrote is forgotten by itself.
UPDATE drafts SET writer = 'before';
CREATE INDEX drafts_unwritten ON drafts (updated_at) WHERE writer = '';
ALTER TABLE deliveries DROP COLUMN recipient_count;
-- What the form said that queued a message, as a sealed digest: the same key with other words is no second press.
ALTER TABLE deliveries ADD COLUMN form_sealed TEXT NOT NULL DEFAULT '';
