-- Bytes of tasks' outputs that were sent to further nodes, for their copies.

ALTER TABLE jobs ADD COLUMN copied INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account_usage ADD COLUMN copied INTEGER NOT NULL DEFAULT 0;
