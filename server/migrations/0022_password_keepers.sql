-- An administrator whose password works where everyone else signs in with Microsoft. If there is none, all administrators' do.
ALTER TABLE users ADD COLUMN keeps_password BIGINT NOT NULL DEFAULT 0;
