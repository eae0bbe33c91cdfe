-- Since when Microsoft says that the account of a person is disabled or gone. An administrator confirms it, or says that they stay.
ALTER TABLE users ADD COLUMN left_at BIGINT;
ALTER TABLE users ADD COLUMN stayed_at BIGINT;
-- Those who signed in after an old refusal have not left: until the end of that day.
UPDATE users SET stayed_at = last_sign_in_at + 86400000 WHERE last_sign_in_at IS NOT NULL;
