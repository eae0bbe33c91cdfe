-- The Microsoft cloud of an app, by its name in the list of clouds; empty: the server's own. Grants and sign-ins belong to it.
ALTER TABLE app_registrations ADD COLUMN cloud TEXT NOT NULL DEFAULT '';
ALTER TABLE mailboxes ADD COLUMN cloud TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN cloud TEXT NOT NULL DEFAULT '';
