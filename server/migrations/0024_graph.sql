-- Sending through Microsoft Graph where SMTP is switched off.
ALTER TABLE email_settings ADD COLUMN graph TEXT NOT NULL DEFAULT 'off';
ALTER TABLE mailboxes ADD COLUMN sends_by TEXT NOT NULL DEFAULT 'smtp';
