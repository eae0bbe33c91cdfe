-- What became of an institution's messages in each hour (hours since 1970), counted as it happens.
CREATE TABLE mail_hours (
    institution_id TEXT NOT NULL REFERENCES institutions (id),
    hour BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    recipients BIGINT NOT NULL,
    deferred BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    bounced BIGINT NOT NULL,
    PRIMARY KEY (institution_id, hour)
);
CREATE INDEX mail_hours_hour ON mail_hours (hour);
