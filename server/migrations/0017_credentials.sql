-- Credentials other than a secret, which uses of them Microsoft has accepted, and the registration before until mail was renewed with
-- the new credential.
CREATE TABLE registrations_new (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    slot TEXT NOT NULL CHECK (slot IN ('current', 'waiting', 'previous')),
    client_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    credential TEXT NOT NULL CHECK (credential IN ('secret', 'certificate', 'federated')),
    -- Empty without a secret.
    secret_sealed TEXT NOT NULL,
    secret_stored_at BIGINT NOT NULL,
    -- Of the secret or of the certificate.
    secret_expires_on TEXT,
    -- Secret ID at Microsoft, if known.
    secret_id TEXT,
    -- Another one for each credential; of a certificate that of its key.
    credential_id TEXT,
    verified_at BIGINT,
    signed_in_at BIGINT,
    renewed_at BIGINT,
    -- JSON: the credential before, which nothing needs any more.
    superseded TEXT,
    problem TEXT,
    updated_at BIGINT NOT NULL,
    UNIQUE (institution_id, slot)
);
INSERT INTO registrations_new (id, institution_id, slot, client_id, tenant_id, credential, secret_sealed, secret_stored_at,
    secret_expires_on, verified_at, problem, updated_at)
  SELECT id, institution_id, slot, client_id, tenant_id, 'secret', secret_sealed, secret_stored_at, secret_expires_on, verified_at,
    problem, updated_at FROM app_registrations;
DROP TABLE app_registrations;
ALTER TABLE registrations_new RENAME TO app_registrations;

-- Private keys of certificates, and those by which Entrepost signs as an issuer.
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    purpose TEXT NOT NULL CHECK (purpose IN ('certificate', 'issuer')),
    key_sealed TEXT NOT NULL,
    -- The certificate (PEM), or the key as JWK.
    public_part TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- End of a certificate.
    expires_at BIGINT
);
CREATE INDEX signing_keys_of_institution ON signing_keys (institution_id, purpose, created_at);

-- Who is reminded besides administrators.
ALTER TABLE email_settings ADD COLUMN reminder_address TEXT NOT NULL DEFAULT '';
