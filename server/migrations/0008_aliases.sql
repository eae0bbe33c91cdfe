-- Further addresses of a mailbox, as its owner named them: lower case, one a line. An answer to everybody leaves them out.
ALTER TABLE mailboxes ADD COLUMN aliases TEXT NOT NULL DEFAULT '';
