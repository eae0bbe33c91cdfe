-- Since when Microsoft says that the account of a person is disabled or gone. An administrator confirms it, or says that they stay.
ALTER TABLE users ADD COLUMN left_at BIGINT;
ALTER TABLE users ADD COLUMN stayed_at BIGINT;
