-- A task with a range_end reads that range of its input, cut at line ends; the others read the whole.

ALTER TABLE tasks ADD COLUMN range_start bigint NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN range_end bigint NOT NULL DEFAULT 0;
