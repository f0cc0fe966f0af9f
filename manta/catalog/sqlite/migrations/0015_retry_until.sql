-- While `retry` looks for failed tasks: the last one that there was when it began. Later ones are the retry's own.
ALTER TABLE jobs ADD COLUMN retry_until INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET retry_until = next_task WHERE retry > 0;
