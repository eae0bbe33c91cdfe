-- Messages to be sent, and their fate. What is written here leaves by itself, or says why not.

-- Whose turn it is: a mailbox, or an institution's notifications. Locked while a delivery is claimed.
CREATE TABLE lanes (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    mailbox_id TEXT,
    served_at BIGINT NOT NULL DEFAULT 0,
    paused_until BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    -- Who wrote it; nobody wrote a notification.
    user_id TEXT REFERENCES users (id),
    lane_id TEXT NOT NULL REFERENCES lanes (id),
    idempotency_key TEXT NOT NULL,
    message_id TEXT NOT NULL UNIQUE,
    from_address TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- The message, sealed: it may hold an invitation link, and is nobody else's business. Empty once it is sent.
    body_sealed TEXT NOT NULL,
    recipient_count BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'deferred', 'failed', 'bounced', 'unknown', 'cancelled')),
    attempts BIGINT NOT NULL DEFAULT 0,
    next_attempt_at BIGINT NOT NULL,
    -- A sending one is its owner's until the lease ends; after that somebody else decides what became of it.
    lease_owner TEXT,
    lease_until BIGINT,
    -- Set before the first octet of the message leaves: from then on a broken connection proves nothing.
    data_started BIGINT NOT NULL DEFAULT 0,
    started_at BIGINT,
    answer TEXT NOT NULL DEFAULT '',
    fault TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (lane_id, idempotency_key)
);
CREATE INDEX deliveries_lane ON deliveries (lane_id, state, next_attempt_at);
CREATE INDEX deliveries_started ON deliveries (lane_id, started_at);
CREATE INDEX deliveries_lease ON deliveries (state, lease_until);
CREATE INDEX deliveries_user ON deliveries (institution_id, user_id, created_at);

CREATE TABLE recipients (
    delivery_id TEXT NOT NULL REFERENCES deliveries (id),
    position BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('to', 'cc', 'bcc')),
    address TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'accepted', 'refused')),
    answer TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (delivery_id, position)
);
