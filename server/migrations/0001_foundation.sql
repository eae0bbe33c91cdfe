-- One text for SQLite and PostgreSQL: TEXT, BIGINT (times are Unix milliseconds, truth values 0/1), no other types.
-- Ids are UUIDs made before INSERT, because sealed values are bound to them.

CREATE TABLE vault_checks (
    key_id TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE institutions (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    address TEXT NOT NULL,
    address_key TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('administrator', 'user')),
    password_hash TEXT,
    disabled_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (institution_id, address_key)
);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    token_sha256 TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX invitations_user ON invitations (user_id);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    token_sha256 TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- What a plain form says after its redirect: errors and what was typed, never a secret.
CREATE TABLE flashes (
    token_sha256 TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT,
    body TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX flashes_expiry ON flashes (expires_at);

-- Failed sign-ins in a window, per account and per network address.
CREATE TABLE sign_in_failures (
    subject TEXT PRIMARY KEY,
    window_started_at BIGINT NOT NULL,
    failures BIGINT NOT NULL
);

CREATE TABLE email_settings (
    institution_id TEXT PRIMARY KEY REFERENCES institutions (id),
    provider TEXT NOT NULL CHECK (provider IN ('system_default', 'exchange_online')),
    custom_from BIGINT NOT NULL DEFAULT 0,
    custom_from_address TEXT NOT NULL DEFAULT '',
    notification_mailbox_id TEXT,
    notification_problem TEXT,
    allow_other_address BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL
);

-- The institution's app in Entra ID. 'current' is in use; 'waiting' stands beside a verified one until Microsoft accepts it.
CREATE TABLE app_registrations (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    slot TEXT NOT NULL CHECK (slot IN ('current', 'waiting')),
    client_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    secret_sealed TEXT NOT NULL,
    secret_stored_at BIGINT NOT NULL,
    secret_expires_on TEXT,
    authorize_origin TEXT,
    verified_at BIGINT,
    updated_at BIGINT NOT NULL,
    UNIQUE (institution_id, slot)
);

CREATE TABLE guide_steps (
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    step TEXT NOT NULL,
    done BIGINT NOT NULL,
    proven BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (institution_id, step)
);

CREATE TABLE mailboxes (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    purpose TEXT NOT NULL CHECK (purpose IN ('personal', 'notifications')),
    address TEXT NOT NULL,
    address_key TEXT NOT NULL,
    sign_in_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    client_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('connected', 'blocked', 'needs_reconnect')),
    refresh_token_sealed TEXT NOT NULL,
    grant_version BIGINT NOT NULL,
    problem TEXT,
    next_test_at BIGINT,
    connected_at BIGINT,
    updated_at BIGINT NOT NULL,
    UNIQUE (institution_id, address_key, purpose)
);
CREATE INDEX mailboxes_user ON mailboxes (user_id);
CREATE INDEX mailboxes_next_test ON mailboxes (next_test_at);

-- One run of Configure & Test, from the click to the last check. Kept: people list them.
CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL CHECK (kind IN ('personal', 'notifications', 'pair', 'consent')),
    stage TEXT NOT NULL CHECK (stage IN ('signing_in', 'deciding', 'ready', 'running', 'finished')),
    address TEXT NOT NULL,
    prove_address BIGINT NOT NULL DEFAULT 0,
    automatic BIGINT NOT NULL DEFAULT 0,
    client_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    state_sha256 TEXT UNIQUE,
    browser_sha256 TEXT,
    verifier_sealed TEXT,
    nonce_sealed TEXT,
    grant_sealed TEXT,
    grant_expires_at BIGINT,
    sign_in_name TEXT NOT NULL DEFAULT '',
    subject TEXT NOT NULL DEFAULT '',
    mailbox_id TEXT,
    outcome TEXT NOT NULL DEFAULT 'pending' CHECK (outcome IN ('pending', 'passed', 'not_seen', 'failed', 'abandoned')),
    message_id TEXT,
    created_at BIGINT NOT NULL,
    callback_expires_at BIGINT NOT NULL,
    lease_until BIGINT,
    finished_at BIGINT
);
CREATE INDEX attempts_user ON attempts (institution_id, user_id, kind, created_at);

CREATE TABLE checks (
    attempt_id TEXT NOT NULL REFERENCES attempts (id),
    position BIGINT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    duration_ms BIGINT,
    fault TEXT,
    PRIMARY KEY (attempt_id, position)
);
