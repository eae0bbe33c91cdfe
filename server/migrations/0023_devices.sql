-- Programs and devices that send through the relay.
CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    name TEXT NOT NULL,
    -- The user name is this, `@` and the slug of the institution; the mailbox's address works as well.
    login TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('device', 'program')),
    -- By address: a mailbox that is connected again is another row.
    mailbox TEXT NOT NULL,
    mailbox_key TEXT NOT NULL,
    sender_rule TEXT NOT NULL CHECK (sender_rule IN ('rewrite', 'refuse')),
    display_name TEXT NOT NULL,
    recipients TEXT NOT NULL CHECK (recipients IN ('own', 'listed', 'anywhere')),
    -- One on each line.
    recipient_list TEXT NOT NULL,
    messages_per_hour BIGINT NOT NULL,
    contact TEXT NOT NULL,
    networks TEXT NOT NULL,
    by_address BIGINT NOT NULL,
    ask_first BIGINT NOT NULL,
    expires_on TEXT,
    paused BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    last_used_from TEXT NOT NULL DEFAULT '',
    UNIQUE (institution_id, login)
);
CREATE INDEX devices_mailbox ON devices (mailbox_key);
CREATE INDEX devices_by_address ON devices (by_address) WHERE by_address = 1;
CREATE INDEX devices_last_used_from ON devices (last_used_from) WHERE last_used_from <> '';

-- Random, so a hash without salt suffices. Two are valid while one replaces the other.
CREATE TABLE device_passwords (
    id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES devices (id),
    sha256 TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX device_passwords_device ON device_passwords (device_id);

-- The certificate that the relay made for itself, and its sealed key; one row.
CREATE TABLE relay_certificates (
    id TEXT PRIMARY KEY,
    certificate TEXT NOT NULL,
    key_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What happened on connections: the event as JSON, without content, subjects, passwords or whole addresses of recipients.
CREATE TABLE relay_log (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    -- None: the connection belongs to no device.
    device_id TEXT,
    at BIGINT NOT NULL,
    address TEXT NOT NULL,
    event TEXT NOT NULL
);
CREATE INDEX relay_log_device ON relay_log (institution_id, device_id, at);
CREATE INDEX relay_log_at ON relay_log (at);

-- Answers to messages that the client may not have received: it may send the message again.
CREATE TABLE relay_receipts (
    fingerprint TEXT PRIMARY KEY,
    delivery_id TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX relay_receipts_at ON relay_receipts (at);

-- Failures that a device's contact was told of: one notice for each cause and day.
CREATE TABLE device_notices (
    device_id TEXT NOT NULL REFERENCES devices (id),
    cause TEXT NOT NULL,
    day BIGINT NOT NULL,
    PRIMARY KEY (device_id, cause, day)
);

ALTER TABLE deliveries ADD COLUMN device_id TEXT;
-- A failure of a device's message that its contact was told of, or need not be.
ALTER TABLE deliveries ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
-- People (0) go before devices (1).
ALTER TABLE deliveries ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
DROP INDEX deliveries_waiting;
CREATE INDEX deliveries_waiting ON deliveries (send_queue_id, priority, created_at, id, next_attempt_at) WHERE state IN ('queued', 'deferred');
-- Again: of two indexes that fit, PostgreSQL takes the newer one.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (send_queue_id, next_attempt_at) WHERE state IN ('queued', 'deferred');
CREATE INDEX deliveries_device ON deliveries (institution_id, device_id, created_at) WHERE device_id IS NOT NULL;
CREATE INDEX deliveries_device_failed ON deliveries (finished_at) WHERE device_id IS NOT NULL AND told = 0 AND state IN ('failed', 'bounced', 'unknown');
CREATE INDEX deliveries_device_kept ON deliveries (finished_at) WHERE device_id IS NOT NULL AND body_sealed <> '';
