-- A report that came back before its message was recorded as sent: why somebody does not get it, and the fault as JSON.
ALTER TABLE deliveries ADD COLUMN returned_answer TEXT;
ALTER TABLE deliveries ADD COLUMN returned_fault TEXT;
