-- The cause of a mailbox's problem, beside the problem itself, to group mailboxes by it; and since when it is the same.
ALTER TABLE mailboxes ADD COLUMN problem_cause TEXT;
ALTER TABLE mailboxes ADD COLUMN problem_since BIGINT;
CREATE INDEX mailboxes_cause ON mailboxes (institution_id, problem_cause);

ALTER TABLE users ADD COLUMN name TEXT NOT NULL DEFAULT '';
-- In small letters, for search and order.
ALTER TABLE users ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
CREATE INDEX users_name ON users (institution_id, name_key, address_key);
-- The start of the day of the last sign-in, in UTC: administrators need no more.
ALTER TABLE users ADD COLUMN last_sign_in_at BIGINT;
-- When a person was last reminded to connect a mailbox.
ALTER TABLE users ADD COLUMN reminded_at BIGINT;

-- A list of people to invite, as pasted. Nothing is sent before it is confirmed; then its rows are worked off, also after a restart.
CREATE TABLE invitation_lists (
    id TEXT PRIMARY KEY,
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT
);
CREATE INDEX invitation_lists_institution ON invitation_lists (institution_id, created_at);
CREATE INDEX invitation_lists_confirmed ON invitation_lists (confirmed_at);
CREATE TABLE invitation_list_rows (
    list_id TEXT NOT NULL REFERENCES invitation_lists (id),
    position BIGINT NOT NULL,
    -- The line as pasted, of rows that are no address.
    line TEXT NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('administrator', 'user')),
    state TEXT NOT NULL CHECK (state IN ('new', 'known', 'repeated', 'not_an_address', 'invited')),
    user_id TEXT REFERENCES users (id),
    PRIMARY KEY (list_id, position)
);
CREATE INDEX invitation_list_rows_state ON invitation_list_rows (list_id, state);
