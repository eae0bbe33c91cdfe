-- What a user, or an institution, has waiting: their quotas are checked with each message.
CREATE INDEX deliveries_queued ON deliveries (institution_id, user_id) WHERE state IN ('queued', 'sending', 'deferred');
