-- Further addresses of a mailbox, as its owner named them: lower case, one a line. An answer to everybody leaves them out.
ALTER TABLE mailboxes ADD COLUMN aliases TEXT NOT NULL DEFAULT '';
-- Microsoft accounts (object and tenant id) that ever signed in to a mailbox of a person, one a line: after a new password link one of
-- them must sign in before mail is shown, also where an administrator disconnected the mailbox before.
ALTER TABLE users ADD COLUMN subjects TEXT NOT NULL DEFAULT '';
UPDATE users SET subjects = COALESCE((SELECT MIN(subject) FROM mailboxes WHERE mailboxes.user_id = users.id), '');
