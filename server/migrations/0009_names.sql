-- Tables and columns have the names that mail software uses. The data stays as it is.
ALTER TABLE lanes RENAME TO send_queues;
ALTER TABLE deliveries RENAME COLUMN lane_id TO send_queue_id;
DROP INDEX deliveries_lane;
CREATE INDEX deliveries_send_queue ON deliveries (send_queue_id, state, next_attempt_at);
ALTER TABLE deliveries RENAME COLUMN returned_answer TO bounce_answer;
ALTER TABLE deliveries RENAME COLUMN returned_fault TO bounce_fault;
ALTER TABLE folders RENAME COLUMN validity TO uid_validity;
ALTER TABLE mailboxes RENAME COLUMN line_owner TO connection_lease_owner;
ALTER TABLE mailboxes RENAME COLUMN line_until TO connection_lease_until;
ALTER TABLE mailboxes RENAME COLUMN look_problem TO sync_problem;
ALTER TABLE connections RENAME TO smtp_connections;
DROP INDEX connections_sender;
CREATE INDEX smtp_connections_sender ON smtp_connections (sender, until);
