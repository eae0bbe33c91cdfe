-- When the links of a list were downloaded first: that is part of the invitation, and later downloads make new links.
ALTER TABLE invitation_lists ADD COLUMN links_at BIGINT;
