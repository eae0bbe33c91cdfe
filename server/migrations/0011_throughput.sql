-- Waiting messages in the order of sending, and by the time they are due: each claim reads only what it takes.
CREATE INDEX deliveries_waiting ON deliveries (send_queue_id, created_at, id, next_attempt_at) WHERE state IN ('queued', 'deferred');
CREATE INDEX deliveries_due ON deliveries (send_queue_id, next_attempt_at) WHERE state IN ('queued', 'deferred');
DROP INDEX deliveries_send_queue;
DROP INDEX deliveries_lease;
CREATE INDEX deliveries_lease ON deliveries (institution_id, lease_owner, lease_until) WHERE state = 'sending';

-- Upper bounds of what a sender submitted within a minute and within a day. They are counted only when a bound reaches the limit,
-- so at the first claim.
ALTER TABLE senders ADD COLUMN minute_bound BIGINT NOT NULL DEFAULT 9000000000000000;
ALTER TABLE senders ADD COLUMN day_bound BIGINT NOT NULL DEFAULT 9000000000000000;
